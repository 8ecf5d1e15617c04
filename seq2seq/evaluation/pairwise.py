"""Sentence chrF and sentence BLEU of each of several texts against each other, all at once.

The numbers are those of sacreBLEU's `sentence_chrf` and `sentence_bleu`, to the last bit; its n-grams are counted once
for each text instead of once for each pair, and the matches of all pairs are matrix products.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU, CHRF

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CHUNK = 1 << 22
"""Entries of a table of n-grams to hold at once."""


def pairwise_chrf(texts: Sequence[str]) -> Floats:
    """chrF2 (Popović 2015) of every text against every text.

    Returns:
        (texts, texts), 0 to 100: row the hypothesis, column the reference.
    """
    metric = CHRF()
    symbols = [np.array([ord(character) for character in "".join(text.split())], dtype=np.int64) for text in texts]
    counts, matches = _statistics(symbols, orders=metric.char_order)
    size, weight = len(texts), metric.beta**2
    precision, recall, orders = np.zeros((size, size)), np.zeros((size, size)), np.zeros((size, size))
    for count, match in zip(counts, matches, strict=True):
        both = (count > 0)[:, None] & (count > 0)[None, :]
        some = np.maximum(count, 1)
        precision += np.where(both, match / some[:, None], 0.0)
        recall += np.where(both, match / some[None, :], 0.0)
        orders += both
    precision, recall = precision / np.maximum(orders, 1), recall / np.maximum(orders, 1)
    above, below = (1 + weight) * precision * recall, weight * precision + recall
    found: Floats = np.where(below > 0, 100 * (above / np.where(below > 0, below, 1.0)), 0.0)
    return found


def pairwise_bleu(texts: Sequence[str]) -> Floats:
    """Sentence BLEU, smoothed and up to the n-grams that there are, of every text against every text.

    Returns:
        (texts, texts), 0 to 100: row the hypothesis, column the reference.
    """
    metric: Any = BLEU(effective_order=True)
    words = [metric._preprocess_segment(text).split() for text in texts]
    ids = {word: number for number, word in enumerate(dict.fromkeys(word for text in words for word in text))}
    symbols = [np.array([ids[word] for word in text], dtype=np.int64) for text in words]
    counts, matches = _statistics(symbols, orders=metric.max_ngram_order)
    size, lengths = len(texts), counts[0].astype(np.float64)
    logs, orders, halving = np.zeros((size, size)), np.zeros((size, size)), np.ones((size, size))
    for count, match in zip(counts, matches, strict=True):
        real = np.broadcast_to((count > 0)[:, None], match.shape)
        total = np.maximum(count, 1)[:, None]
        halving = np.where(real & (match == 0), halving * 2, halving)
        precision = np.where(match > 0, 100.0 * match / total, 100.0 / (halving * total))
        logs += np.where(real, _exactly(math.log, precision), 0.0)
        orders += real
    brief = lengths[:, None] < lengths[None, :]
    ratio = lengths[None, :] / np.maximum(lengths, 1)[:, None]
    penalty = np.where(brief, _exactly(math.exp, np.where(brief, 1 - ratio, 0.0)), 1.0)
    scores = penalty * _exactly(math.exp, logs / np.maximum(orders, 1))
    found: Floats = np.where(matches.any(axis=0), scores, 0.0)
    return found


def _statistics(symbols: Sequence[Ints], *, orders: int) -> tuple[Ints, Ints]:
    """n-grams of texts, and how many of them each two texts share.

    Args:
        symbols: of each text, what its n-grams are made of.
        orders: n from 1 to this.

    Returns:
        counts (orders, texts) and clipped matches (orders, texts, texts).
    """
    size = len(symbols)
    lengths = np.array([len(text) for text in symbols], dtype=np.int64)
    owner = np.repeat(np.arange(size), lengths)
    rest = np.repeat(lengths.cumsum(), lengths) - np.arange(len(owner))  # symbols from here to the end of the text
    alphabet, symbol = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *symbols]), return_inverse=True)
    gram, start = symbol.astype(np.int64), np.arange(len(owner))
    counts, matches = [], []
    for order in range(1, orders + 1):
        if order > 1:  # one symbol more to the n-grams that have one
            longer = rest[start] >= order
            gram, start = gram[longer], start[longer]
            _, gram = np.unique(gram * len(alphabet) + symbol[start + order - 1], return_inverse=True)
        counts.append(np.maximum(lengths - order + 1, 0))
        matches.append(_matches(gram, owner[start], size))
    return np.stack(counts), np.stack(matches)


def _matches(gram: Ints, owner: Ints, size: int) -> Ints:
    """For every two texts the sum over n-grams of the smaller of their two counts.

    Args:
        gram: number of each n-gram that occurs, from 0.
        owner: the text that it occurs in.
        size: number of texts.
    """
    occurring, times = np.unique(gram * size + owner, return_counts=True)
    gram, owner = occurring // size, occurring % size
    found = np.zeros((size, size))
    own = np.bincount(owner, weights=times, minlength=size)
    shared = np.bincount(gram, minlength=1)[gram] > 1  # what one text alone has matches nothing else
    gram, owner, times = gram[shared], owner[shared], times[shared]
    # min(a, b) is the number of k from 1 on with a >= k and b >= k: a product of tables of 0 and 1 for each k.
    while len(gram):
        _, column = np.unique(gram, return_inverse=True)
        width = max(1, CHUNK // size)
        for first in range(0, int(column.max()) + 1, width):
            inside = (column >= first) & (column < first + width)
            table = np.zeros((size, min(width, int(column.max()) + 1 - first)), dtype=np.float32)
            table[owner[inside], column[inside] - first] = 1
            found += table @ table.T
        more = times > 1
        gram, owner, times = gram[more], owner[more], times[more] - 1
    np.fill_diagonal(found, own)
    return found.astype(np.int64)


def _exactly(function: Callable[[float], float], values: Floats) -> Floats:
    """Python's own function of each value; NumPy's may differ in the last bit."""
    distinct, places = np.unique(values, return_inverse=True)
    results = np.array([function(value) for value in distinct.tolist()], dtype=np.float64)
    return results[places].reshape(values.shape)

"""Subword regularisation: in training, a text is cut into other pieces each time it comes.

For a unigram model all segmentations are drawn from (Kudo 2018, "Subword Regularization", section 3); for a BPE model
merges are left out (Provilkov et al. 2020, "BPE-Dropout"). The plain pieces of a text hold its characters as the model
normalised them, so it is cut anew from these. A draw depends on the seed, the epoch, the example, how often the epoch
has shown it, and the side alone: it is the same in every process.
"""

import functools
import hashlib
import itertools
import math
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from seq2seq.config import Config, SubwordSampling, TokenizerKind
from seq2seq.data.rows import Flat
from seq2seq.data.sentencepiece_model import Algorithm, PieceKind, read_model
from seq2seq.data.tokenizer import SPACE, SentencePieceTokenizer, Tokenizer, Tokenizers

Word = tuple[int, ...]
"""Ids of the pieces of a word."""
Uniform = Callable[[], float]
"""Draws a number from [0, 1)."""
Vocabulary = dict[str, tuple[int, float]]
"""Id and score of each piece that characters may be cut into."""
Lattice = list[tuple[Sequence[float], list[tuple[int, int]]]]
"""For each place in a word, from 0: what may end there, as (begin, id), and the probabilities of these, added up."""

DEFAULT_ALPHA = {TokenizerKind.unigram: 0.3, TokenizerKind.bpe: 0.1}
"""Where data.subword_alpha is null."""
CACHED_WORDS = 1 << 14
"""Words whose lattices, or whose merges without dropout, are kept; a few KiB each."""
CACHED_STATES = 1 << 16
"""Words half merged, with dropout, whose merges are kept; some hundred bytes each."""
CACHED_LENGTH = 24
"""Longer words, in characters, come seldom and are worked out each time; so are texts without spaces."""


class UnigramSampling:
    """Segmentations of a word with probabilities in proportion to P(segmentation) ** alpha.

    All of them, by forward filtering and backward sampling (Scott 2002; Kudo 2018, section 3.2).

    Args:
        pieces: what words may be cut into, with logarithms of probabilities.
        alpha: the smaller, the more random; towards infinity the most probable segmentation is left.
    """

    def __init__(self, pieces: Vocabulary, *, alpha: float) -> None:
        self._pieces, self._alpha = pieces, alpha
        self._longest = max(map(len, pieces), default=0)
        self._cached = functools.lru_cache(CACHED_WORDS)(self._lattice)

    def __call__(self, text: str, uniform: Uniform) -> Word:
        """A segmentation of a text that has one."""
        lattice = self._cached(text) if len(text) <= CACHED_LENGTH else self._lattice(text)
        place, drawn = len(text), []
        while place:
            shares, arcs = lattice[place]
            place, token = arcs[bisect(shares, uniform())]
            drawn.append(token)
        drawn.reverse()
        return tuple(drawn)

    def _lattice(self, text: str) -> Lattice:
        forward = [0.0]  # logarithm of the sum over all segmentations up to each place
        lattice: Lattice = [((), [])]
        for end in range(1, len(text) + 1):
            arcs, scores = [], []
            for begin in range(max(0, end - self._longest), end):
                if (piece := self._pieces.get(text[begin:end])) and forward[begin] > -math.inf:
                    arcs.append((begin, piece[0]))
                    scores.append(forward[begin] + self._alpha * piece[1])
            highest = max(scores, default=0.0)
            weights = [math.exp(score - highest) for score in scores]
            total = sum(weights)
            forward.append(highest + math.log(total) if arcs else -math.inf)
            lattice.append(([share / total for share in itertools.accumulate(weights[:-1])], arcs))
        return lattice


class BpeDropout:
    """Merges of a word's letters, where at each step each possible merge is left out with some probability.

    Provilkov et al. 2020, algorithm 1: a merge that one step leaves out the next may take, and a step that leaves out
    all of them is the last.

    Args:
        pieces: what letters may be merged into; higher scores come first, and among equals the first in the word.
        dropout: probability of leaving out a merge.
    """

    def __init__(self, pieces: Vocabulary, *, dropout: float) -> None:
        self._pieces, self._dropout = pieces, dropout
        self._texts = {token: text for text, (token, _) in pieces.items()}
        self._cached_course = functools.lru_cache(CACHED_WORDS)(self._course)
        self._cached_merges = functools.lru_cache(CACHED_STATES)(self._merges)

    def __call__(self, text: str, uniform: Uniform) -> Word:
        """A segmentation of a text whose letters are all pieces."""
        # Where one number decides what comes with probability p, what is left of it decides the next, scaled back.
        short = len(text) <= CACHED_LENGTH
        course = self._cached_course(text) if short else self._course(text)
        step, draw, taking = 0, uniform(), 1 - self._dropout
        while step < len(course) - 1 and draw < taking:  # the steps before the first that leaves out its first merge
            step, draw = step + 1, draw / taking
        word = course[step]
        if step == len(course) - 1:
            return word
        left_out, draw = 1, (draw - taking) / self._dropout
        while True:
            merges = self._cached_merges(word) if short else self._merges(word)
            while left_out < len(merges) and draw < self._dropout:
                left_out, draw = left_out + 1, draw / self._dropout
            if left_out == len(merges):
                return word
            word = _merged(word, *merges[left_out])
            left_out, draw = 0, uniform()

    def _course(self, text: str) -> list[Word]:
        """A word from letters to plain pieces, merge by merge."""
        course = [tuple(self._pieces[letter][0] for letter in text)]
        while merges := self._merges(course[-1]):
            course.append(_merged(course[-1], *merges[0]))
        return course

    def _merges(self, word: Word) -> list[tuple[int, int]]:
        """Place and outcome of each possible merge, the first to take first."""
        found = []
        for place, (left, right) in enumerate(itertools.pairwise(word)):
            if piece := self._pieces.get(self._texts[left] + self._texts[right]):
                found.append((-piece[1], place, piece[0]))
        return [(place, token) for _, place, token in sorted(found)]


def _merged(word: Word, place: int, token: int) -> Word:
    return (*word[:place], token, *word[place + 2 :])


class TextSampling:
    """Other pieces for encoded texts.

    What the plain pieces hold of unknown characters, bytes and symbols that a user defined stays as it is; what lies
    between is drawn word by word, where no piece of the vocabulary holds parts of two words.

    Args:
        tokenizer: of the texts.
        alpha: of `UnigramSampling`, or the dropout of `BpeDropout`.
    """

    def __init__(self, tokenizer: SentencePieceTokenizer, *, alpha: float) -> None:
        algorithm, pieces = read_model(tokenizer.model)
        normal = [piece.kind is PieceKind.normal for piece in pieces]
        vocabulary = {piece.text: (token, piece.score) for token, piece in enumerate(pieces) if normal[token]}
        self._texts = [piece.text for piece in pieces]
        self._stays = ~np.array(normal)
        self._begins = np.array([text.startswith(SPACE) for text in self._texts])
        if any(SPACE in text[1:] for text in vocabulary):
            self._begins[:] = False
        self._draw: UnigramSampling | BpeDropout
        if algorithm is Algorithm.unigram:
            self._draw = UnigramSampling(vocabulary, alpha=alpha)
        else:
            self._draw = BpeDropout(vocabulary, dropout=alpha)

    def __call__(self, rows: Flat, uniforms: Sequence[Uniform]) -> list[list[int]]:
        """Rows of ids in other pieces.

        Args:
            rows: of plain pieces.
            uniforms: for each row, where its draws come from.
        """
        stays = self._stays[rows.ids]
        bounds = stays | self._begins[rows.ids]
        bounds[1:] |= stays[:-1]
        behind = np.cumsum(rows.lengths)
        bounds[behind - rows.lengths] = True
        cuts = np.flatnonzero(bounds)
        words = np.searchsorted(cuts, behind).tolist()  # up to the end of each row
        begins, ids, kept = [*cuts.tolist(), len(rows.ids)], rows.ids.tolist(), stays.tolist()
        texts = [self._texts[token] for token in ids]
        drawn = []
        for uniform, first, last in zip(uniforms, [0, *words], words, strict=False):
            row: list[int] = []
            for begin, end in itertools.pairwise(begins[first : last + 1]):
                row += ids[begin:end] if kept[begin] else self._draw("".join(texts[begin:end]), uniform)
            drawn.append(row)
        return drawn


@dataclass(frozen=True, slots=True)
class SubwordSampler:
    """Other pieces for the texts of encoded pairs.

    Attributes:
        source: for the sources; None leaves them as they are.
        target: for the targets, likewise.
        max_length: a segmentation of more tokens, the end token included, is not taken: the plain one is.
        seed: of all draws.
    """

    source: TextSampling | None
    target: TextSampling | None
    max_length: int
    seed: int

    def __call__(
        self,
        sources: Flat,
        targets: Flat,
        *,
        epoch: int,
        examples: npt.NDArray[np.int64],
        repetitions: npt.NDArray[np.int64],
    ) -> tuple[Flat, Flat]:
        """Pairs with their text in other pieces.

        Args:
            sources: rows of ids of the plain segmentation, end tokens included.
            targets: likewise.
            epoch: from 0.
            examples: (pairs,) the number of each.
            repetitions: (pairs,) how often the epoch has shown each before.
        """
        keys = [
            f"{self.seed} {epoch} {example} {repetition}"
            for example, repetition in zip(examples.tolist(), repetitions.tolist(), strict=True)
        ]
        return self._side(sources, self.source, keys, "source"), self._side(targets, self.target, keys, "target")

    def _side(self, rows: Flat, sampling: TextSampling | None, keys: list[str], side: str) -> Flat:
        if sampling is None:
            return rows
        drawn = sampling(rows, [uniform(f"{key} {side}") for key in keys])
        bounds = [0, *np.cumsum(rows.lengths).tolist()]
        for index, (row, (begin, end)) in enumerate(zip(drawn, itertools.pairwise(bounds), strict=True)):
            if len(row) > self.max_length:
                drawn[index] = rows.ids[begin:end].tolist()
        ids = np.fromiter(itertools.chain.from_iterable(drawn), rows.ids.dtype)
        return Flat(ids, np.fromiter(map(len, drawn), np.int64, len(drawn)))


def uniform(key: str) -> Uniform:
    """Numbers from [0, 1) that depend on a text alone, not on the process, the machine or the version of Python."""
    return Random(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")).random


def subword_sampler(config: Config, tokenizers: Tokenizers) -> SubwordSampler | None:
    """The sampler that a run's settings ask for; None for none."""
    settings = config.data
    if settings.subword_sampling is SubwordSampling.none:
        return None
    alpha = settings.subword_alpha or DEFAULT_ALPHA[config.tokenizer.kind]

    def sampling(tokenizer: Tokenizer) -> TextSampling:
        assert isinstance(tokenizer, SentencePieceTokenizer)
        return TextSampling(tokenizer, alpha=alpha)

    source = target = None
    if settings.subword_sampling is not SubwordSampling.target:
        source = sampling(tokenizers.source)
    if settings.subword_sampling is not SubwordSampling.source:
        target = source if source and tokenizers.joint else sampling(tokenizers.target)
    return SubwordSampler(
        source=source,
        target=target,
        max_length=settings.max_length,
        seed=config.seed,
    )

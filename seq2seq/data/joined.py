"""How long the lines of several sentences are that a training text has: what a model can be asked to translate whole.

A model that never saw several sentences in a line translates the first and loses what follows, however short they are.
Measured with a model of multi30k (captions, one a line, of at most 62 tokens): 240 captions, 1 to 5 joined to a line,
beam 5, BLEU beside the references joined alike:

    captions a line         1     2     3     4     5
    tokens a line, mean    16    32    47    62    77
    translated whole     36.3  16.7  10.4   7.2   4.5
    cut where they end   36.3  37.5  37.8  38.0  38.0

So what counts is not how long training lines were, but how long those of several sentences were.
"""

import math
import re
from collections.abc import Sequence

import numpy as np

from seq2seq.data.sentences import sentences
from seq2seq.data.token_cache import TokenDataset
from seq2seq.data.tokenizer import Tokenizer

SAMPLE = 2000
"""Lines that are looked at, evenly spaced: it takes a moment, however long the text."""
_SMALL_BEGINNING = re.compile(r"\w\w[.!?]\s+\w")
OFTEN = 0.05
"""What share of the lines says that a model has learnt from them."""


def joined_length(datasets: Sequence[TokenDataset], tokenizer: Tokenizer) -> int:
    """The most source tokens, the end token left out, that OFTEN of the lines have which are of several sentences.

    Args:
        datasets: encoded pairs.
        tokenizer: of the source.

    Returns:
        the number; 0 where fewer lines than that are of several sentences.
    """
    starts = np.cumsum([0, *map(len, datasets)])
    if not starts[-1]:
        return 0
    sample = np.unique(np.linspace(0, starts[-1] - 1, min(SAMPLE, starts[-1]), dtype=np.int64))
    lengths = []
    for place in sample:
        part = int(np.searchsorted(starts, place, side="right")) - 1
        ids = datasets[part].source(int(place - starts[part]))[:-1].tolist()
        if _has_several(tokenizer.decode(ids).strip()):
            lengths.append(len(ids))
    enough = math.ceil(OFTEN * len(sample))
    return sorted(lengths, reverse=True)[enough - 1] if enough <= len(lengths) else 0


def _has_several(text: str) -> bool:
    # Without large letters nothing is seen to begin; there is no telling abbreviations from ends either, but these are
    # more.
    return len(sentences(text)) > 1 or (text.islower() and _SMALL_BEGINNING.search(text) is not None)

"""Subword regularisation: in training, a text is cut into other pieces each time it comes.

Kudo 2018, "Subword Regularization", section 3 (unigram), and Provilkov et al. 2020, "BPE-Dropout" (BPE), both as
SentencePiece has them. A draw depends on the seed, the epoch, the example and the side alone, so that a batch is made
again exactly when a run goes on.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sentencepiece

from seq2seq.config import Config, SubwordSampling
from seq2seq.data.rows import Flat, Row
from seq2seq.data.tokenizer import EOS, UNK, SentencePieceTokenizer, Tokenizer, Tokenizers
from seq2seq.errors import DataError

SEED_BITS = 31
"""Of SentencePiece's generator; the seed of all ones in 32 bits is the one that it ignores."""


@dataclass(frozen=True, slots=True)
class SubwordSampler:
    """Other pieces for the texts of encoded pairs.

    Attributes:
        source: tokenizer of the sources; None leaves them as they are.
        target: tokenizer of the targets, likewise.
        alpha: unigram: exponent of the segmentations' probabilities; BPE: probability of leaving out a merge.
        nbest: unigram: draw from this many of the most probable segmentations; -1 draws from all.
        max_length: a segmentation of more tokens, the end token included, is not taken.
        seed: of all draws.
    """

    source: SentencePieceTokenizer | None
    target: SentencePieceTokenizer | None
    alpha: float
    nbest: int
    max_length: int
    seed: int

    def __call__(
        self, sources: Flat, targets: Flat, *, epoch: int, examples: npt.NDArray[np.int64]
    ) -> tuple[Flat, Flat]:
        """Pairs with their text in other pieces.

        Args:
            sources: rows of ids of the plain segmentation, end tokens included.
            targets: likewise.
            epoch: from 0.
            examples: (pairs,) the number of each.
        """
        keys = [f"{self.seed} {epoch} {example}" for example in examples.tolist()]
        return (
            self._side(sources, self.source, [f"{key} source" for key in keys]),
            self._side(targets, self.target, [f"{key} target" for key in keys]),
        )

    def _side(self, rows: Flat, tokenizer: SentencePieceTokenizer | None, keys: list[str]) -> Flat:
        if tokenizer is None:
            return rows
        drawn = [self._drawn(row, tokenizer, seed_of(key)) for row, key in zip(rows.rows(), keys, strict=True)]
        return Flat.of(drawn)

    def _drawn(self, ids: Row, tokenizer: SentencePieceTokenizer, seed: int) -> Row:
        """The plain segmentation where the text is not known from it, or would not be that of the one drawn."""
        plain = ids.tolist()
        if UNK in plain:
            return ids
        text = tokenizer.decode(plain)
        drawn = tokenizer.sample(text, alpha=self.alpha, nbest=self.nbest, seed=seed)
        if len(drawn) >= self.max_length or tokenizer.decode(drawn) != text:
            return ids
        return np.array([*drawn, EOS], ids.dtype)


def seed_of(key: str) -> int:
    """A seed for SentencePiece from any text."""
    digest = hashlib.blake2b(key.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> (32 - SEED_BITS)


def subword_sampler(config: Config, tokenizers: Tokenizers) -> SubwordSampler | None:
    """The sampler that a run's settings ask for; None for none.

    Raises:
        DataError: the installed SentencePiece cannot repeat a draw.
    """
    settings = config.data
    if settings.subword_sampling is SubwordSampling.none:
        return None

    def chosen(tokenizer: Tokenizer, side: SubwordSampling) -> SentencePieceTokenizer | None:
        if settings.subword_sampling not in (side, SubwordSampling.both):
            return None
        assert isinstance(tokenizer, SentencePieceTokenizer)
        check_draws_repeat(tokenizer)
        return tokenizer

    return SubwordSampler(
        source=chosen(tokenizers.source, SubwordSampling.source),
        target=chosen(tokenizers.target, SubwordSampling.target),
        alpha=settings.subword_alpha,
        nbest=settings.subword_nbest,
        max_length=settings.max_length,
        seed=config.seed,
    )


def check_draws_repeat(tokenizer: SentencePieceTokenizer) -> None:
    """Before version 0.2.3 SentencePiece sets its generator once in a thread, and later seeds are ignored.

    Raises:
        DataError: equal seeds give different draws.
    """
    longest = sorted(range(tokenizer.vocab_size), key=lambda token: -len(tokenizer.pieces([token])[0]))[:20]
    text = tokenizer.decode(longest)
    for alpha in (0.01, 0.5):  # much chance for unigram, much for BPE
        if len({tuple(tokenizer.sample(text, alpha=alpha, nbest=-1, seed=1)) for _ in range(10)}) > 1:
            raise DataError(
                f"data.subword_sampling needs SentencePiece 0.2.3 or newer: {sentencepiece.__version__} cannot repeat "
                "a draw. Install it with pip install -U sentencepiece, or set data.subword_sampling=none."
            )

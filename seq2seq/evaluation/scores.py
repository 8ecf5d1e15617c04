"""BLEU and chrF of detokenised text by sacreBLEU, with the signature that makes a number comparable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacrebleu.metrics import BLEU, CHRF


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one corpus.

    Attributes:
        value: 0 to 100.
        signature: sacreBLEU's: everything that must be equal before two values may be compared.
        confidence: half of the 95 % interval by bootstrap resampling of sentences; None when not asked for.
        mean: the mean over the resampled corpora; None likewise.
    """

    name: str
    value: float
    signature: str
    confidence: float | None = None
    mean: float | None = None

    def __str__(self) -> str:
        interval = "" if self.confidence is None else f" ± {self.confidence:.2f}"
        return f"{self.name} {self.value:.2f}{interval}  {self.signature}"


class _PlainFloats:
    """sacreBLEU mixes Python's and numpy's floats, and the mean over its resamples then fails on small texts."""

    def _compute_score_from_stats(self, stats: list[int]) -> Any:
        result = super()._compute_score_from_stats(stats)  # type: ignore[misc]
        result.score = float(result.score)
        return result


class _Bleu(_PlainFloats, BLEU):  # type: ignore[misc]
    pass


class _Chrf(_PlainFloats, CHRF):  # type: ignore[misc]
    pass


RESAMPLES = 1000


def bleu(
    hypotheses: Sequence[str], references: Sequence[str], *, bootstrap: bool = False, tokenize: str | None = None
) -> Score:
    """Cased BLEU of detokenised text (Papineni et al. 2002; Post 2018, "A Call for Clarity").

    Args:
        hypotheses: one translation a line.
        references: one reference a line.
        bootstrap: also resample sentences for a confidence interval (Koehn 2004).
        tokenize: sacreBLEU's tokenizer; None means 13a.

    Raises:
        ValueError: the two have different lengths or are empty.
    """
    return _score("BLEU", _Bleu(tokenize=tokenize), hypotheses, references, bootstrap)


class SentenceBleu:
    """BLEU of single sentences, smoothed and up to the n-grams that they have: to rank outputs of one line only."""

    def __init__(self) -> None:
        self._metric = _Bleu(effective_order=True)

    def __call__(self, hypothesis: str, reference: str) -> float:
        """0 to 100."""
        return float(self._metric.sentence_score(hypothesis, [reference]).score)


def chrf(hypotheses: Sequence[str], references: Sequence[str], *, bootstrap: bool = False) -> Score:
    """chrF2 (Popović 2015); arguments as `bleu`."""
    return _score("chrF", _Chrf(), hypotheses, references, bootstrap)


def _score(
    name: str, metric: BLEU | CHRF, hypotheses: Sequence[str], references: Sequence[str], bootstrap: bool
) -> Score:
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references; one each is needed")
    if not hypotheses:
        raise ValueError("no hypotheses to score")
    result = metric.corpus_score(list(hypotheses), [list(references)], n_bootstrap=RESAMPLES if bootstrap else 1)
    signature = str(metric.get_signature())
    if not bootstrap:
        return Score(name, float(result.score), signature)
    return Score(name, float(result.score), signature, confidence=float(result._ci), mean=float(result._mean))

"""BLEU, chrF and TER of detokenised text by sacreBLEU, with the signature that makes a number comparable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one corpus.

    Attributes:
        value: 0 to 100; TER, the lower the better, also above.
        signature: sacreBLEU's: everything that must be equal before two values may be compared.
        confidence: half of the 95 % interval by bootstrap resampling of sentences; None when not asked for.
        mean: the mean over the resampled corpora; None likewise.
    """

    name: str
    value: float
    signature: str
    confidence: float | None = None
    mean: float | None = None

    @property
    def digits(self) -> int:
        """Digits behind the point that people look at."""
        return 4 if self.name == "COMET" else 2

    def __str__(self) -> str:
        interval = "" if self.confidence is None else f" ± {self.confidence:.{self.digits}f}"
        return f"{self.name} {self.value:.{self.digits}f}{interval}  {self.signature}"


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


class _Ter(_PlainFloats, TER):  # type: ignore[misc]
    pass


METRICS: dict[str, tuple[str, type[Any]]] = {"bleu": ("BLEU", _Bleu), "chrf": ("chrF", _Chrf), "ter": ("TER", _Ter)}
"""What people call a metric, and sacreBLEU's class, by the name on command lines."""

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


def ter(hypotheses: Sequence[str], references: Sequence[str], *, bootstrap: bool = False) -> Score:
    """Translation edit rate (Snover et al. 2006), without regard to case as is usual; arguments as `bleu`."""
    return _score("TER", _Ter(), hypotheses, references, bootstrap)


class SentenceChrf:
    """chrF of single sentences, which ranks them as it does corpora.

    Args:
        references: one or several texts, each with a line for each sentence.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self._metric, self._references = _Chrf(), list(zip(*references, strict=True))

    def __call__(self, index: int, hypothesis: str) -> float:
        """0 to 100, of a hypothesis for sentence number `index`."""
        return float(self._metric.sentence_score(hypothesis, self._references[index]).score)


def _score(name: str, metric: Metric, hypotheses: Sequence[str], references: Sequence[str], bootstrap: bool) -> Score:
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references; one each is needed")
    if not hypotheses:
        raise ValueError("no hypotheses to score")
    return as_score(name, metric, hypotheses, [list(references)], bootstrap=bootstrap)


def as_score(
    name: str,
    metric: Metric,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]] | None,
    *,
    bootstrap: bool,
) -> Score:
    """What a metric of sacreBLEU says of a text.

    Args:
        name: for people.
        metric: one of sacreBLEU's.
        hypotheses: one a line, at least one.
        references: one or several texts as long as the hypotheses; None where the metric has them already.
        bootstrap: also resample sentences for a confidence interval (Koehn 2004).
    """
    result = metric.corpus_score(list(hypotheses), references, n_bootstrap=RESAMPLES if bootstrap else 1)
    signature = str(metric.get_signature())
    if not bootstrap:
        return Score(name, float(result.score), signature)
    return Score(name, float(result.score), signature, confidence=float(result._ci), mean=float(result._mean))

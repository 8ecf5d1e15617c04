"""Scores of several translations of one text, and whether their differences are more than chance.

The tests are sacreBLEU's: paired bootstrap resampling (Koehn 2004) and paired approximate randomisation (Riezler and
Maxwell 2005), both over sentences, from a fixed seed (12345, or the environment's SACREBLEU_SEED). Randomisation is
two-sided. The bootstrap counts samples whose absolute difference is above its mean by more than the difference found,
which is where one tail of a clear difference lies: its p-value is then about half of randomisation's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sacrebleu.metrics.base import Metric
from sacrebleu.significance import PairedTest

from seq2seq.errors import ConfigError
from seq2seq.evaluation.scores import METRICS, Score, as_score

LOWER_IS_BETTER = frozenset({"ter"})
"""Metrics that count what is wrong."""


class Paired(str, Enum):
    """Ways to test a difference between two translations of the same sentences."""

    bootstrap = "bootstrap"
    randomisation = "randomisation"


_OF_SACREBLEU = {Paired.bootstrap: "bs", Paired.randomisation: "ar"}
SAMPLES = {Paired.bootstrap: 1000, Paired.randomisation: 10000}
"""Resampled texts, or random exchanges of the two systems' sentences, that a test makes."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of a text beside that of a baseline.

    Attributes:
        value: of the text.
        baseline: of the baseline.
        p_value: how often chance alone makes a difference as large, from 0 to 1; see `Judge.differences`.
        signature: sacreBLEU's, with the number of samples and the seed.
        lower_is_better: what is the better value.
    """

    value: float
    baseline: float
    p_value: float
    signature: str
    lower_is_better: bool

    @property
    def difference(self) -> float:
        """The text's value less the baseline's."""
        return self.value - self.baseline

    @property
    def verdict(self) -> str:
        """better, worse or equal, whatever chance has to do with it."""
        if self.difference == 0:
            return "equal"
        return "better" if (self.difference < 0) == self.lower_is_better else "worse"

    def line(self, score: Score) -> str:
        """For people, with the name and digits of the text's score."""
        return (
            f"{score.name} {self.difference:+.{score.digits}f} ({self.verdict}; baseline "
            f"{self.baseline:.{score.digits}f})  p = {self.p_value:.4f}  {self.signature}"
        )

    def as_dict(self) -> dict[str, float | str]:
        """For JSON."""
        return {
            "score": self.value,
            "baseline": self.baseline,
            "difference": self.difference,
            "p_value": self.p_value,
            "signature": self.signature,
        }


class Judge:
    """Metrics of translations of one text.

    What is counted in a translation is kept, so that its scores and tests count once.

    Args:
        references: one or several, each with a line for each sentence.
        names: of metrics, keys of METRICS.
        more: further metrics by name, with what people call them; for them the references are not prepared here.

    Raises:
        ConfigError: a metric that is not there.
    """

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        names: Sequence[str],
        *,
        more: Mapping[str, tuple[str, Metric]] | None = None,
    ) -> None:
        self._labels: dict[str, str] = {}
        self._metrics: dict[str, Metric] = {}
        for name in dict.fromkeys(names):
            if more and name in more:
                self._labels[name], self._metrics[name] = more[name]
            elif name in METRICS:
                label, kind = METRICS[name]
                self._labels[name], self._metrics[name] = label, _remembering(kind)(references=list(references))
            else:
                raise ConfigError(f"metric ({name}) must be one of {', '.join([*METRICS, *(more or {})])}.")

    def scores(self, hypotheses: Sequence[str]) -> dict[str, Score]:
        """Each metric's value with its 95 % interval by bootstrap resampling.

        Args:
            hypotheses: a line for each sentence.
        """
        return {
            name: as_score(self._labels[name], metric, hypotheses, None, bootstrap=True)
            for name, metric in self._metrics.items()
        }

    def differences(
        self, hypotheses: Sequence[str], baselines: Sequence[Sequence[str]], *, test: Paired, samples: int | None = None
    ) -> list[dict[str, Difference]]:
        """The text beside each of some baselines, metric by metric.

        sacreBLEU's p-value counts the samples that differ by more than the two texts do, not those that differ as much.
        So it would be the smallest there is for equal texts, and for texts that differ in a single sentence. Here a
        difference of 0 has p = 1; and where k sentences make the difference, p is at least 2^(1 - k), the chance that
        all of them fall out as they did or all the other way round. From k = 15 on that is less than any p-value of
        10,000 samples, and p is sacreBLEU's.

        Args:
            hypotheses: a line for each sentence.
            baselines: the same.
            test: how.
            samples: how many the test makes; None: SAMPLES.
        """
        systems = [("text", list(hypotheses)), *((f"baseline {i}", list(text)) for i, text in enumerate(baselines))]
        found: list[dict[str, Difference]] = [{} for _ in baselines]
        for name, metric in self._metrics.items():
            metric.n_bootstrap = metric.seed = None  # of an interval before, which the test's signature would repeat
            # One at a time: the test keys its results by names that the metrics choose.
            try:
                signatures, results = PairedTest(
                    systems,
                    {name: metric},
                    None,
                    test_type=_OF_SACREBLEU[test],
                    n_samples=samples or SAMPLES[test],
                )()
            except MemoryError:
                raise ConfigError(
                    f"The paired {test.value} test of {len(hypotheses):,} sentences needs more memory than there is; "
                    "ask for fewer samples, or test a part of the text."
                ) from None
            (key,) = signatures
            ours, *others = results[key]
            for differences, baseline, other in zip(found, baselines, others, strict=True):
                least = 2.0 ** (1 - _num_different(metric, hypotheses, baseline))
                differences[name] = Difference(
                    float(ours.score),
                    float(other.score),
                    1.0 if ours.score == other.score else min(1.0, max(float(other.p_value), least)),
                    str(signatures[key]),
                    name in LOWER_IS_BETTER,
                )
        return found


def _num_different(metric: Metric, text: Sequence[str], other: Sequence[str]) -> int:
    """Sentences in which a metric tells two texts apart, at most 1,000: more make no difference."""
    ours, theirs = (metric._extract_corpus_statistics(list(lines), None) for lines in (text, other))
    number = sum(1 for a, b in zip(ours, theirs, strict=True) if a != b)
    return min(1000, number)


def _remembering(kind: type[Any]) -> type[Any]:
    """A metric that counts each text once."""

    class Remembering(kind):  # type: ignore[misc]
        def _extract_corpus_statistics(self, hypotheses: Sequence[str], references: Any) -> Any:
            known = self.__dict__.setdefault("_known", {})
            key = tuple(hypotheses)
            if key not in known:
                known[key] = super()._extract_corpus_statistics(hypotheses, references)
            return known[key]

    return Remembering

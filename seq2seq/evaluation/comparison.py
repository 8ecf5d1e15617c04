"""Two translations of one text beside each other: scores, significance, and sentence by sentence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from seq2seq.evaluation.scores import Score, SentenceChrf
from seq2seq.evaluation.significance import Difference, Judge, Paired

TIE = 1e-9
"""Differences in sentence chrF up to this are none: chrF adds fractions."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence in two translations.

    Attributes:
        number: from 1.
        source: None where it was not given.
        references: one or several.
        a: the first translation, b: the second.
        chrf_a: of the first, from 0 to 100, chrf_b: of the second.
    """

    number: int
    source: str | None
    references: tuple[str, ...]
    a: str
    b: str
    chrf_a: float
    chrf_b: float

    @property
    def difference(self) -> float:
        """By how much the first is better."""
        return self.chrf_a - self.chrf_b


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two translations of one text.

    Attributes:
        names: of the two, for people.
        scores: of the two, by metric.
        tests: the first less the second, by test and metric.
        sentences: in order of the text.
    """

    names: tuple[str, str]
    scores: tuple[dict[str, Score], dict[str, Score]]
    tests: dict[Paired, dict[str, Difference]]
    sentences: list[Sentence]

    @property
    def won(self) -> list[Sentence]:
        """Sentences in which the first is better, those won by most first."""
        better = [sentence for sentence in self.sentences if sentence.difference > TIE]
        return sorted(better, key=lambda sentence: (-sentence.difference, sentence.number))

    @property
    def lost(self) -> list[Sentence]:
        """Sentences in which the second is better, those lost by most first."""
        worse = [sentence for sentence in self.sentences if sentence.difference < -TIE]
        return sorted(worse, key=lambda sentence: (sentence.difference, sentence.number))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Sentences won, lost and tied."""
        won, lost = len(self.won), len(self.lost)
        return won, lost, len(self.sentences) - won - lost


def compare(
    judge: Judge,
    names: tuple[str, str],
    a: Sequence[str],
    b: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    sources: Sequence[str] | None = None,
    samples: int | None = None,
) -> Comparison:
    """Score and test two translations.

    Args:
        judge: metrics over the references.
        names: of the two, for people.
        a: the first, a line for each sentence.
        b: the second.
        references: one or several.
        sources: what is translated.
        samples: of each test; None: significance.SAMPLES.
    """
    chrf = SentenceChrf(references)
    sentences = [
        Sentence(
            number=index + 1,
            source=None if sources is None else sources[index],
            references=tuple(reference[index] for reference in references),
            a=one,
            b=other,
            chrf_a=chrf(index, one),
            chrf_b=chrf(index, other),
        )
        for index, (one, other) in enumerate(zip(a, b, strict=True))
    ]
    return Comparison(
        names,
        (judge.scores(a), judge.scores(b)),
        {test: judge.differences(a, [b], test=test, samples=samples)[0] for test in Paired},
        sentences,
    )


def page(comparison: Comparison, *, show: int) -> Iterator[str]:
    """Lines of text for people.

    Args:
        comparison: of two texts.
        show: sentences won and lost to show, of each the most by so many.
    """
    for letter, name, scores in zip("AB", comparison.names, comparison.scores, strict=True):
        yield f"{letter}  {name}"
        for score in scores.values():
            yield f"   {score}"
    for test, differences in comparison.tests.items():
        yield f"A less B, paired {test.value}"
        for metric, difference in differences.items():
            yield f"   {difference.line(comparison.scores[0][metric])}"
    won, lost, tied = comparison.counts
    yield f"sentences by chrF: A is better in {won:,}, worse in {lost:,}, the same in {tied:,}"
    for title, sentences in (("A is better by most", comparison.won), ("A is worse by most", comparison.lost)):
        for place, sentence in enumerate(sentences[:show]):
            yield ""
            if place == 0:
                yield f"{title}:"
                yield ""
            yield from _shown(sentence)


def _shown(sentence: Sentence) -> Iterator[str]:
    yield f"{sentence.difference:+.2f}  sentence {sentence.number:,}"
    if sentence.source is not None:
        yield f"   source     {sentence.source}"
    for reference in sentence.references:
        yield f"   reference  {reference}"
    yield f"   A {sentence.chrf_a:8.2f} {sentence.a}"
    yield f"   B {sentence.chrf_b:8.2f} {sentence.b}"

"""Which phrases the translation of each line must hold, line by line beside a stream of lines."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from seq2seq.answering import Answer, Candidate, CutLines
from seq2seq.data.glossary import Glossary
from seq2seq.data.lines import Line
from seq2seq.data.phrases import Constraint, kept, merged, of_phrases
from seq2seq.data.pieces import Cut, Piece
from seq2seq.data.placeholder_patterns import placeholder_spans
from seq2seq.data.placeholders import expected, placeholder_constraints, recut, respaced
from seq2seq.errors import DataError

Place = Callable[[Sequence[tuple[Sequence[Piece], Sequence[Constraint]]]], list[list[Piece]]]
"""Lines of several pieces, each with phrases required of it -> their pieces, with the phrases required of these."""

_END: Any = object()
"""Behind the last line of phrases; None may stand among them by mistake."""


class LineConstraints:
    """Gives pieces of lines their constraints, and tells in the answers what became of them.

    A line that is cut into pieces has the terms of a glossary and placeholders required of the piece that they stand
    in, and phrases of its own of the piece that `placement` finds for each.

    Args:
        phrases: required of each line; None: none.
        glossary: terms of the source; None: none.
        place: finds the piece that each phrase of a line of several belongs to.
        normalise: of the target's tokenizer: what phrases and outputs are compared by.
        placeholders: whether those of the source are required, see data/placeholder_patterns.py.
        first_line: number of the first line.
        done: lines from there on that have answers already.

    Raises:
        TypeError: the glossary is none.
    """

    def __init__(
        self,
        phrases: Iterable[Sequence[str]] | None,
        glossary: Glossary | None,
        place: Place,
        *,
        normalise: Callable[[str], str] = str,
        placeholders: bool = False,
        first_line: int = 0,
        done: int = 0,
    ) -> None:
        if not isinstance(glossary, Glossary | None):
            raise TypeError(
                f"glossary is a {type(glossary).__name__}; give a seq2seq.data.glossary.Glossary, as "
                'Glossary([("dog", "Hund")])'
            )
        self._phrases = None if phrases is None else iter(phrases)
        self._glossary, self._place, self._placeholders = glossary, place, placeholders
        self._normalise = normalise
        self._next, self._first_answer = first_line, first_line + done
        self._answered = itertools.count(self._first_answer)
        self._of_line: dict[int, tuple[Constraint, ...]] = {}

    def cut(self, window: Sequence[Line], *, first: int, by: CutLines) -> Cut:
        """Lines cut into pieces by `by`, with constraints.

        Raises:
            DataError: there are fewer lines of phrases than of text.
            TypeError: what is given for a line is no list of texts.
        """
        cut: Cut = []
        for number in range(self._next, first):  # lines that are left out, for they have answers
            self._next_phrases(number)
        self._next = first + len(window)
        of_lines = [of_phrases(self._next_phrases(number), self._normalise) for number in range(first, self._next)]
        several: dict[int, tuple[list[Piece], tuple[Constraint, ...]]] = {}
        for index, (pieces, notes) in enumerate(by(window, first=first)):
            phrases = of_lines[index]
            pieces = [replace(piece, constraints=self._of_text(piece.text)) for piece in pieces]
            if len(pieces) > 1 and phrases:
                several[index] = pieces, phrases
            elif pieces:
                pieces = [replace(piece, constraints=merged([*phrases, *piece.constraints])) for piece in pieces]
            cut.append((pieces, notes))
        for index, pieces in zip(several, self._place(list(several.values())) if several else [], strict=True):
            cut[index] = pieces, cut[index][1]
        for number, (pieces, _) in enumerate(cut, first):
            if number >= self._first_answer:
                # A line without pieces has an empty answer, which holds nothing.
                index = number - first
                of_pieces = itertools.chain(*(piece.constraints for piece in pieces)) if pieces else of_lines[index]
                self._of_line[number] = self._of_whole(window[index].text, of_pieces)
        return cut

    def _of_text(self, text: str) -> tuple[Constraint, ...]:
        """Terms of the glossary and placeholders; what is inside of a placeholder is no term, for it is kept."""
        whole = placeholder_spans(text) if self._placeholders else ()
        terms = self._glossary.constraints(text, whole=whole) if self._glossary else ()
        return merged([*terms, *(placeholder_constraints(text) if self._placeholders else ())])

    def _of_whole(self, text: str, of_pieces: Iterable[Constraint]) -> tuple[Constraint, ...]:
        """What a line's output is compared with.

        Placeholders are those of the line, whatever became of them in pieces: each may require one that they share in
        another way, and none requires one that is cut.
        """
        others = [one for one in of_pieces if not one.verbatim]
        return (*merged(others), *(expected(text) if self._placeholders else ()))

    def reported(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """The answers, in order, with what became of their constraints.

        Raises:
            DataError: there are more lines of phrases than of text.
        """
        for answer in answers:
            constraints = self._of_line.pop(next(self._answered))
            if self._placeholders:
                answer = replace(answer, candidates=tuple(_respaced(answer.source, one) for one in answer.candidates))
            yield replace(answer, constraints=kept(constraints, answer.text, self._normalise))
        for number in range(self._next, self._first_answer):  # where all lines have answers
            self._next_phrases(number)
        if self._phrases is not None and next(self._phrases, _END) is not _END:
            lines = next(self._answered)
            raise DataError(f"There are constraints for more lines than the {lines:,} of the text; give one for each.")

    def _next_phrases(self, number: int) -> Sequence[str]:
        if self._phrases is None:
            return ()
        given = next(self._phrases, _END)
        if given is _END:
            raise DataError(
                f"There are constraints for {number:,} lines, but the text has more; give one for each, an empty one "
                "where nothing is required."
            )
        phrases: list[Any] = [None] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
        if not all(isinstance(phrase, str) for phrase in phrases):
            shown = "one string" if isinstance(given, str) else repr(given)
            raise TypeError(
                f"the constraints of line {number + 1:,} are {shown}; give a list of phrases, an empty one where "
                "nothing is required"
            )
        return phrases


def _respaced(source: str, candidate: Candidate) -> Candidate:
    text = respaced(source, candidate.text)
    return replace(candidate, text=text, parts=recut(text, candidate.parts))

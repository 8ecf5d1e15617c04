"""Which sentence of a line a required phrase belongs to: the one that the model loses least by writing it in."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from seq2seq.answering import Candidate
from seq2seq.data.phrases import Constraint, Kept, kept, merged
from seq2seq.data.pieces import Piece

AT_ONCE = 64
"""Pieces searched together. A number of its own: where a phrase goes shall not depend on the size of batches."""

Search = Callable[[Sequence[Piece]], Sequence[Candidate]]
"""The best output of each piece that holds what the piece requires."""


def placed(
    pieces: Sequence[Piece], phrases: Sequence[Constraint], search: Search, normalise: Callable[[str], str] = str
) -> list[Piece]:
    """The pieces of one line with its phrases required of them.

    Each phrase is tried in each piece by itself, and goes where the output's log-probability falls least below that of
    the output without it; among equals, and where none can hold it, to the first. A phrase that is required several
    times goes to the best piece, then to the next best.

    Args:
        pieces: of the line, in order, with what is required of them alone.
        phrases: required of the line.
        search: takes at most AT_ONCE pieces.
        normalise: of the target's tokenizer, see data/phrases.py, kept.
    """
    trials = [
        replace(piece, constraints=merged([replace(phrase, count=1), *piece.constraints]))
        for phrase in phrases
        for piece in pieces
    ]
    asked = [*pieces, *trials]
    outputs = [output for start in range(0, len(asked), AT_ONCE) for output in search(asked[start : start + AT_ONCE])]
    shared: list[list[Constraint]] = [[] for _ in pieces]
    for number, phrase in enumerate(phrases, 1):
        with_it = slice(number * len(pieces), (number + 1) * len(pieces))
        losses = [
            plain.log_prob - output.log_prob
            if _holds(phrase, kept(trial.constraints, output.text, normalise))
            else math.inf
            for plain, trial, output in zip(outputs[: len(pieces)], asked[with_it], outputs[with_it], strict=True)
        ]
        order = sorted(range(len(pieces)), key=losses.__getitem__)
        able = [part for part in order if losses[part] < math.inf] or order
        for copy in range(phrase.count):
            shared[able[copy % len(able)]].append(replace(phrase, count=1))
    return [
        replace(piece, constraints=merged([*own, *piece.constraints]))
        for own, piece in zip(shared, pieces, strict=True)
    ]


def _holds(phrase: Constraint, report: Sequence[Kept]) -> bool:
    return all(one.satisfied for one in report if one.phrase == phrase.phrase)

"""Lines in, answers out: lines are cut into pieces, solved in batches of like length and put together again.

What solves a piece is given: a search for translations, a classifier, a tagger.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from seq2seq.data.lines import Line, Note, windows
from seq2seq.data.phrases import Kept
from seq2seq.data.pieces import Cut, Piece
from seq2seq.errors import DataError
from seq2seq.fitting import in_halves, like_length
from seq2seq.signals.report import LineReport
from seq2seq.workers import results_in_order

TOLERANCE = 1e-4
"""Decisions closer than this, in nats, are made again without neighbours.

The order in which a matrix product adds up depends on the shape of the batch. Measured on a CPU (3+3 layers of width
256, multi30k, float32, batches of like length, of random lines and of one line): that moves margins by up to 1.8e-5
nats, for lines of 15 tokens as for lines of 80, greedy and beam 5. One line in a hundred is decided more closely than
1e-4 (beam 5; one in a thousand with greedy), so the second search costs about 4 % of the time.
"""

PATIENCE = 0.5
"""Seconds that a line waits for others at most."""

BATCHES_EACH = 4
"""Batches of a window that each worker gets at least, so that they end at about the same time ..."""
LEAST_BUDGET = 1024
"""... unless batches would have far fewer padded tokens than this: products of few rows are slow."""
FINENESS = 50
"""In how many steps a budget is looked for that gives each worker as many batches as the others."""

Result = TypeVar("Result")

Solve = Callable[[Sequence[Piece]], tuple[list[Result], list[float]]]
"""Pieces of a batch -> a result for each, and by how many nats each was decided."""

Join = Callable[[Line, tuple[Note, ...], list[Result]], "Answer"]
"""A line, its notes and the results of its pieces -> its answer; a blank line has no pieces."""


class CutLines(Protocol):
    """Cuts lines into pieces, the first line being number `first`."""

    def __call__(self, window: Sequence[Line], *, first: int) -> Cut:
        """For each line its pieces and notes."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One output for a line.

    Attributes:
        text: one line of text; for tagging, labels with spaces between.
        score: what candidates are ranked by, see decoding/length_penalty.py; for labels their log-probability. Of a
            line that was split, the mean over its pieces.
        log_prob: natural logarithm of its probability; of a line that was split, the sum over its pieces.
        tokens: tokens written, end tokens included; for labels, how many.
        parts: of a line that was split, the text of each piece, in the order in which they stand in `text`, some
            perhaps empty; else none.
        alignment: (word of the source, word of the text) of words that belong together, sorted, where asked for.
    """

    text: str
    score: float
    log_prob: float
    tokens: int
    parts: tuple[str, ...] = ()
    alignment: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one line.

    Attributes:
        source: the line as it was read, repaired.
        candidates: best first; as many as n_best.
        notes: what was odd.
        reporter: makes `report` when it is asked for.
        constraints: phrases that were required of the best candidate, and how often it has them.
    """

    source: str
    candidates: tuple[Candidate, ...]
    notes: tuple[Note, ...]
    constraints: tuple[Kept, ...] = ()
    reporter: Callable[[], LineReport] | None = field(default=None, repr=False, compare=False)

    @property
    def report(self) -> LineReport:
        """How far the best candidate is to be trusted: notes, flags and signals. Made when first asked for."""
        if self.reporter is None:
            raise LookupError("this answer was made without a reporter")
        return self.reporter()

    @property
    def text(self) -> str:
        """The best candidate's text."""
        return self.candidates[0].text


def answers(
    lines: Iterable[Line | str | None],
    *,
    cut: CutLines,
    solve: Solve[Result],
    join: Join[Result],
    budget: int,
    exact: bool,
    workers: int = 1,
    processes: bool = False,
    first_line: int = 0,
    done: int | None = None,
) -> Iterator[Answer]:
    """An answer for each line, in order, as soon as it is there, in bounded memory.

    Args:
        lines: any text; None asks for what can be answered without waiting for more.
        cut: lines into pieces.
        solve: a batch of pieces.
        join: the results of a line's pieces.
        budget: padded tokens of a batch.
        exact: each result is the one its piece would have by itself, see TOLERANCE; needs float32 or more.
        workers: batches solved at a time, each in a thread of its own.
        processes: or in a forked process.
        first_line: number of the first line.
        done: answers that an earlier call gave: these lines are read and left out, and the others are batched as they
            would have been then, so that scores are the same to the last bit too. Any number says that `lines` never
            waits, so that batches do not depend on the clock.

    Raises:
        DecodingError: a line needs more memory than there is.
        DataError: there are fewer lines than done.
    """
    if isinstance(lines, str):
        raise TypeError("lines is one string; give a list of lines")
    first = first_line
    # Some 16 batches (a token has about 4 characters) are enough to sort by length; more would hold output back.
    most = max(4096, 64 * budget)
    first_lines, patience = None if isinstance(lines, Sequence) else 64, PATIENCE if done is None else math.inf
    left_out = first + (done or 0)
    for window in windows(lines, first_lines=first_lines, most_characters=most, patience=patience):
        if first + len(window) <= left_out:
            first += len(window)
            continue
        cut_lines = cut(window, first=first)
        results: list[list[Result | None]] = [[None] * len(pieces) for pieces, _ in cut_lines]
        missing = [len(pieces) for pieces, _ in cut_lines]
        given = max(left_out - first, 0)
        missing[:given] = [0] * given
        pieces = [piece for pieces, _ in cut_lines for piece in pieces]
        batches = _batches(pieces, budget, workers)
        at_once = min(workers, len(batches))
        batches = [batch for batch in batches if any(piece.line >= left_out for piece in batch)]
        solved = results_in_order(
            partial(_decided, solve=solve, exact=exact), batches, workers=at_once, processes=processes
        )
        # Before the first batch come the blank lines at the top.
        for batch, found in zip([[], *batches], itertools.chain([[]], solved), strict=True):
            for piece, result in zip(batch, found, strict=True):
                results[piece.line - first][piece.part] = result
                missing[piece.line - first] -= 1
            while given < len(window) and missing[given] <= 0:
                whole = [result for result in results[given] if result is not None]
                yield join(window[given], cut_lines[given][1], whole)
                given += 1
        first += len(window)
    if first < left_out:
        raise DataError(f"The input ends after {first:,} lines, but {left_out:,} have answers; begin anew.")


def solved(
    pieces: Sequence[Piece], solve: Solve[Result], *, budget: int, exact: bool, workers: int, processes: bool
) -> list[Result]:
    """The result of each piece, in their order; arguments as for `answers`."""
    batches = _batches(pieces, budget, workers)
    found = results_in_order(
        partial(_decided, solve=solve, exact=exact), batches, workers=min(workers, len(batches)), processes=processes
    )
    by_place = {
        (piece.line, piece.part): result
        for batch, results in zip(batches, found, strict=True)
        for piece, result in zip(batch, results, strict=True)
    }
    return [by_place[piece.line, piece.part] for piece in pieces]


def _batches(pieces: Sequence[Piece], budget: int, workers: int) -> list[list[Piece]]:
    """Batches of about the same time each, which workers share without a rest where they can.

    Several for each worker, so that none waits long for the last.
    """
    if workers == 1:
        return list(like_length(pieces, lengths=_length, budget=budget))
    tokens = sum(len(piece.ids) for piece in pieces)
    most = min(budget, max(tokens // (BATCHES_EACH * workers), LEAST_BUDGET))
    batches = list(like_length(pieces, lengths=_length, budget=most))
    smaller = most
    while len(batches) > workers and len(batches) % workers:
        smaller -= max(1, most // FINENESS)
        if 2 * smaller < most:
            return list(like_length(pieces, lengths=_length, budget=most))
        batches = list(like_length(pieces, lengths=_length, budget=smaller))
    return batches


def _length(piece: Piece) -> tuple[int]:
    return (len(piece.ids),)


def _decided(pieces: Sequence[Piece], solve: Solve[Result], *, exact: bool) -> list[Result]:
    """Solve a batch so that each result is the one that its piece would have by itself."""

    def work(batch: Sequence[Piece]) -> list[Result]:
        results, margins = solve(batch)
        if exact and len(batch) > 1:
            for index, margin in enumerate(margins):
                if margin < TOLERANCE:
                    results[index] = solve([batch[index]])[0][0]
        return results

    return in_halves(
        work,
        pieces,
        too_large=lambda piece: (
            f"Line {piece.line + 1} needs more memory than the device has, even by itself; use a smaller beam_size, or "
            "a device with more memory."
        ),
    )

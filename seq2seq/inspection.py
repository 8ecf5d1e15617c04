"""How far outputs are to be trusted, and what to do where they are not: signals, flags, further searches, reports.

    pieces -> search -> hypotheses -> forced pass -> signals -> flags -> (further searches ->) report of the line

A signal that is so close to its bound that rounding might turn a flag makes the piece be searched and measured again
without neighbours (see `_decided` in answering.py); so does a close choice between an output and one made again.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from torch import Tensor

from seq2seq.answering import Answer, CutLines, Join, Solve
from seq2seq.config import DecodingConfig
from seq2seq.data.lines import Line, Note, one_line
from seq2seq.data.pieces import Piece
from seq2seq.data.tokenizer import EOS, UNK, SentencePieceTokenizer, Tokenizer, Tokenizers
from seq2seq.decoding import Hypothesis
from seq2seq.decoding.fallback import Fallback, fallbacks
from seq2seq.device import is_out_of_memory
from seq2seq.errors import DecodingError
from seq2seq.evaluation.coverage import Forcer
from seq2seq.model.combined import Fused
from seq2seq.signals.bounds import Bounds, Judgement, judged
from seq2seq.signals.measures import copied, longest_run, relative_length, repetition
from seq2seq.signals.report import Attempt, LineReport
from seq2seq.signals.signals import Signals, combined

Find = Callable[[Sequence[Piece], DecodingConfig], "Found"]
"""A search for pieces with given settings."""
Found = tuple[list[list[Hypothesis]], list[float]]
"""Of each piece its hypotheses, best first, and by how many nats they were decided."""
AT_ONCE = 16
"""Parts of one line that are measured in one batch, where they are not measured as they are found."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """The output of a piece, and what is known of it.

    Attributes:
        hypotheses: best first.
        signals: of the best.
        judgement: of these.
        attempts: every search that was made, where there were several.
    """

    hypotheses: list[Hypothesis]
    signals: Signals
    judgement: Judgement
    attempts: tuple[Attempt, ...] = ()


class Inspector:
    """Measures outputs of a translation model.

    Args:
        model: in evaluation mode, on its device.
        tokenizers: of both sides.
        usual_length_ratio: target tokens for each source token in the training text.
        bounds: what signals must keep to.
    """

    def __init__(self, model: Any, tokenizers: Tokenizers, *, usual_length_ratio: float, bounds: Bounds) -> None:
        self.model, self.tokenizers, self.usual, self.bounds = model, tokenizers, usual_length_ratio, bounds

    def inspect(self, pieces: Sequence[Piece], found: Sequence[list[Hypothesis]]) -> list[Inspected]:
        """The outputs of a batch of pieces with their signals, by one forced pass."""
        outputs = [[*best.tokens, EOS] if best.finished else list(best.tokens) for best, *_ in found]
        forced = self._force([piece.ids for piece in pieces], outputs)
        inspected = []
        for piece, hypotheses, said in zip(pieces, found, forced, strict=True):
            signals = dataclasses.replace(
                self._counted(piece, hypotheses),
                coverage=said.coverage,
                weakest=math.exp(min(said.log_probs)) if said.log_probs else None,
            )
            inspected.append(Inspected(hypotheses, signals, judged(signals, self.bounds)))
        return inspected

    def solver(self, find: Find, settings: DecodingConfig, *, retry: bool) -> Solve[Inspected]:
        """A search whose outputs are inspected, and made again where they are flagged, for `answers`.

        Args:
            find: searches.
            settings: of the first search.
            retry: go on with those of decoding/fallback.py where an output is flagged.

        Raises:
            DecodingError: these cannot be joined with the settings.
        """
        steps = fallbacks(settings, shortest=self.bounds.min_relative_length * self.usual) if retry else []

        def solve(pieces: Sequence[Piece]) -> tuple[list[Inspected], list[float]]:
            found, margins = find(pieces, settings)
            inspected = self.inspect(pieces, found)
            margins = [min(margin, one.judgement.margin) for margin, one in zip(margins, inspected, strict=True)]
            for index, first in enumerate(inspected):
                if steps and first.judgement.mendable:
                    inspected[index], lead = self._made_again(pieces[index], first, find, steps)
                    margins[index] = min(margins[index], lead)
            return inspected, margins

        return solve

    def _made_again(
        self, piece: Piece, first: Inspected, find: Find, steps: Sequence[Fallback]
    ) -> tuple[Inspected, float]:
        """The best of several searches for a piece, and by how much it is better or worse than the first.

        The others are made alone, so that neighbours move the badness of the first only.
        """
        tried: list[tuple[dict[str, Any], Inspected]] = [({}, first)]
        for step in steps:
            try:
                (again,) = self.inspect([piece], find([piece], step.settings)[0])
            except Exception as error:
                if not isinstance(error, DecodingError) and not is_out_of_memory(error):
                    raise
                break  # too wide for the memory, or too strict for a prefix that repeats itself: what is there stays
            tried.append((step.changes, again))
            if not again.judgement.mendable:
                break
        # What was found before is no better now, though the scores of another search, or rounding, may say so.
        outputs = [(one.hypotheses[0].tokens, one.hypotheses[0].finished) for _, one in tried]
        different = [one for place, (_, one) in enumerate(tried) if outputs[place] not in outputs[:place]]
        best = min(different, key=lambda one: one.judgement.badness)
        attempts = tuple(
            Attempt(
                part=piece.part,
                search=changes,
                text=self.text(one.hypotheses[0]),
                signals=one.signals,
                flags=one.judgement.flags,
                badness=one.judgement.badness,
                kept=one is best,
            )
            for changes, one in tried
        )
        rivals, lead = different[1:], math.inf
        if rivals and not first.judgement.is_exact:
            lead = abs(first.judgement.badness - min(one.judgement.badness for one in rivals))
        return dataclasses.replace(best, attempts=attempts), lead

    def at_once(self, join: Join[list[Hypothesis]], *, first: int) -> Join[Inspected]:
        """`join` for what `solver` gives, with reports.

        Args:
            join: hypotheses of a line's pieces -> its answer.
            first: number of the first line; each call is for the next.
        """
        numbers = itertools.count(first)

        def joined(line: Line, notes: tuple[Note, ...], parts: list[Inspected]) -> Answer:
            answer = join(line, notes, [part.hypotheses for part in parts])
            number = next(numbers)
            return dataclasses.replace(answer, reporter=lambda: line_report(number, answer.notes, parts))

        return joined

    def later(self, join: Join[list[Hypothesis]], cut: CutLines, *, first: int) -> Join[list[Hypothesis]]:
        """`join` with reports that are made when asked for; arguments as for `at_once`, and how lines are cut."""
        numbers = itertools.count(first)

        def joined(line: Line, notes: tuple[Note, ...], found: list[list[Hypothesis]]) -> Answer:
            answer = join(line, notes, found)
            number = next(numbers)

            @cache
            def report() -> LineReport:
                ((pieces, _),) = cut([line], first=number)
                parts: list[Inspected] = []
                for start in range(0, len(pieces), AT_ONCE):
                    some = slice(start, start + AT_ONCE)
                    parts += self.inspect(pieces[some], found[some])
                return line_report(number, answer.notes, parts)

            return dataclasses.replace(answer, reporter=report)

        return joined

    def of_labels(
        self, join: Join[Tensor], cut: CutLines, *, whole: Callable[[list[Tensor]], Tensor], first: int
    ) -> Join[Tensor]:
        """As `later`, for labels.

        Args:
            join: log-probabilities of a line's pieces, each (1 or words, labels) -> its answer.
            cut: how lines are cut.
            whole: those of the pieces -> those of the line.
            first: number of the first line.
        """
        numbers = itertools.count(first)

        def joined(line: Line, notes: tuple[Note, ...], found: list[Tensor]) -> Answer:
            answer = join(line, notes, found)
            number = next(numbers)

            @cache
            def report() -> LineReport:
                ((pieces, _),) = cut([line], first=number)
                signals = combined([self._read(piece) for piece in pieces])
                signals = None if signals is None else self._labelled(signals, whole(found))
                flags = () if signals is None else judged(signals, self.bounds).flags
                parts = tuple(range(len(pieces))) if flags else ()
                return LineReport(
                    line=number,
                    notes=tuple(note.name for note in answer.notes),
                    parts=len(pieces),
                    flags=flags,
                    flagged_parts=parts,
                    signals=signals,
                )

            return dataclasses.replace(answer, reporter=report)

        return joined

    def _labelled(self, read: Signals, log_probs: Tensor) -> Signals:
        """What is known of a line's labels, (1 or words, labels), beside what its source tells."""
        best = log_probs.amax(dim=1)
        lead = log_probs.topk(2, dim=1).values.diff(dim=1).abs().min() if log_probs.shape[1] > 1 else None
        total = float(best.sum())
        return dataclasses.replace(
            read,
            tokens=len(best),
            score=total,
            log_prob=total,
            confidence=math.exp(total / len(best)),
            weakest=math.exp(float(best.min())),
            margin=None if lead is None else float(lead),
        )

    def _read(self, piece: Piece) -> Signals:
        """What the source tells."""
        source = piece.ids[:-1]
        return Signals(
            source_tokens=len(source),
            unknown=source.count(UNK),
            byte_fallback=sum(token in self._bytes for token in source) if self._bytes else 0,
        )

    def _counted(self, piece: Piece, hypotheses: list[Hypothesis]) -> Signals:
        """What the hypotheses themselves tell."""
        best, source = hypotheses[0], piece.ids[:-1]
        tokens = len(best.tokens) + best.finished
        return dataclasses.replace(
            self._read(piece),
            tokens=tokens,
            finished=best.finished,
            score=best.score,
            log_prob=best.log_prob,
            confidence=None if isinstance(self.model, Fused) else math.exp(best.log_prob / max(tokens, 1)),
            margin=best.score - hypotheses[1].score if len(hypotheses) > 1 else None,
            length_ratio=len(best.tokens) / len(source),
            relative_length=relative_length(len(best.tokens), len(source), self.usual),
            repetition=repetition(best.tokens),
            source_repetition=repetition(source),
            longest_run=longest_run(best.tokens),
            source_longest_run=longest_run(source),
            copied=copied(self.tokenizers.source.decode(source), self.text(best)),
        )

    @cached_property
    def _force(self) -> Forcer:
        return Forcer(self.model)

    @cached_property
    def _bytes(self) -> frozenset[int]:
        return byte_pieces(self.tokenizers.source)

    def text(self, hypothesis: Hypothesis) -> str:
        """The text of an output."""
        return one_line(self.tokenizers.target.decode(hypothesis.tokens))


def byte_pieces(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids of pieces that stand for one byte of a character that no other piece has; none where bytes are all it has."""
    if not isinstance(tokenizer, SentencePieceTokenizer):
        return frozenset()
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    return frozenset(token for token, piece in enumerate(pieces) if re.fullmatch(r"<0x[0-9A-F]{2}>", piece))


def line_report(line: int, notes: Sequence[Note], parts: Sequence[Inspected]) -> LineReport:
    """The record of a line from its parts, in order."""
    return LineReport(
        line=line,
        notes=tuple(note.name for note in notes),
        parts=len(parts),
        flags=tuple(dict.fromkeys(flag for part in parts for flag in part.judgement.flags)),
        flagged_parts=tuple(number for number, part in enumerate(parts) if part.judgement.flags),
        signals=combined([part.signals for part in parts]),
        retried=any(part.attempts for part in parts),
        attempts=tuple(attempt for part in parts for attempt in part.attempts),
    )

"""How probable a model finds given text: log-probabilities of every token of every line (forced decoding).

    lines -> ids -> rows of like length, a budget of tokens at a time -> hidden states -> log p(token | those before it)

A line's numbers depend on the line alone. In float32 its neighbours in a batch move them by rounding only, because the
order in which a matrix product adds up depends on the batch's shape: see TOLERANCE.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from seq2seq.config import Config, Documents, Task
from seq2seq.data.collate import padded
from seq2seq.data.lines import Line, Note, repair
from seq2seq.data.tokenizer import BOS, EOS, IGNORE, PAD, UNK, Tokenizer, Tokenizers
from seq2seq.errors import DataError, DecodingError
from seq2seq.evaluation.token_log_probs import token_log_probs
from seq2seq.fitting import in_halves, like_length

TOLERANCE = 1e-5
"""Nats a token by which neighbours may move a line's log-probability in float32; one token may move ten times as far.

Measured on a CPU, 400 pairs of multi30k (17 tokens each) under 3+3 layers of width 256, in batches of like length, of
another order and of one line: at most 1.4e-6 nats a token of a line and 8.1e-6 of one token, about as far as from
float64.
"""

WINDOW_LINES, WINDOW_CHARACTERS = 2048, 1 << 20
"""Lines, and characters of them, that are sorted by length together."""
LONGEST = 8
"""Lines of up to this many times data.max_length tokens are scored, where positions have no table that ends."""
CHARACTERS_A_TOKEN = 16
"""A token seldom has more: a line with more for each token that a model takes is too long without a count."""


@dataclass(frozen=True, slots=True)
class ForcedScore:
    """How probable one line is under a model.

    Attributes:
        target: the line, repaired.
        source: what it was taken to translate; None under a language model.
        log_prob: natural logarithm of the probability of its tokens, the end included; None where it was not scored.
        pieces: its tokens as people see them.
        log_probs: of each token; None of one that is only read, where a model cannot begin a text.
        notes: what was odd about source or target.
    """

    target: str
    source: str | None
    log_prob: float | None
    pieces: tuple[str, ...]
    log_probs: tuple[float | None, ...]
    notes: tuple[Note, ...]

    @property
    def tokens(self) -> int:
        """Tokens that were scored, the end included."""
        return sum(log_prob is not None for log_prob in self.log_probs)


@dataclass(frozen=True, slots=True)
class _Row:
    """What a model reads and is asked at once.

    Attributes:
        line: number in its window.
        source: ids, the end token last; None for a language model.
        tokens: ids of the target; all but the last are read, all but the first are predicted.
        first: number in the line's answer of the first token that counts.
        skip: predicted tokens that do not count, because the row before has done them.
    """

    line: int
    source: list[int] | None
    tokens: list[int]
    first: int
    skip: int

    @property
    def length(self) -> int:
        """Tokens that the longer side takes in a batch."""
        return max(len(self.tokens) - 1, len(self.source or ()))


class ForcedScorer:
    """Scores lines under a model of task translation or language_modelling.

    A language model of lines reads an end token first and predicts one last, as it was trained; a model of whole files
    a line break. A line longer than the context of a language model, model.max_length, is scored in stretches, so that
    every token sees the half of a context before it at least.

    Args:
        config: of the model.
        model: in evaluation mode, on its device.
        tokenizers: of both sides.

    Raises:
        DecodingError: the model is of another task.
    """

    def __init__(self, config: Config, model: Any, tokenizers: Tokenizers) -> None:
        if config.task not in (Task.translation, Task.language_modelling):
            raise DecodingError("This model gives labels, not text: use predict, or seq2seq predict.")
        self.config, self.model, self.tokenizers = config, model, tokenizers
        self.translates = config.task is Task.translation
        self._device = next(model.parameters()).device
        self._limit = min(config.longest_side, LONGEST * config.data.max_length)
        of_lines = config.data.documents is Documents.line
        self._edge = [EOS] if self.translates or of_lines else tokenizers.target.encode("\n")

    def stream(
        self,
        targets: Iterable[Line | str],
        sources: Iterable[Line | str] | None = None,
        *,
        batch_tokens: int | None = None,
        done: int = 0,
    ) -> Iterator[ForcedScore]:
        """A score for each line, in order, in bounded memory.

        Args:
            targets: what is scored; nothing in a line is an error, see data/lines.py.
            sources: what the targets translate, one for each; None for a language model.
            batch_tokens: padded tokens of a batch, of the longer side; None takes the checkpoint's.
            done: scores that an earlier call gave: these lines are read and left out, and the others are batched as
                they would have been then, so that the numbers are the same to the last bit.

        Raises:
            DecodingError: sources are missing or have no effect; a line needs more memory than there is.
            DataError: there are more lines on one side than on the other.
        """
        if isinstance(targets, str) or isinstance(sources, str):
            raise TypeError("targets and sources are lists of lines, not one string")
        if self.translates and sources is None:
            raise DecodingError("This model translates: what does the target translate? Name its source too.")
        if not self.translates and sources is not None:
            raise DecodingError("This is a language model, so a source has no effect; leave it out.")
        budget = batch_tokens or self.config.decoding.batch_tokens
        for window in _windows(line_pairs(targets, sources)):
            if done < len(window):
                yield from self._scores(window, budget, done=done)
            done = max(0, done - len(window))

    def _scores(self, window: list[tuple[Line | None, Line]], budget: int, *, done: int) -> Iterator[ForcedScore]:
        answers = self._encoded(window)
        rows = [row for line, answer in enumerate(answers) for row in self._rows(line, answer)]
        for batch in like_length(rows, lengths=_lengths, budget=budget):
            if all(row.line < done for row in batch):
                continue
            for row, log_probs in zip(batch, self._log_probs(batch), strict=True):
                values = answers[row.line].values
                values[row.first : row.first + len(log_probs)] = log_probs
        for (source, target), answer in itertools.islice(zip(window, answers, strict=True), done, None):
            scored = [value for value in answer.values if value is not None]
            yield ForcedScore(
                target=target.text,
                source=None if source is None else source.text,
                log_prob=None if Note.too_long in answer.notes else math.fsum(scored),
                pieces=tuple(self.tokenizers.target.pieces(answer.target)),
                log_probs=tuple(answer.values),
                notes=tuple(answer.notes),
            )

    # ------------------------------------------------------------ lines to rows

    def _encoded(self, window: list[tuple[Line | None, Line]]) -> list["_Answer"]:
        targets = self._ids([target for _, target in window], self.tokenizers.target)
        sources: list[list[int] | None] = [[]] * len(window)
        if self.translates:
            sources = self._ids([source for source, _ in window if source is not None], self.tokenizers.source)
        answers = []
        for (source, target), source_ids, target_ids in zip(window, sources, targets, strict=True):
            notes: list[Note] = [
                note for line in (source, target) if line for note in line.notes if note is not Note.blank
            ]
            if target_ids is None or source_ids is None:
                answers.append(_Answer([], [], [], list(dict.fromkeys([*notes, Note.too_long]))))
                continue
            notes += self._notes(source_ids, target_ids)
            source_ids, target_ids = [*source_ids, EOS], [*target_ids, *self._edge]
            answers.append(_Answer(source_ids, target_ids, [None] * len(target_ids), list(dict.fromkeys(notes))))
        return answers

    def _ids(self, lines: Sequence[Line], tokenizer: Tokenizer) -> list[list[int] | None]:
        """Ids of each line without its end, None of one that is too long."""
        # A language model takes any length in stretches; what a stretch takes bounds nothing.
        most = self._limit - 1 if self.translates else math.inf
        short = [index for index, line in enumerate(lines) if len(line.text) <= CHARACTERS_A_TOKEN * most]
        found: list[list[int] | None] = [None] * len(lines)
        for index, ids in zip(short, tokenizer.encode_batch([lines[index].text for index in short]), strict=True):
            found[index] = ids if len(ids) <= most else None
        return found

    def _notes(self, source: list[int], target: list[int]) -> Iterator[Note]:
        if self.translates and not source:
            yield Note.no_source
        if not target:
            yield Note.nothing
        if UNK in source or UNK in target:
            yield Note.unknown
        if self.translates and max(len(source), len(target)) >= self.config.data.max_length:
            yield Note.beyond_training
        if not self.translates and len(self._edge) + len(target) > self.config.model.max_length:
            yield Note.stretches

    def _rows(self, line: int, answer: "_Answer") -> Iterator[_Row]:
        if Note.too_long in answer.notes:
            return
        if self.translates:
            yield _Row(line, answer.source, [BOS, *answer.target], 0, 0)
            return
        tokens, offset = [*self._edge, *answer.target], len(self._edge)
        context, done = self.config.model.max_length, 1  # the first token of all is read only
        while done < len(tokens):
            start = 0 if done == 1 else done - max(1, context // 2)
            end = min(len(tokens), start + context + 1)
            skip = max(done, offset) - start - 1  # an edge of several tokens is read, not scored
            yield _Row(line, None, tokens[start:end], max(done, offset) - offset, skip)
            done = end

    # --------------------------------------------------------- rows to numbers

    @torch.no_grad()
    def _log_probs(self, rows: Sequence[_Row]) -> list[list[float]]:
        """Of the tokens that count of each row."""
        return in_halves(self._forward, rows, too_large=_too_large)

    def _forward(self, rows: Sequence[_Row]) -> list[list[float]]:
        tokens, _ = padded([np.array(row.tokens[:-1]) for row in rows], padding=PAD)
        wanted, _ = padded([np.array(row.tokens[1:]) for row in rows], padding=IGNORE)
        for index, row in enumerate(rows):
            wanted[index, : row.skip] = IGNORE
        source = source_mask = None
        if self.translates:
            ids, mask = padded([np.array(row.source) for row in rows], padding=PAD)
            source_mask = None if mask.all() else torch.from_numpy(mask).to(self._device)
            source = torch.from_numpy(ids).to(self._device)
        target_in, target_out = (torch.from_numpy(ids).to(self._device) for ids in (tokens, wanted))
        found = token_log_probs(self.model, target_in, target_out, source=source, source_mask=source_mask)
        flat = iter(found.tolist())
        return [list(itertools.islice(flat, len(row.tokens) - 1 - row.skip)) for row in rows]


@dataclass(slots=True)
class _Answer:
    source: list[int]
    target: list[int]
    values: list[float | None]
    notes: list[Note]


def line_pairs(
    targets: Iterable[Line | str], sources: Iterable[Line | str] | None
) -> Iterator[tuple[Line | None, Line]]:
    """(source, target) of each line; without sources (None, target).

    Raises:
        DataError: there are more lines on one side than on the other.
    """
    if sources is None:
        yield from ((None, _line(target)) for target in targets)
        return
    for number, (source, target) in enumerate(itertools.zip_longest(sources, targets)):
        if source is None or target is None:
            short, long = ("source", "target") if source is None else ("target", "source")
            raise DataError(
                f"The {short} ends after {number:,} lines, but the {long} goes on; one for each sentence is needed."
            )
        yield _line(source), _line(target)


def _line(text: Line | str) -> Line:
    return text if isinstance(text, Line) else repair(text)


def _windows(pairs: Iterable[tuple[Line | None, Line]]) -> Iterator[list[tuple[Line | None, Line]]]:
    window: list[tuple[Line | None, Line]] = []
    characters = 0
    for source, target in pairs:
        window.append((source, target))
        characters += len(target.text) + (0 if source is None else len(source.text))
        if len(window) >= WINDOW_LINES or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


def _lengths(row: _Row) -> tuple[int, int]:
    return row.length, len(row.tokens)


def _too_large(_: _Row) -> str:
    return "A line needs more memory than the device has, even by itself; use a device with more memory."

"""What `translate` and `predict` share: lines in, a model's answers out, progress and a report on stderr."""

import argparse
import collections
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from seq2seq.cli.streams import Inputs, Output
from seq2seq.data.lines import Line, Note
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.answering import Answer
    from seq2seq.translator import Translator

SILENT = 2.0
"""Seconds before progress is shown: a short run needs none."""

Stream = Callable[["Translator", Iterable[Line | None]], Iterator["Answer"]]


def answer_lines(arguments: argparse.Namespace, program: str, stream: Stream, *, n_best: int | None = None) -> int:
    """Run a model over the input lines.

    Args:
        arguments: those of add_model_options and add_line_options.
        program: how to call it in messages.
        stream: (model, lines) -> answers.
        n_best: as given on the command line.

    Returns:
        the exit code.
    """
    if arguments.scores and (arguments.json or (n_best or 1) > 1):
        other = "--json" if arguments.json else "--n-best"
        raise ConfigError(f"--scores has no effect with {other}, whose output holds the scores; leave it out.")
    inputs = Inputs(arguments.input)
    inputs.refuse(arguments.output)
    with Output(arguments.output) as output:
        model = load_model(arguments)  # after the files: a wrong name shows at once
        report = Report(program, inputs, quiet=arguments.quiet)
        try:
            for number, answer in enumerate(stream(model, inputs.lines())):
                text = formatted(number, answer, as_json=arguments.json, scores=arguments.scores)
                output.write(text, lines=text.count("\n"))
                report.add(answer)
        except KeyboardInterrupt:
            where = f" to {output.whereabouts}" if arguments.output != "-" else ""
            raise KeyboardInterrupt(f"stopped; {output.lines:,} lines are written{where}") from None
    report.end()
    return 0


def load_model(arguments: argparse.Namespace, folder: str | None = None) -> "Translator":
    """The model of --ckpt, or of another folder, on --device, in --precision, with --threads."""
    from seq2seq.device import set_threads
    from seq2seq.translator import load

    set_threads(arguments.threads)
    return load(folder or arguments.ckpt, device=arguments.device, precision=arguments.precision)


def formatted(number: int, answer: "Answer", *, as_json: bool, scores: bool) -> str:
    """The output for one line of input, with its line ends.

    Args:
        number: of the line, from 0.
        answer: what the model made of it.
        as_json: one JSON object.
        scores: a tab and the score after the text.
    """
    if as_json:
        candidates = [{"text": c.text, "score": c.score, "log_prob": c.log_prob} for c in answer.candidates]
        fields: dict[str, Any] = {"line": number, "source": answer.source, **candidates[0]}
        if len(candidates) > 1:
            fields["n_best"] = candidates
        return json.dumps({**fields, "notes": [note.name for note in answer.notes]}, ensure_ascii=False) + "\n"
    if len(answer.candidates) > 1:
        return "".join(f"{number} ||| {c.text} ||| {c.score:.4f}\n" for c in answer.candidates)
    return f"{answer.text}\t{answer.candidates[0].score:.4f}\n" if scores else f"{answer.text}\n"


def odd_lines(notes: collections.Counter[Note]) -> Iterator[str]:
    """What was odd about lines, as sentences for people."""
    if notes:
        yield "odd lines, by kind (a line may be of several):"
    for note in Note:
        if notes[note]:
            yield f"{notes[note]:>10,}  {note.value}"


class Report:
    """Progress while it runs, speed and odd lines at the end, on stderr.

    Args:
        program: how to call it.
        inputs: tells how much has been read.
        quiet: say nothing.
    """

    def __init__(self, program: str, inputs: Inputs, *, quiet: bool) -> None:
        from seq2seq.training.report import Progress, duration

        self._duration = duration
        self._program, self._inputs, self._quiet = program, inputs, quiet
        self._progress = Progress()
        self._start = time.monotonic()
        self._lines = self._tokens = self._characters = 0
        self._notes: collections.Counter[Note] = collections.Counter()

    def add(self, answer: "Answer") -> None:
        """Count an answer, and show how it goes if it is time."""
        self._lines += 1
        self._characters += len(answer.source) + 1
        self._tokens += sum(candidate.tokens for candidate in answer.candidates[:1])
        self._notes.update(set(answer.notes))
        if not self._quiet and time.monotonic() - self._start > SILENT:
            self._progress.show(f"{self._program}: {self._speed()}{self._time_left()}")

    def end(self) -> None:
        """Say how fast it was and which lines were odd."""
        if self._quiet:
            return
        self._progress.say(f"{self._program}: {self._speed()} in {self._duration(time.monotonic() - self._start)}")
        for line in odd_lines(self._notes):
            self._progress.say(line)

    def _speed(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-9)
        rates = f"{self._lines / seconds:,.1f} lines/s, {self._tokens / seconds:,.0f} output tokens/s"
        return f"{self._lines:,} {'line' if self._lines == 1 else 'lines'}, {rates}"

    def _time_left(self) -> str:
        share, read = self._inputs.share, self._inputs.characters_read
        if not share or not read or not self._characters:
            return ""
        done = share * self._characters / read  # by characters, not lines: one line may be as long as a thousand
        return f", about {self._duration((time.monotonic() - self._start) * (1 - done) / done)} left"

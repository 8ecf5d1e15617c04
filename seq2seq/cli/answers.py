"""What `translate` and `predict` share: lines in, a model's answers out, progress and a report on stderr."""

import argparse
import collections
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from seq2seq.cli.alignments import write_alignments
from seq2seq.cli.combining import combination_settings
from seq2seq.cli.constraints import ConstraintCount, as_fields
from seq2seq.cli.line_counts import check_line_counts
from seq2seq.cli.reporting import Reports
from seq2seq.cli.resuming import begin, check_files, check_resume
from seq2seq.cli.stops import terminable
from seq2seq.cli.streams import Inputs, Output
from seq2seq.cli.wording import some_lines
from seq2seq.data.lines import Line, Note
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.answering import Answer, Candidate
    from seq2seq.translator import Translator

SILENT = 2.0
"""Seconds before progress is shown: a short run needs none."""

Stream = Callable[["Translator", Iterable[Line | None], int | None], Iterator["Answer"]]


def answer_lines(
    arguments: argparse.Namespace,
    program: str,
    stream: Stream,
    *,
    n_best: int | None = None,
    candidates: "Callable[[Translator], int]" = lambda model: 1,
) -> int:
    """Run a model over the input lines.

    Args:
        arguments: those of add_model_options and add_line_options.
        program: how to call it in messages.
        stream: (model, lines, done) -> answers; done as in answering.answers.
        n_best: as given on the command line.
        candidates: how many each answer has.

    Returns:
        the exit code.
    """
    if arguments.scores and (arguments.json or (n_best or 1) > 1):
        several = "--alternatives" if getattr(arguments, "alternatives", None) else "--n-best"
        other = "--json" if arguments.json else several
        raise ConfigError(f"--scores has no effect with {other}, whose output holds the scores; leave it out.")
    inputs = Inputs(arguments.input)
    inputs.refuse(arguments.output)
    check_files(arguments)
    check_line_counts(arguments, inputs)
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(Output(arguments.output, keep=True))
        links = None
        if getattr(arguments, "alignments", None) is not None:
            links = stack.enter_context(Output(arguments.alignments, keep=True))
        stack.enter_context(terminable())
        reports = Reports(arguments, inputs, stack)
        outputs = [one for one in (output, links, reports.output) if one is not None]
        check_resume(arguments, [inputs], outputs)
        model = load_model(arguments)  # after the files: a wrong name shows at once
        each = 1 if arguments.json else candidates(model)
        numbers = arguments.scores or arguments.json or each > 1 or reports.output is not None
        counts = [(one, 1 if one is reports.output else each) for one in outputs]
        done = begin(arguments, [inputs], counts, exact_text=model.exact and not numbers)
        report = Report(program, inputs, quiet=arguments.quiet, done=done)
        lines = report.reading(inputs.lines())
        try:
            for number, answer in enumerate(stream(model, lines, done if inputs.again else None), start=done):
                text = formatted(number, answer, as_json=arguments.json, scores=arguments.scores)
                output.write(text, lines=text.count("\n"))
                if links is not None:
                    write_alignments(links, answer, best_only=arguments.json)
                reports.add(answer)
                report.add(answer)
        except KeyboardInterrupt as stop:
            raise type(stop)(how_to_go_on(output, inputs)) from None
        except BrokenPipeError:  # a reader wants no more; files beside its pipe keep their lines
            report.kept(one for one in outputs if one.partial and one.lines)
            raise
    report.end(reports.summary())
    return 0


def how_to_go_on(output: Output, inputs: Inputs) -> str:
    """What to tell of a command that was stopped."""
    where = f" to {output.whereabouts}" if output.name != "-" else ""
    again = "; --resume goes on from there" if output.partial and inputs.again and output.lines else ""
    return f"stopped; {some_lines(output.lines)} {'is' if output.lines == 1 else 'are'} written{where}{again}"


def load_model(arguments: argparse.Namespace, folder: str | None = None) -> "Translator":
    """The model of --ckpt, or several together, or another folder's, on --device, in --precision, with --threads."""
    from seq2seq.device import set_threads
    from seq2seq.loading import load
    from seq2seq.memory import keep_freed_memory
    from seq2seq.workers import CAN_FORK

    set_threads(arguments.threads)
    keep_freed_memory()
    others = combination_settings(arguments) if folder is None else {}
    others |= {name: getattr(arguments, name) for name in ("engine", "quantization") if hasattr(arguments, name)}
    model = load(folder or arguments.ckpt, device=arguments.device, precision=arguments.precision, **others)
    model.processes = CAN_FORK
    return model


def formatted(number: int, answer: "Answer", *, as_json: bool, scores: bool) -> str:
    """The output for one line of input, with its line ends.

    Args:
        number: of the line, from 0.
        answer: what the model made of it.
        as_json: one JSON object.
        scores: a tab and the score after the text.
    """
    if as_json:
        candidates = [_as_fields(candidate) for candidate in answer.candidates]
        fields: dict[str, Any] = {"line": number, "source": answer.source, **candidates[0]}
        if len(candidates) > 1:
            fields["n_best"] = candidates
        if answer.constraints:
            fields["constraints"] = as_fields(answer.constraints)
        return json.dumps({**fields, "notes": [note.name for note in answer.notes]}, ensure_ascii=False) + "\n"
    if len(answer.candidates) > 1:
        return "".join(f"{number} ||| {c.text} ||| {c.score:.4f}\n" for c in answer.candidates)
    return f"{answer.text}\t{answer.candidates[0].score:.4f}\n" if scores else f"{answer.text}\n"


def _as_fields(candidate: "Candidate") -> dict[str, Any]:
    fields = {"text": candidate.text, "score": candidate.score, "log_prob": candidate.log_prob}
    return fields if candidate.alignment is None else {**fields, "alignment": candidate.alignment}


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
        done: lines that an earlier command answered.
    """

    def __init__(self, program: str, inputs: Inputs, *, quiet: bool, done: int = 0) -> None:
        from seq2seq.training.report import Progress, duration

        self._duration = duration
        self._program, self._inputs, self._quiet = program, inputs, quiet
        self._progress = Progress()
        self._start = time.monotonic()
        self._lines = self._tokens = self._characters = 0
        self._notes: collections.Counter[Note] = collections.Counter()
        self._constraints = ConstraintCount()
        self._done, self._before = done, 0
        if done and not quiet:
            self._progress.say(f"{program}: going on after {some_lines(done)}")

    def reading(self, lines: Iterable[Line | None]) -> Iterator[Line | None]:
        """The lines, as they are read; those with answers are work that is done."""
        number = 0
        for line in lines:
            if line is not None and number < self._done:
                self._before += len(line.text) + 1
                number += 1
            yield line

    def add(self, answer: "Answer") -> None:
        """Count an answer, and show how it goes if it is time."""
        self._lines += 1
        self._characters += len(answer.source) + 1
        self._tokens += sum(candidate.tokens for candidate in answer.candidates[:1])
        self._notes.update(set(answer.notes))
        self._constraints.add(answer.constraints)
        if not self._quiet and time.monotonic() - self._start > SILENT:
            self._progress.show(f"{self._program}: {self._speed()}{self._time_left()}")

    def kept(self, outputs: Iterable[Output]) -> None:
        """Say where what was written is, after the reader of a pipe went away."""
        for output in outputs:
            if not self._quiet:
                kept = f"{output.whereabouts} has {some_lines(output.lines)}"
                self._progress.say(f"{self._program}: the reader of a pipe went away; {kept}")

    def end(self, summary: Iterable[str] = ()) -> None:
        """Say how fast it was and which lines were odd, and what else there is to say."""
        if self._quiet:
            return
        self._progress.say(f"{self._program}: {self._speed()} in {self._duration(time.monotonic() - self._start)}")
        if self._constraints:
            self._progress.say(f"{self._program}: {self._constraints}")
        for line in itertools.chain(odd_lines(self._notes), summary):
            self._progress.say(line)

    def _speed(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-9)
        rates = f"{self._lines / seconds:,.1f} lines/s, {self._tokens / seconds:,.0f} output tokens/s"
        return f"{some_lines(self._lines)}, {rates}"

    def _time_left(self) -> str:
        share, read = self._inputs.share, self._inputs.characters_read
        if not share or not read or not self._characters:
            return ""
        # by characters, not lines: one line may be as long as a thousand
        left = max(read / share - self._before - self._characters, 0)
        return f", about {self._duration((time.monotonic() - self._start) * left / self._characters)} left"

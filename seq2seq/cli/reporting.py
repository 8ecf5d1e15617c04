"""`--report`, `--retry` and the bounds of both: a record of each line in a file, and what they come to on stderr."""

import argparse
import collections
import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.cli.constraints import as_fields
from seq2seq.cli.streams import Inputs, Output
from seq2seq.errors import ConfigError
from seq2seq.signals.bounds import Bounds, Flag

if TYPE_CHECKING:
    from seq2seq.answering import Answer

BOUNDS_HELP = {
    "min_relative_length": "too_short below: (output tokens + 5) / (usual * source tokens + 5); 0 flags none",
    "max_relative_length": "too_long above this length",
    "max_repetition": "repetition above: share of repeated 4-grams beyond the source's own",
    "max_run": "repetition above: tokens of a stretch that repeats itself, beyond the source's own",
    "max_copied": "copied above: share of output words that stand in the source; 1 flags none",
    "min_coverage": "low_coverage below: share of the source that is attended to; 0 flags none",
    "min_confidence": "low_confidence below: exp(log_prob / tokens); 0 flags none",
    "usual_length_ratio": "target tokens for each source token that count as usual",
    "max_unreadable": "unreadable above: share of unknown and byte tokens in the source; 1 flags none",
}
OF_LABELS = ("min_confidence", "max_unreadable")
"""The bounds of what labels have."""


def add_report_options(parser: argparse.ArgumentParser, *, labels: bool = False) -> None:
    """--report, the bounds, and for translations --retry.

    Args:
        parser: gets them.
        labels: the outputs are labels.
    """
    group = parser.add_argument_group(
        "trust", "What is out of these bounds is flagged; the README says what each signal is."
    )
    group.add_argument(
        "--report",
        metavar="FILE",
        help="one JSON object for each input line, in order, as it goes: what was done to it, signals, flags; written "
        "like --output",
    )
    if not labels:
        group.add_argument(
            "--retry",
            action="store_true",
            help="search again for flagged lines, with a wider beam and without repeated n-grams, and keep the better "
            "output; not with --mbr, --alternatives or required phrases",
        )
    for field in dataclasses.fields(Bounds):
        if labels and field.name not in OF_LABELS:
            continue
        default = "the training text's" if field.default is None else field.default
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            type=int if field.type is int else float,
            metavar="N" if field.type is int else "X",
            help=f"{BOUNDS_HELP[field.name]} (default: {default})",
        )


def given_bounds(arguments: argparse.Namespace) -> Bounds | None:
    """The bounds; None where neither --report nor --retry asks for any.

    Raises:
        ConfigError: one is out of its range, or has no effect.
    """
    names = [field.name for field in dataclasses.fields(Bounds)]
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name, None) is not None}
    if arguments.report is None and not getattr(arguments, "retry", False):
        if given:
            option = "--" + next(iter(given)).replace("_", "-")
            other = " or --retry" if hasattr(arguments, "retry") else ""
            raise ConfigError(f"{option} has no effect without --report{other}; leave it out, or add one.")
        return None
    return Bounds(**given)


class Reports:
    """Writes a line of --report for each answer, and counts flags; does nothing where neither it nor --retry is given.

    Args:
        arguments: those of add_report_options, and --output.
        inputs: what is read, which the report must not replace.
        stack: closes the file.

    Attributes:
        output: where the records go; None without --report.

    Raises:
        ConfigError: the report goes where the output goes.
        DataError: the file cannot be written.
    """

    def __init__(self, arguments: argparse.Namespace, inputs: Inputs, stack: contextlib.ExitStack) -> None:
        name = arguments.report
        if name is not None:
            if name == "-" or Path(name).resolve() in _places(arguments.output):
                what = "stdout" if name == "-" else name
                raise ConfigError(f"--report ({what}) would mix with the output; name a file of its own.")
            inputs.refuse(name)
        self.output = None if name is None else stack.enter_context(Output(name, keep=True))
        self._counts: collections.Counter[Flag] = collections.Counter()
        self._flagged = self._retried = self._mended = 0
        self._counting = name is not None or getattr(arguments, "retry", False)

    def add(self, answer: "Answer") -> None:
        """Write an answer's record."""
        if not self._counting:
            return
        report = answer.report
        if self.output is not None:
            record = report.as_dict()
            if answer.constraints:
                record["constraints"] = as_fields(answer.constraints)
            self.output.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._retried += report.retried
        self._mended += report.mended
        self._counts.update(report.flags)
        self._flagged += bool(report.flags)

    def summary(self) -> Iterator[str]:
        """What came out, for people."""
        if self._retried:
            yield f"searched again: {self._retried:,} flagged lines, of which {self._mended:,} are no longer flagged"
        if self._counts:
            yield f"flagged lines: {self._flagged:,}, by kind (a line may be of several):"
        for flag in Flag:
            if self._counts[flag]:
                yield f"{self._counts[flag]:>10,}  {flag.value}"


def _places(output: str) -> Sequence[Path]:
    if output == "-":
        return []
    return [Path(f"{output}{suffix}").resolve() for suffix in ("", ".partial", ".partial.json")]

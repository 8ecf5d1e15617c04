"""What commands that judge translations share: files in, metrics over them."""

import argparse
import collections
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seq2seq.cli.options import at_least_one
from seq2seq.data.lines import Line, Note
from seq2seq.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seq2seq.evaluation.significance import Judge

METRIC_NAMES = ("bleu", "chrf", "ter", "comet")
SILENT = (Note.no_newline, Note.carriage_return)
"""Notes that change no score."""


def add_metric_options(parser: argparse.ArgumentParser) -> None:
    """--metrics, --samples, --comet-model."""
    group = parser.add_argument_group("metrics")
    group.add_argument(
        "--metrics",
        nargs="+",
        choices=METRIC_NAMES,
        metavar="NAME",
        help=f"of {', '.join(METRIC_NAMES)} (default: bleu chrf)",
    )
    group.add_argument(
        "--samples",
        type=at_least_one,
        metavar="N",
        help="samples of a bootstrap test and trials of a randomisation (default: 1,000 and 10,000); the smallest "
        "p-value is 1/(N + 1)",
    )
    group.add_argument(
        "--comet-model",
        metavar="NAME",
        help="of the metric comet (pip install 'seq2seq[comet]'), which also needs --source: a model's name on the "
        "hub, or the path of a checkpoint file",
    )


def refuse(arguments: argparse.Namespace, names: Sequence[str], where: str) -> None:
    """Make sure that options that would have no effect were not given.

    Raises:
        ConfigError: one was.
    """
    for name in names:
        if getattr(arguments, name) not in (None, False, "auto"):
            raise ConfigError(f"--{name.replace('_', '-')} has no effect {where}; leave it out.")


class Texts:
    """Texts of equal length from files, and what was odd about them.

    Args:
        program: how to call it in messages.
        quiet: say nothing.
    """

    def __init__(self, program: str, *, quiet: bool = False) -> None:
        self._program, self._quiet = program, quiet
        self._texts: dict[str, list[Line]] = {}

    def add(self, name: str, *, folders: bool = True) -> list[str]:
        """The lines of a file, or of the translations in a run's folder.

        Raises:
            DataError: it cannot be read, or has another number of lines than those before.
        """
        from seq2seq.evaluation.texts import read_text, same_length, translations_of

        path = translations_of(name) if folders else name
        if path not in self._texts:
            self._texts[path] = read_text(path)
            same_length(self._texts)
        return [line.text for line in self._texts[path]]

    def keep(self, output: str) -> None:
        """Make sure that an output file is not one of these.

        Raises:
            DataError: it is.
        """
        for name in self._texts:
            if os.path.isfile(name) and os.path.isfile(output) and os.path.samefile(name, output):
                raise DataError(f"{output}: would be written over {name}, which is read; name another file.")

    def report(self) -> None:
        """Say on stderr what was odd."""
        for name, lines in () if self._quiet else self._texts.items():
            notes = collections.Counter(note for line in lines for note in set(line.notes) if note not in SILENT)
            for note, count in notes.items():
                value = "empty or blank" if note is Note.blank else note.value
                print(f"{self._program}: {name}: {count:,} of {len(lines):,} lines: {value}", file=sys.stderr)


def judge_of(
    names: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    sources: Sequence[str] | None,
    comet_model: str | None,
    device: str = "auto",
) -> "Judge":
    """The metrics that were asked for.

    Args:
        names: of METRIC_NAMES.
        references: one or several.
        sources: for comet.
        comet_model: the same.
        device: the same.

    Raises:
        ConfigError: comet without what it needs.
    """
    from seq2seq.evaluation.significance import Judge

    if "comet" not in names:
        return Judge(references, names)
    from seq2seq.evaluation.comet import Comet

    if not comet_model or sources is None:
        raise ConfigError("The metric comet needs --comet-model NAME and --source FILE.")
    if len(references) > 1:
        raise ConfigError("The metric comet reads one reference; give --reference once, or leave comet out.")
    comet = Comet(comet_model, sources=sources, references=references[0], device=device)
    return Judge(references, names, more={"comet": ("COMET", comet)})

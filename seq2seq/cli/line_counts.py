"""Files beside the input that have a line for each of its lines: that they do is found out before any work."""

import argparse

from seq2seq.cli.streams import Inputs
from seq2seq.errors import DataError

BESIDE = ("prefix", "constraints")
"""Options that name such files."""


def check_line_counts(arguments: argparse.Namespace, inputs: Inputs) -> None:
    """Refuse such a file with more or fewer lines than the input, where both can be read twice.

    Raises:
        DataError: it has; says how many both have.
    """
    for option in BESIDE:
        name = getattr(arguments, option, None)
        if name is None or not inputs.again or not (beside := Inputs([name])).again:
            continue
        theirs, ours = beside.count(), inputs.count()
        if theirs != ours:
            files = "stdin" if arguments.input == ["-"] else ", ".join(arguments.input)
            lines = "line" if theirs == 1 else "lines"
            raise DataError(
                f"{name}: --{option} has {theirs:,} {lines}, the input ({files}) has {ours:,}; give a line for each, a "
                "blank one where nothing is asked for."
            )

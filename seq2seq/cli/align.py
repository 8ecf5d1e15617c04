"""`seq2seq align`: which words of given translations belong to which of their sources."""

import argparse
import collections
from collections.abc import Iterator

from seq2seq.cli.alignments import add_link_options, alignment_settings
from seq2seq.cli.answers import load_model, odd_lines
from seq2seq.cli.options import add_model_options
from seq2seq.cli.stops import terminable
from seq2seq.cli.streams import Inputs, Output
from seq2seq.cli.wording import some_lines
from seq2seq.data.lines import Line, Note
from seq2seq.errors import ConfigError

DESCRIPTION = """\
Align the words of two texts, one the translation of the other, by the attention of a model that translates: for each
pair of lines one line 0-0 1-2 ... (word of the source, word of the target, from 0, split at white space).

  seq2seq align --ckpt runs/multi30k/best test.en test.de > test.align

A pair with a blank side, or longer than the model takes, gets an empty line; such pairs are counted on stderr."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    for side in ("source", "target"):
        parser.add_argument(
            side, metavar=side.upper(), help=f"{side} text, gzip where the name ends in .gz, - for stdin"
        )
    add_model_options(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output",
        default="-",
        metavar="FILE",
        help="file to write, gzip where the name ends in .gz, - for stdout (default: stdout); it has its name when it "
        "is whole",
    )
    add_link_options(parser.add_argument_group("links"))


def run(arguments: argparse.Namespace, program: str) -> int:
    """Align; returns the exit code."""
    from seq2seq.evaluation.alignment import pharaoh
    from seq2seq.training.report import Progress

    if arguments.source == arguments.target == "-":
        raise ConfigError("the source and the target cannot both be stdin; name a file for one of them.")
    sides = [Inputs([name]) for name in (arguments.source, arguments.target)]
    for side in sides:
        side.refuse(arguments.output)
    progress, notes = Progress(wait=True), collections.Counter[Note]()
    with Output(arguments.output) as output, terminable():
        model = load_model(arguments)
        source, target = (_lines(side) for side in sides)
        try:
            for odd, links in model.align_stream(source, target, alignment_settings(arguments)):
                output.write(f"{pharaoh(links or ())}\n")
                notes.update(odd)
                if not arguments.quiet:
                    progress.show(f"{program}: {some_lines(output.lines)}")
        except KeyboardInterrupt as stop:
            raise type(stop)(f"stopped; {some_lines(output.lines)} written") from None
    if not arguments.quiet:
        progress.say(f"{program}: {some_lines(output.lines)}")
        for line in odd_lines(notes):
            progress.say(line)
    return 0


def _lines(inputs: Inputs) -> Iterator[Line]:
    return (line for line in inputs.lines() if line is not None)

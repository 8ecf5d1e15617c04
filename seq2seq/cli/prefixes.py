"""What translations begin with, on the command line."""

import argparse
from collections.abc import Iterator

from seq2seq.cli.options import at_least_one
from seq2seq.cli.streams import Inputs
from seq2seq.data.lines import Line
from seq2seq.errors import ConfigError


def add_prefix_options(parser: argparse.ArgumentParser) -> None:
    """--prefix, --alternatives."""
    group = parser.add_argument_group("prefixes")
    group.add_argument(
        "--prefix",
        metavar="FILE",
        help="what the translations begin with: a text for each line of input, which may end within a word, or in a "
        "space to end its last word; a blank line leaves the translation free. gzip where the name ends in .gz, - for "
        "stdin. Scores and lengths are those of the whole translation",
    )
    group.add_argument(
        "--alternatives",
        type=at_least_one,
        metavar="N",
        help="the N likeliest words or pieces of words to go on with, behind the prefix where there is one, each "
        "completed by the search: N lines for each line of input as with --n-best, scored by the log-probability of "
        "that word, in nats",
    )


def given_prefixes(arguments: argparse.Namespace) -> Iterator[Line | None] | None:
    """The lines of --prefix, None where there is none.

    Raises:
        ConfigError: they come from where the input comes from, or cannot be read again for --resume.
        DataError: the file cannot be read.
    """
    if arguments.prefix is None:
        return None
    if arguments.prefix == "-" and "-" in arguments.input:
        raise ConfigError("--prefix - and --input - cannot both be read from stdin; name a file for one of them.")
    prefixes = Inputs([arguments.prefix])
    if arguments.resume and not prefixes.again:
        raise ConfigError("--resume reads the prefixes from their beginning, so --prefix must name a file.")
    prefixes.refuse(arguments.output)
    return prefixes.lines()

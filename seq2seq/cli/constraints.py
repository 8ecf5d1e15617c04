"""Options of `translate` for phrases that translations must hold, and what is said about them at the end."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from seq2seq.cli.streams import Inputs
from seq2seq.cli.wording import some_lines
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.data.phrases import Kept


def add_constraint_options(parser: argparse.ArgumentParser) -> None:
    """--glossary, --constraints, --keep-placeholders."""
    group = parser.add_argument_group(
        "required phrases",
        "Beam search only. An output ends when it holds its phrases, each at word boundaries and as often as required; "
        "where that cannot be done, the output that holds most of them is taken. stderr tells how many were satisfied, "
        "--json and --report also which (constraints: phrase, count, found). Not with --retry, --alternatives, "
        "--num-beam-groups or --coverage-penalty; --keep-placeholders not with --prefix either.",
    )
    group.add_argument(
        "--glossary",
        metavar="FILE",
        help="lines of a source term, a tab, its translation, which is required once for each place in a line where "
        "the term stands, at word boundaries. A term without capitals is found in any case, one with capitals as it "
        "is written; of terms that overlap the longest is taken. The translation's first letter may become a capital; "
        "gzip where the name ends in .gz",
    )
    group.add_argument(
        "--constraints",
        metavar="FILE",
        help="a line for each line of input: phrases that its translation must hold, with tabs between, one given "
        "twice twice; in a line of several sentences each is required of the one in which the model "
        "finds it likeliest; gzip where the name ends in .gz, - for stdin",
    )
    group.add_argument(
        "--keep-placeholders",
        action="store_true",
        help="tags, placeholders and addresses of a line (<b>, </b>, {name}, ${x}, %%s, %%1$d, __PH1__, web and e-mail "
        "addresses) must be in its translation as they are and as often, a closing tag behind its opening one; what is "
        "inside of one is no term of --glossary",
    )


def given_constraints(arguments: argparse.Namespace) -> dict[str, Any]:
    """What these options ask of `translate_stream`.

    Raises:
        ConfigError: text and constraints would both come from stdin.
        DataError: a file cannot be read, or a line of the glossary is not of its form.
    """
    from seq2seq.data.glossary import Glossary

    given: dict[str, Any] = {"keep_placeholders": True} if arguments.keep_placeholders else {}
    if arguments.glossary is not None:
        given["glossary"] = Glossary.read(arguments.glossary)
    if arguments.constraints is not None:
        if arguments.constraints == "-" and arguments.resume:
            raise ConfigError("--resume reads the constraints from their beginning, so they must be a file; name one.")
        if arguments.constraints == "-" and "-" in arguments.input:
            raise ConfigError("--constraints - and the text cannot both be stdin; name a file for one of them.")
        given["constraints"] = _phrases(Inputs([arguments.constraints]))
    for name in ("glossary", "constraints"):
        if getattr(arguments, name) not in (None, "-"):
            Inputs([getattr(arguments, name)]).refuse(arguments.output)
    return given


def _phrases(inputs: Inputs) -> Iterator[list[str]]:
    return (line.text.split("\t") for line in inputs.lines() if line is not None)


def as_fields(constraints: "tuple[Kept, ...]") -> list[dict[str, Any]]:
    """Constraints of a line for a JSON object."""
    return [{"phrase": one.phrase, "count": one.count, "found": one.found} for one in constraints]


class ConstraintCount:
    """How many constraints were satisfied so far."""

    def __init__(self) -> None:
        self._required = self._satisfied = self._lines = self._missing_lines = 0

    def add(self, constraints: "tuple[Kept, ...]") -> None:
        """Count those of a line."""
        satisfied = sum(one.satisfied for one in constraints)
        self._required += len(constraints)
        self._satisfied += satisfied
        self._lines += bool(constraints)
        self._missing_lines += satisfied < len(constraints)

    def __str__(self) -> str:
        missing, lines = self._missing_lines, some_lines(self._lines)
        missed = f"; {some_lines(missing)} {'misses' if missing == 1 else 'miss'} some" if missing else ""
        return f"{self._satisfied:,} of {self._required:,} required phrases in {lines} satisfied{missed}"

    def __bool__(self) -> bool:
        return self._required > 0

"""Word alignments beside translations: `--alignments FILE`."""

import argparse
from typing import TYPE_CHECKING, Any

from seq2seq.cli.streams import Inputs, Output
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.answering import Answer
    from seq2seq.evaluation.alignment import AlignmentSettings

OPTIONS = ("alignment_layers", "alignment_threshold")


def add_alignment_options(parser: argparse.ArgumentParser) -> None:
    """--alignments, --alignment-layers, --alignment-threshold."""
    group = parser.add_argument_group("word alignments")
    group.add_argument(
        "--alignments",
        metavar="FILE",
        help="file for which words belong together, a line for each output: 0-0 1-2 ... (word of the line, word of the "
        "output, from 0, split at white space). With --json the objects have them too",
    )
    add_link_options(group)


def add_link_options(group: Any) -> None:
    """How words are linked."""
    group.add_argument(
        "--alignment-layers",
        type=int,
        nargs="+",
        metavar="N",
        help="decoder layers whose attention counts, from 0 (default: the last two)",
    )
    group.add_argument(
        "--alignment-threshold",
        type=float,
        metavar="X",
        help="link words whose score is X at least, above 0 and at most 1: a word may have several links or none "
        "(default: the best link of each word of the output)",
    )


def alignment_settings(arguments: argparse.Namespace) -> "AlignmentSettings":
    """As given on the command line."""
    from seq2seq.evaluation.alignment import AlignmentSettings

    layers = arguments.alignment_layers
    return AlignmentSettings(layers and tuple(layers), arguments.alignment_threshold)


def check_alignments(arguments: argparse.Namespace) -> None:
    """Refuse options without effect, and files that are used twice.

    Raises:
        ConfigError, DataError: there is one.
    """
    if arguments.alignments is None:
        for name in OPTIONS:
            if getattr(arguments, name) is not None:
                raise ConfigError(f"--{name.replace('_', '-')} has no effect without --alignments; leave it out.")
        return
    several = f"--ckpt {' '.join(arguments.ckpt)}" if len(arguments.ckpt) > 1 else arguments.lm and "--lm"
    if several:
        raise ConfigError(
            f"--alignments reads the attention of one model, but {several} makes it several together; name one folder "
            "after --ckpt and no --lm, or write the translation without --alignments and give it to seq2seq align."
        )
    if arguments.alignments == arguments.output:
        raise ConfigError(f"--alignments and --output are both {arguments.output}; name two files.")
    Inputs(arguments.input).refuse(arguments.alignments)


def write_alignments(output: Output, answer: "Answer", *, best_only: bool) -> None:
    """A line for each candidate of an answer, or for the best."""
    from seq2seq.evaluation.alignment import pharaoh

    candidates = answer.candidates[:1] if best_only else answer.candidates
    text = "".join(f"{pharaoh(candidate.alignment or ())}\n" for candidate in candidates)
    output.write(text, lines=len(candidates))

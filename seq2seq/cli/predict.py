"""`seq2seq predict`: lines in, their labels out."""

import argparse

from seq2seq.cli.answers import answer_lines
from seq2seq.cli.options import add_line_options, add_model_options, at_least_one
from seq2seq.cli.reporting import add_report_options, given_bounds

DESCRIPTION = """\
Label text with a model of task=classification (a label for each line) or task=tagging (a label for each word of a
line, with spaces between), one line out for each line in, in order, as it goes.

  seq2seq predict --ckpt runs/language_identification/best < input.txt > labels.txt"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model_options(parser)
    add_line_options(parser)
    add_report_options(parser, labels=True)
    parser.add_argument(
        "--batch-tokens", type=at_least_one, metavar="N", help="padded tokens of a batch (default: the checkpoint's)"
    )


def run(arguments: argparse.Namespace, program: str) -> int:
    """Label; returns the exit code."""
    bounds = given_bounds(arguments)
    return answer_lines(
        arguments,
        program,
        lambda model, lines, done: model.predict_stream(
            lines, batch_tokens=arguments.batch_tokens, bounds=bounds, done=done
        ),
    )

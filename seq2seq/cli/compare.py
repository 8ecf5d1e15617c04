"""`seq2seq compare`: two translations of one text beside each other."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.cli.judging import Texts, add_metric_options, judge_of, refuse
from seq2seq.cli.options import at_least_one
from seq2seq.cli.streams import Output
from seq2seq.errors import DataError

if TYPE_CHECKING:
    from seq2seq.evaluation.comparison import Comparison

DESCRIPTION = """\
Compare two translations of one text: scores with 95 % intervals, the difference with p-values of two paired tests
(bootstrap resampling and approximate randomisation), and the sentences in which one is better than the other by most.

  seq2seq compare out.de other.de --reference test.de --source test.en --html page.html

A and B are files with a line for each sentence, or folders of runs: then what seq2seq.evaluate kept there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("a", metavar="A", help="a translation, or the folder of a run")
    parser.add_argument("b", metavar="B", help="another one of the same text")
    parser.add_argument(
        "--reference",
        action="append",
        required=True,
        metavar="FILE",
        help="the right translation; again for further ones",
    )
    parser.add_argument("--source", metavar="FILE", help="what is translated, to be shown")
    parser.add_argument(
        "--html", metavar="FILE", help="also write all sentences as one page that needs no network, sortable"
    )
    parser.add_argument(
        "--show",
        type=at_least_one,
        default=10,
        metavar="N",
        help="sentences to print of those won and of those lost (default: 10); the page has all",
    )
    add_metric_options(parser)
    parser.add_argument("--device", default="auto", help="of the metric comet: auto, cpu, cuda or mps")
    parser.add_argument("--quiet", action="store_true", help="write nothing to stderr but errors")


def run(arguments: argparse.Namespace, program: str) -> int:
    """Compare; returns the exit code."""
    from seq2seq.evaluation.comparison import compare, page

    names = list(dict.fromkeys(arguments.metrics or ["bleu", "chrf"]))
    if "comet" not in names:
        refuse(arguments, ("comet_model", "device"), "without --metrics comet")
    texts = Texts(program, quiet=arguments.quiet)
    a, b = texts.add(arguments.a), texts.add(arguments.b)
    references = [texts.add(name, folders=False) for name in arguments.reference]
    sources = texts.add(arguments.source, folders=False) if arguments.source else None
    if arguments.html:
        texts.keep(arguments.html)
    texts.report()
    judge = judge_of(names, references, sources=sources, comet_model=arguments.comet_model, device=arguments.device)
    comparison = compare(
        judge, (arguments.a, arguments.b), a, b, references, sources=sources, samples=arguments.samples
    )
    if arguments.html:  # before anything is told
        _write(Path(arguments.html), comparison)
    with Output("-") as output:
        for line in page(comparison, show=arguments.show):
            output.write(f"{line}\n")
    if arguments.html and not arguments.quiet:
        print(f"{program}: all {len(a):,} sentences are in {arguments.html}", file=sys.stderr)
    return 0


def _write(path: Path, comparison: "Comparison") -> None:
    from seq2seq.evaluation.comparison_page import html_page
    from seq2seq.files import write_text

    try:
        write_text(path, html_page(comparison))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); name another file.") from error

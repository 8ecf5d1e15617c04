"""Options that several commands share, and how a command says what is wrong with them."""

import argparse
import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import Any, NoReturn

from seq2seq.cli.resuming import add_resume_option
from seq2seq.config import (
    INT8,
    DecodingConfig,
    EngineKind,
    LengthNormalisation,
    LineSplit,
    Precision,
    Quantization,
    Search,
    Utility,
)


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a mistake with one sentence.

    Args:
        late_epilog: makes the end of the help text when help is asked for.
        arguments: as for ArgumentParser.

    Attributes:
        intermixed: take words and options in any order, `a --json b`; argparse by itself takes words in one place only.
    """

    def __init__(self, *, late_epilog: Callable[[], str] | None = None, **arguments: Any) -> None:
        super().__init__(
            **{
                "formatter_class": functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=32),
                "allow_abbrev": False,
                **arguments,
            }
        )
        self._late_epilog = late_epilog
        self.intermixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ArgumentParser's, which the parser of all commands calls for the one that was named."""
        if not self.intermixed:
            return super().parse_known_args(args, namespace)
        self.intermixed = False  # argparse comes back here for each of the two kinds
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.intermixed = True

    def format_help(self) -> str:
        """The help text."""
        if self._late_epilog is not None:
            self.epilog = self._late_epilog()
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """One sentence on stderr and exit code 2."""
        self.exit(2, f"{self.prog}: error: {message.rstrip('.')}; see {self.prog} --help.\n")


def add_model_options(parser: argparse.ArgumentParser, *, required: bool = True, several: bool = False) -> None:
    """--ckpt, --device, --precision, --threads, --quiet.

    Args:
        parser: gets them.
        required: whether there must be a --ckpt.
        several: --ckpt takes several folders, and is a list.
    """
    group = parser.add_argument_group("model")
    many: dict[str, Any] = {"nargs": "+", "action": "extend"} if several else {}
    group.add_argument(
        "--ckpt",
        required=required,
        metavar="FOLDER",
        help="a checkpoint folder, or a run folder: its best/ is used, or last/ where there is no best/"
        + ("; several make an ensemble, which has the settings of the first" if several else ""),
        **many,
    )
    group.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda, cuda:N or mps")
    group.add_argument(
        "--precision",
        default="auto",
        choices=[*(kind.value for kind in Precision), INT8],
        help="number format of weights and activations; auto: bfloat16 on GPUs that have it, else float32; int8: 8-bit "
        "products, for CPUs; only with float32 a line's output never depends on its neighbours (default: auto)",
    )
    group.add_argument(
        "--threads", type=at_least_one, metavar="N", help="CPU threads (default: every core this process may use)"
    )
    group.add_argument("--quiet", action="store_true", help="write nothing to stderr but errors")


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """--engine and --quantization."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--engine",
        choices=[kind.value for kind in EngineKind],
        default=EngineKind.torch.value,
        help="what decodes; ctranslate2: the package of that name (pip install 'seq2seq[ctranslate2]'), faster on a "
        "CPU. --ckpt may then be a folder of seq2seq export; a checkpoint is exported into a cache "
        "the first time. In float32 the same text but for rounding, which other lines can also change, "
        "and but for options that forbid tokens, which are left out before probabilities are made (default: torch)",
    )
    group.add_argument(
        "--quantization",
        choices=[kind.value for kind in Quantization],
        help="for --engine ctranslate2, in the place of --precision: number format of weights and products; int8 is "
        "the fastest on a CPU and changes some lines (default: that of the export, float32)",
    )


def add_run_words(parser: Parser) -> None:
    """The words that describe a training run, as `overrides`; `configure.run_config` makes a configuration of them."""
    parser.intermixed = True
    parser.add_argument(
        "overrides",
        nargs="+",
        metavar="KEY=VALUE",
        help="what python -m seq2seq.train takes: +recipe=NAME and settings, such as training.batch_tokens=2048",
    )


def add_line_options(parser: argparse.ArgumentParser) -> None:
    """--input, --output, --resume, --scores, --json."""
    group = parser.add_argument_group("input and output")
    group.add_argument(
        "--input",
        nargs="+",
        default=["-"],
        metavar="FILE",
        help="files to read one after another, gzip where the name ends in .gz, - for stdin (default: stdin)",
    )
    group.add_argument(
        "--output",
        default="-",
        metavar="FILE",
        help="file to write, gzip where the name ends in .gz, - for stdout (default: stdout). Lines go to FILE.partial "
        "as they are finished; it is renamed to FILE when all are, and stays when the program ends early",
    )
    add_resume_option(group)
    group.add_argument("--scores", action="store_true", help="after each line, a tab and its score")
    group.add_argument(
        "--json",
        action="store_true",
        help="one JSON object a line: line (number from 0), source, text, score, log_prob, notes, n_best when more "
        "than one is asked for, constraints where phrases are required, and alignment with --alignments",
    )


SEARCH_HELP = {
    "search": "greedy: the likeliest token each time; beam: the best of several hypotheses; sample: by chance",
    "beam_size": "hypotheses followed side by side",
    "length_normalisation": "how hypotheses of different length are compared, see the end of this help",
    "length_penalty": "alpha of it; larger favours longer output",
    "n_best": "outputs of each line, best first, each on a line: NUMBER ||| TEXT ||| SCORE, with the number of the "
    "input line from 0; always N lines for each, the last repeated if the search finds fewer",
    "split": "which lines of several sentences are translated in pieces, cut where sentences end; auto: those longer "
    "than such lines of the training text, all where it had few; sentences: all, each sentence by itself; long: those "
    "longer than the model takes (data.max_length). With --prefix or --alternatives long",
    "patience": "a line is done when this times beam-size hypotheses have ended; 0: when no other can win",
    "min_length": "fewest tokens of an output",
    "max_length_ratio": "most tokens of an output: this times the tokens of the source, plus 10",
    "min_length_ratio": "fewest tokens of an output: this times the tokens of the source, rounded up; of this and "
    "--min-length the larger number counts",
    "max_length": "most tokens of an output, the end token included; of this and --max-length-ratio the smaller number "
    "counts, before any fewest; 0: no limit of its own",
    "max_new_tokens": "tokens to write at most",
    "no_repeat_ngram_size": "no run of this many tokens is written twice, a prompt's included; 0: any may be",
    "repetition_penalty": "log-probabilities of tokens written before, a prompt's included, are multiplied by this in "
    "every search (Keskar et al. 2019); above 1 against repetition, 1: off",
    "suppress_tokens": "pieces of the vocabulary that are never written, as they are there: with the mark of "
    "SentencePiece for a space, ▁the, and bytes as <0x0A>",
    "suppress_text": "words and phrases that are never written, in whatever pieces: as whole words (ass forbids "
    "neither class nor asset), with case counting",
    "coverage_penalty": "beam search: what source tokens that got little attention cost, see the end of this "
    "help; 0: nothing",
    "num_beam_groups": "diverse beam search: groups of equal size that the beam is divided into, each kept from the "
    "tokens of those before it (Vijayakumar et al. 2018)",
    "diversity_penalty": "of diverse beam search: nats that a token costs for each beam of an earlier group that "
    "writes it at the same step; 0.5 is usual",
    "temperature": "of sampling: below 1 favours probable tokens, above 1 evens them out",
    "top_k": "sample from this many most probable tokens; 0: from all",
    "top_p": "sample from the smallest set of tokens that holds this probability; 1: from all",
    "mbr": "minimum Bayes risk: take the candidate that is most like all candidates by sentence chrF or BLEU, which is "
    "then its score; candidates are samples (--search sample) or what beam search finds",
    "mbr_candidates": "how many candidates; 0: 32 samples, or the whole beam",
    "min_p": "sample from tokens with at least this times the probability of the most probable one (Nguyen et al. "
    "2024); 0: from all",
    "epsilon_cutoff": "sample from tokens of at least this probability (Hewitt et al. 2022), and the most probable one "
    "in any case; 0: from all. Filters come one after another: temperature, top-k, top-p, min-p, epsilon-cutoff",
    "batch_tokens": "padded source tokens of a batch times the hypotheses of each line; changes speed and memory only",
}


CHOICES = {
    "search": [choice.value for choice in Search],
    "length_normalisation": [choice.value for choice in LengthNormalisation],
    "mbr": [choice.value for choice in Utility],
    "split": [choice.value for choice in LineSplit],
}


def add_search_options(parser: argparse.ArgumentParser, names: list[str]) -> None:
    """One option for each named field of DecodingConfig; what is not given is None and left to the checkpoint."""
    group = parser.add_argument_group(
        "search", "What is not given is as the checkpoint's training run had it (decoding.*); its default is shown."
    )
    defaults = DecodingConfig()
    kinds = {field.name: field.type for field in dataclasses.fields(DecodingConfig)}
    for name in names:
        choices = CHOICES.get(name)
        default = getattr(defaults, name)
        group.add_argument(
            "--" + name.replace("_", "-"),
            **_shape(kinds[name]) if not choices else {"choices": choices},
            help=f"{SEARCH_HELP[name]} (default: {default.value if choices else default or 'none'})",
        )
    group.add_argument(
        "--seed", type=int, metavar="N", help="of sampling; the same seed gives the same output (default: 1)"
    )


def _shape(kind: Any) -> dict[str, Any]:
    """How argparse reads a field of that type."""
    if typing.get_origin(kind) is list:
        return {"nargs": "+", "metavar": "TEXT"}
    return {"type": kind, "metavar": "N" if kind is int else "X"}


def given_settings(arguments: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """The search settings that were given on the command line."""
    values = {name: getattr(arguments, name) for name in [*names, "seed"]}
    return {name: value for name, value in values.items() if value is not None}


def at_least_one(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number

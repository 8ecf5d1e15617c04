"""`seq2seq-translate`, also `seq2seq translate`: text in, its translation out, line by line."""

import argparse

from seq2seq.cli.alignments import add_alignment_options, alignment_settings, check_alignments
from seq2seq.cli.answers import answer_lines
from seq2seq.cli.combining import add_combination_options
from seq2seq.cli.constraints import add_constraint_options, given_constraints
from seq2seq.cli.formulas import length_formulas
from seq2seq.cli.options import (
    add_engine_options,
    add_line_options,
    add_model_options,
    add_search_options,
    given_settings,
)
from seq2seq.cli.prefixes import add_prefix_options, given_prefixes
from seq2seq.cli.reporting import add_report_options, given_bounds

DESCRIPTION = """\
Translate text, one line out for each line in, in order, as it goes.

  seq2seq-translate --ckpt runs/multi30k/best < input.txt > output.txt

Lines end at newline bytes only. Nothing in a line is an error: invalid UTF-8, control characters and line separators
are replaced, blank lines stay blank, over-long lines and those of several sentences are translated in pieces (see
--split); what was odd is counted on stderr."""

SETTINGS = [
    "search",
    "beam_size",
    "length_normalisation",
    "length_penalty",
    "n_best",
    "patience",
    "coverage_penalty",
    "num_beam_groups",
    "diversity_penalty",
    "split",
    "min_length",
    "max_length_ratio",
    "min_length_ratio",
    "max_length",
    "no_repeat_ngram_size",
    "repetition_penalty",
    "suppress_tokens",
    "suppress_text",
    "temperature",
    "top_k",
    "top_p",
    "mbr",
    "mbr_candidates",
    "min_p",
    "epsilon_cutoff",
    "batch_tokens",
]


def epilog() -> str:
    """The formulas of length normalisation, and the exit codes."""
    return (
        f"{length_formulas()}\n\n"
        "--coverage-penalty beta adds to the score beta * sum over source tokens i of log(min(sum over j of p_ij, 1))\n"
        "(Wu et al. 2016), p_ij being the attention from the j-th token written to i, the mean over the heads of the\n"
        "last decoder layer; 0.2 is usual.\n\n"
        "Exit codes: 0 all lines are written; 2 an error, told on stderr; 130 stopped by Ctrl-C, 143 by SIGTERM."
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model_options(parser, several=True)
    add_combination_options(parser)
    add_engine_options(parser)
    add_line_options(parser)
    add_prefix_options(parser)
    add_alignment_options(parser)
    add_search_options(parser, SETTINGS)
    add_report_options(parser)
    add_constraint_options(parser)


def run(arguments: argparse.Namespace, program: str) -> int:
    """Translate; returns the exit code."""
    settings = given_settings(arguments, SETTINGS)
    required = given_constraints(arguments)
    check_alignments(arguments)
    alignments = alignment_settings(arguments) if arguments.alignments else None
    beginnings = given_prefixes(arguments)
    bounds = given_bounds(arguments)
    return answer_lines(
        arguments,
        program,
        lambda model, lines, done: model.translate_stream(
            lines,
            prefixes=beginnings,
            alternatives=arguments.alternatives,
            done=done,
            alignments=alignments,
            bounds=bounds,
            retry=arguments.retry,
            **required,
            **settings,
        ),
        n_best=arguments.alternatives or arguments.n_best,
        candidates=lambda model: arguments.alternatives or model.settings(**settings).n_best,
    )

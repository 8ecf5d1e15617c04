"""Options for several models that predict together."""

import argparse
from typing import Any

from seq2seq.config import EnsembleRule

COMBINING = ("ensemble", "ensemble_weights", "lm", "lm_weight")
"""The options, by the names that `seq2seq.load` has for them."""


def add_combination_options(parser: argparse.ArgumentParser, *, lm: bool = True) -> None:
    """--ensemble and --ensemble-weights, and --lm and --lm-weight where there is a translator."""
    group = parser.add_argument_group("several models (with one vocabulary: see tokenizer.checkpoint in config.py)")
    group.add_argument(
        "--ensemble",
        choices=[rule.value for rule in EnsembleRule],
        help="with several --ckpt: the mean of their log-probabilities or of their probabilities (default: log_probs)",
    )
    group.add_argument(
        "--ensemble-weights",
        nargs="+",
        type=float,
        metavar="X",
        help="of that mean, one for each --ckpt, above 0 (default: all alike)",
    )
    if not lm:
        return
    group.add_argument(
        "--lm",
        metavar="FOLDER",
        help="checkpoint or run folder of a language model of the target language: its log-probabilities times "
        "--lm-weight are added to the translator's (shallow fusion)",
    )
    group.add_argument("--lm-weight", type=float, metavar="X", help="of that sum, above 0 (default: 0.2)")


def combination_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given of them, for `seq2seq.load`; nothing for a command without these options."""
    return {name: value for name, value in vars(arguments).items() if name in COMBINING}

"""`seq2seq plan`: what a run will take, on one page, before it starts."""

import argparse
import json
import math
import sys
from pathlib import Path

from seq2seq.cli.options import Parser, add_run_words
from seq2seq.configure import run_config
from seq2seq.errors import ConfigError

DESCRIPTION = """\
What a training run will take, before it starts: parameters, corpus, speed, memory, batch sizes, time and cost.

  seq2seq plan +recipe=wmt_small training.batch_tokens=2048 --price-per-hour 0.80 --currency EUR

It takes the words of python -m seq2seq.train, reads and encodes the text as training would (and leaves it in the same
cache), and does real steps, for about a minute or two on a small model. Nothing is written into the run's folder."""


def add_arguments(parser: Parser) -> None:
    """Declare the options."""
    add_run_words(parser)
    parser.add_argument(
        "--price-per-hour", type=positive, metavar="X", help="of the machine; gives the cost of the run"
    )
    parser.add_argument("--currency", default="", metavar="NAME", help="of the price, shown behind it")
    parser.add_argument(
        "--memory-limit",
        type=positive,
        metavar="GIB",
        help="what training may take: of a GPU's memory or, on a CPU, of the whole process (default: nine tenths of "
        "what is free)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout; the page goes to stderr")


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be a finite number above 0")
    return number


def run(arguments: argparse.Namespace, program: str) -> int:
    """Plan; returns the exit code."""
    if arguments.currency and arguments.price_per_hour is None:
        raise ConfigError(f"--currency {arguments.currency} has no effect without --price-per-hour; give both.")
    config = run_config(arguments.overrides, program)

    import torch

    from seq2seq.data.prepare import prepare
    from seq2seq.device import resolve_device, resolve_precision, set_threads
    from seq2seq.planning.page import page
    from seq2seq.planning.plan import make_plan, run_there
    from seq2seq.training.compilation import check_compiler
    from seq2seq.training.distillation import load_teacher
    from seq2seq.training.report import show_notice
    from seq2seq.training.vocabulary import given_tokenizers

    device = resolve_device(config.device)
    dtype = resolve_precision(config.precision, device)
    threads = set_threads(config.training.threads)
    if config.training.compile:
        check_compiler(device)
    there = run_there(config)
    teacher = load_teacher(config, device=torch.device("cpu"))
    resumed = None
    if there is not None and there.checkpoint is not None and there.hindrance is None:
        resumed = Path(there.checkpoint)
    prepared = prepare(config, tokenizers=given_tokenizers(config, resumed=resumed, teacher=teacher))
    show_notice(prepared.notice)
    print(f"{program}: trying steps and batch sizes, for a minute or two ...", file=sys.stderr, flush=True)
    plan = make_plan(
        config,
        prepared,
        there=there,
        device=device,
        dtype=dtype,
        threads=threads,
        memory_limit=None if arguments.memory_limit is None else int(arguments.memory_limit * 2**30),
        price_per_hour=arguments.price_per_hour,
    )
    text = page(plan, price_per_hour=arguments.price_per_hour, currency=arguments.currency)
    print(text, end="", file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        price = {"price_per_hour": arguments.price_per_hour, "currency": arguments.currency or None}
        print(json.dumps({**plan.as_json(), **price}, ensure_ascii=False))
    return 0

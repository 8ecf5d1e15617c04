"""`seq2seq verify-resume`: whether a run that was stopped and gone on with ends exactly like one that was not."""

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.cli.options import Parser, add_run_words
from seq2seq.config import Config, Precision
from seq2seq.configure import run_config
from seq2seq.errors import Seq2SeqError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seq2seq.data.batch import Batch
    from seq2seq.training.loop import Batches, Epoch, Metrics

DESCRIPTION = """\
Whether a run that is stopped and gone on with ends exactly like one that was not, on your own settings and machine.

  seq2seq verify-resume +recipe=wmt_small --steps 20

It takes the words of python -m seq2seq.train and trains three times for a few steps, each in a process of its own: once
without a stop; once until half of the steps, where `kill` stops it; and once more to go on from there. Then it compares
the data's order, the lines of metrics.jsonl, every weight and all of the training state, bit for bit. Everything is
in a temporary folder, which is removed; run_dir is not touched. Exit code 1: something differs, which is named."""

VALIDATION_BATCHES = 4
"""Batches of the validation text whose loss stands for a validation."""
BATCHES = "batches.txt"
"""In a run folder: a line for each micro-batch that was asked for."""
CLOCKS = {"seconds", "tokens_per_second", "validation_seconds"}
"""What no two runs have in common."""


def add_arguments(parser: Parser) -> None:
    """Declare the options."""
    add_run_words(parser)
    parser.add_argument("--steps", type=_steps, default=20, metavar="N", help="optimiser steps of a run (default: 20)")


def _steps(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"{text} must be at least 2, so that there is a middle to stop in")
    return number


def run(arguments: argparse.Namespace, program: str) -> int:
    """Compare; returns the exit code."""
    config, steps = run_config(arguments.overrides, program), arguments.steps
    if config.training.minutes is not None:
        _say(
            program, f"training.minutes={config.training.minutes:g} is left out, because no two runs agree by a clock."
        )
    with tempfile.TemporaryDirectory(prefix="seq2seq-verify-resume-") as folder:
        whole, stopped = Path(folder, "whole"), Path(folder, "stopped")
        parts: list[tuple[str, Path, int | None]] = [
            (f"{steps} steps without a stop", whole, None),
            (f"the same, stopped after {steps // 2}", stopped, steps // 2),
            ("going on from there", stopped, None),
        ]
        for what, run_dir, stop_after in parts:
            _say(program, f"{what} ...")
            code = _in_a_process(program, _short_run(config, whole, run_dir, steps=steps), stop_after)
            if code:
                return code
        difference, counts = compared(whole, stopped)
    report = {
        "identical": difference is None, "first_difference": difference, "steps": steps, "stopped_after": steps // 2,
        **counts,
    }  # fmt: skip
    if difference is None:
        _say(
            program,
            f"a run of {steps} steps that was stopped after {steps // 2} ended exactly like one that was not: "
            f"{counts['batches']:,} batches, {counts['metrics_lines']:,} lines of metrics.jsonl, {counts['weights']:,} "
            f"weights and {counts['state']:,} other values and tensors of the training state are equal bit for bit.",
        )
    else:
        gpu = " (on a GPU, some kernels add up in an order of their own)" if counts["device"] != "cpu" else ""
        _say(program, f"a run that was stopped did not end like one that was not: {difference}{gpu}.")
    print(json.dumps(report, ensure_ascii=False))
    return 0 if difference is None else 1


def _say(program: str, sentence: str) -> None:
    print(f"{program}: {sentence}", file=sys.stderr, flush=True)


def _short_run(config: Config, whole: Path, run_dir: Path, *, steps: int) -> Config:
    """The user's settings, but for where the run is, how long it takes, and how often it validates and saves.

    What the first run measured (training.batch_tokens=auto, precision=auto) holds for the others.
    """
    from seq2seq.checkpoint import load_config, training_values

    short = dataclasses.replace(config, run_dir=str(run_dir), training=dataclasses.replace(config.training))
    settings = short.training
    settings.steps, settings.minutes, settings.patience = steps, None, 0
    settings.validate_every, settings.save_every, settings.log_every = max(2, steps // 3), max(2, steps // 4), 1
    settings.tensorboard, settings.keep_checkpoints, settings.average_checkpoints = False, 0, 0
    if run_dir != whole:
        settings.batch_tokens = load_config(whole / "last").training.batch_tokens
        short.precision = Precision(training_values(whole / "last")["dtype"])
    return short


# ------------------------------------------------------------------ one process


def _in_a_process(program: str, config: Config, stop_after: int | None) -> int:
    """Train in a new process; returns its exit code."""
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(program, config, stop_after))
    process.start()
    process.join()
    code = process.exitcode or 0
    if code not in (0, 2):
        _say(program, f"error: the process that trained ended with code {code}, before there was anything to compare.")
        return 2
    return code


def _train(program: str, config: Config, stop_after: int | None) -> None:
    """Train as python -m seq2seq.train does, with another validation and without the scoring at the end."""
    os.dup2(2, 1)  # stdout is for the result alone
    from seq2seq.train import assembled
    from seq2seq.training.interrupts import Interrupted
    from seq2seq.training.run_folder import RunFolder

    folder = RunFolder(config.run_dir, keep=config.training.keep_checkpoints)
    try:
        with folder.reserved():
            parts = assembled(config, folder)
            trainer = parts.trainer
            stop_at = None if stop_after is None else stop_after * config.training.accumulation
            trainer.batches = _Noted(trainer.batches, folder.path / BATCHES, stop_at=stop_at)
            trainer.watch = "loss"
            trainer.validate = lambda model, check: _short_validation(parts, model)
            log = parts.log()
            try:
                trainer.fit(log)
            finally:
                log.close()
    except Interrupted:
        sys.exit(0 if stop_after is not None else 2)
    except Seq2SeqError as error:
        _say(program, f"error: {' '.join(str(error).splitlines())}")
        sys.exit(2)


def _short_validation(parts: Any, model: "nn.Module") -> "Metrics":
    """The loss of a few batches, which is what is watched then."""
    import itertools

    from seq2seq.scoring import held_out_batches, losses_of, total_of

    batches = itertools.islice(held_out_batches(parts.config, parts.prepared.valid), VALIDATION_BATCHES)
    loss = total_of(losses_of(model, batches, dtype=parts.scorer.dtype)).as_metrics()["loss"]
    return {"loss": loss}


class _Noted:
    """Batches, each of which is noted in a file; the last before a stop brings on the signal that stops the run.

    Args:
        batches: of the run.
        path: the file, which goes on.
        stop_at: send this process SIGTERM with the so-manyth batch; None never.
    """

    def __init__(self, batches: "Batches", path: Path, *, stop_at: int | None) -> None:
        self._batches, self._stop_at, self._count = batches, stop_at, 0
        self._file = open(path, "a", encoding="ascii")  # noqa: SIM115 - open as long as the process

    def epoch(self, number: int) -> "Epoch":
        """As `Batches`."""
        return _NotedEpoch(self._batches.epoch(number), self._note)

    def _note(self, batch: "Batch") -> "Batch":
        digest = hashlib.sha256()
        for tensor in (batch.source, batch.target_in, batch.target_out):
            digest.update(b"-" if tensor is None else tensor.numpy().tobytes())
        print(digest.hexdigest(), file=self._file, flush=True)
        self._count += 1
        if self._count == self._stop_at:
            os.kill(os.getpid(), signal.SIGTERM)  # the loop does the step that it is in, saves and ends
        return batch


class _NotedEpoch:
    def __init__(self, epoch: "Epoch", note: Callable[["Batch"], "Batch"]) -> None:
        self._epoch, self._note = epoch, note

    def __len__(self) -> int:
        return len(self._epoch)

    def __getitem__(self, position: int) -> "Batch":
        return self._note(self._epoch[position])


# ------------------------------------------------------------------- comparison


def compared(whole: Path, stopped: Path) -> tuple[str | None, dict[str, Any]]:
    """What first differs between two run folders, in words, and how much was compared.

    The order is that of a run: the data, then what the steps said, then what they left behind.
    """
    from seq2seq.checkpoint import load_training_state, read_weights

    batches = [(folder / BATCHES).read_text().splitlines() for folder in (whole, stopped)]
    lines = [list(_figures(folder / "metrics.jsonl")) for folder in (whole, stopped)]
    weights = [read_weights(folder / "last") for folder in (whole, stopped)]
    states = [load_training_state(folder / "last") for folder in (whole, stopped)]
    values = [_without_clocks(state.values) for state in states]
    differences = [
        *_between_lists("micro-batch {} of the data", *batches),
        *_between_lists("line {} of metrics.jsonl", *lines),
        *_between_tensors("the weight {}", weights[0], weights[1]),
        *_between_tensors("{} of the training state", states[0].tensors, states[1].tensors),
        *(f"{name} of the training state differs" for name in values[0] if values[0][name] != values[1].get(name)),
    ]
    counts = {
        "batches": len(batches[0]), "metrics_lines": len(lines[0]), "weights": len(weights[0]),
        "state": len(states[0].tensors) + len(values[0]), "device": states[0].values["device"],
        "precision": states[0].values["dtype"],
    }  # fmt: skip
    return next(iter(differences), None), counts


def _figures(path: Path) -> Iterator[dict[str, Any]]:
    return (_without_clocks(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())


def _without_clocks(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_clocks(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if name not in CLOCKS
    }


def _between_lists(name: str, ours: list[Any], theirs: list[Any]) -> Iterator[str]:
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False), start=1):
        if one != other:
            keys = [key for key in one if one[key] != other.get(key)] if isinstance(one, dict) else []
            what = f" ({keys[0]}: {one[keys[0]]}, {other.get(keys[0])})" if keys else ""
            yield f"{name.format(number)} differs{what}"
    if len(ours) != len(theirs):
        yield f"{name.format(min(len(ours), len(theirs)) + 1)} is there in one run only"


def _between_tensors(name: str, ours: "dict[str, Tensor]", theirs: "dict[str, Tensor]") -> Iterator[str]:
    """Differences by bits: a NaN equals itself, 0 does not equal -0."""
    import torch

    for key in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(key), theirs.get(key)
        if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
            yield f"{name.format(key)} is there in one run only, or has another shape"
        elif not torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)):
            largest = (one.double() - other.double()).abs().max()
            yield f"{name.format(key)} differs, by {float(largest):.3g} at most"

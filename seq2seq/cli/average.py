"""`seq2seq average`: the mean of several checkpoints' weights as a new checkpoint."""

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from seq2seq.checkpoint import Checkpoint

DESCRIPTION = """\
Average the weights of checkpoints of one and the same model (Vaswani et al. 2017, section 6.1), added up in float64.

  seq2seq average --output runs/wmt_small/averaged runs/wmt_small/checkpoints/step-*

The new checkpoint has the configuration and tokenizers of the first one named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder to write; must not exist yet")
    parser.add_argument("checkpoints", nargs="+", metavar="CKPT", help="checkpoint folders, two or more")


def run(arguments: argparse.Namespace, program: str) -> int:
    """Average; returns the exit code."""
    from seq2seq.checkpoint import load_checkpoint, save_checkpoint
    from seq2seq.training.averaging import mean_weights

    output = Path(arguments.output)
    if output.exists():
        raise CheckpointError(f"{output}: exists already; name a folder that does not.")
    if len(arguments.checkpoints) < 2:
        raise CheckpointError(f"{arguments.checkpoints[0]}: the mean of one checkpoint is itself; name two or more.")
    first = load_checkpoint(arguments.checkpoints[0])
    mean = mean_weights(_weights(arguments.checkpoints, first))
    save_checkpoint(
        output,
        config=first.config,
        model=first.model,
        tokenizers=first.tokenizers,
        metrics={"average_of": [str(folder) for folder in arguments.checkpoints]},
        weights=mean,
        card=f"# Average\n\nThe mean of the weights of {', '.join(map(str, arguments.checkpoints))}.\n",
    )
    print(f"{program}: the mean of {len(arguments.checkpoints)} checkpoints is in {output}.", file=sys.stderr)
    return 0


def _weights(folders: list[str], first: "Checkpoint") -> "Iterator[dict[str, Tensor]]":
    """The weights of each folder, one at a time.

    Raises:
        CheckpointError: one is of another model than the first.
    """
    from seq2seq.checkpoint import load_checkpoint, weights_of

    yield weights_of(first.model)
    for folder in folders[1:]:
        other = load_checkpoint(folder)
        if difference := _difference(first, other):
            raise CheckpointError(
                f"{other.folder} cannot be averaged with {first.folder}: {difference}. Average checkpoints of one run."
            )
        yield weights_of(other.model)


def _difference(first: "Checkpoint", other: "Checkpoint") -> str | None:
    if first.config.task is not other.config.task:
        return f"its task is {other.config.task.value}, not {first.config.task.value}"
    for field in dataclasses.fields(first.config.model):
        ours, theirs = getattr(first.config.model, field.name), getattr(other.config.model, field.name)
        if ours != theirs and "dropout" not in field.name and field.name != "initialisation":
            return f"its model.{field.name} is {getattr(theirs, 'value', theirs)}, not {getattr(ours, 'value', ours)}"
    for side in ("source", "target"):
        ours, theirs = getattr(first.tokenizers, side), getattr(other.tokenizers, side)
        if ours.fingerprint != theirs.fingerprint:
            return f"its {side} vocabulary is another one"
    return None

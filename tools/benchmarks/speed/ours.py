"""Our own training command, held between two steps: `seq2seq.train.run` itself, for the figures that a user gets."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import seq2seq.train
from seq2seq.config import Config, FeedForward
from seq2seq.data.batch import IGNORE, Batch
from seq2seq.data.prepare import Prepared
from speed.shapes import DROPOUT, LABEL_SMOOTHING, SHAPES, VOCAB_SIZE, BatchSizes, Shape
from speed.turns import Finished, Turns, Work

ENDLESS = 10**9


def shape_overrides(name: str, data: Path) -> list[str]:
    """Settings of the plain model of a shape on Multi30k English-German, for `configure.run_config`."""
    shape = SHAPES[name]
    return [
        "model=base",
        f"model.encoder_layers={shape.encoder_layers}",
        f"model.decoder_layers={shape.decoder_layers}",
        f"model.dim={shape.dim}",
        f"model.feed_forward_dim={shape.feed_forward_dim}",
        f"model.num_heads={shape.num_heads}",
        "model.feed_forward=relu",
        "model.positions=sinusoidal",
        "model.tied_embeddings=all",
        f"model.dropout={DROPOUT}",
        f"model.embedding_dropout={DROPOUT}",
        f"tokenizer.vocab_size={VOCAB_SIZE}",
        f'data.train="{data}/train"',
        f'data.valid="{data}/val"',
        "data.source_language=en",
        "data.target_language=de",
        f"training.label_smoothing={LABEL_SMOOTHING}",
    ]


def run_overrides(*, threads: int) -> list[str]:
    """Settings that let a run of any recipe go on until it is stopped, with nothing between its steps."""
    return [
        f"training.threads={threads}",
        f"training.steps={ENDLESS}",
        "training.minutes=null",
        f"training.validate_every={ENDLESS}",
        f"training.save_every={ENDLESS}",
        "device=cpu",
    ]


def shape_of(config: Config, outputs: int) -> Shape:
    """What the products of a configured model are counted from."""
    model = config.model
    return Shape(
        model.encoder_layers,
        model.decoder_layers,
        model.dim,
        model.feed_forward_dim,
        model.num_heads,
        model.num_kv_heads or model.num_heads,
        outputs,
        gated=model.feed_forward is FeedForward.swiglu,
    )


def sizes_of(batch: Batch) -> BatchSizes:
    """How long the rows of one of our batches are."""
    counted = batch.target_out != IGNORE
    source_lengths: list[int] = []
    if batch.source is not None:
        rows, width = batch.source.shape
        source_lengths = [width] * rows if batch.source_mask is None else batch.source_mask.sum(dim=1).tolist()
    return BatchSizes(
        source_lengths,
        0 if batch.source is None else batch.source.shape[1],
        [] if batch.target_in is None else counted.sum(dim=1).tolist(),
        0 if batch.target_in is None else batch.target_in.shape[1],
        batch.num_tokens,
        batch.target_out.numel(),
    )


def typical_rows(work: Work, *, batches: int) -> dict[str, int]:
    """Rows of the products of a batch of average size."""
    return {
        "source": max(1, work.source_positions // batches),
        "target": max(1, work.target_positions // batches),
        "predicted": max(1, work.target_tokens // batches),
    }


class Epochs(Protocol):
    """What gives a run its batches."""

    def epoch(self, number: int) -> Any:
        """The batches of one epoch, by position."""


class HeldBatches:
    """Batches that are given out only when a turn has steps left."""

    def __init__(self, batches: Epochs, turns: Turns) -> None:
        self.batches, self.turns = batches, turns

    def epoch(self, number: int) -> "HeldEpoch":
        """The batches of epoch 0, 1, 2, ..."""
        return HeldEpoch(self.batches.epoch(number), self.turns)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)


class HeldEpoch:
    """One epoch of `HeldBatches`."""

    def __init__(self, plan: Any, turns: Turns) -> None:
        self.plan, self.turns = plan, turns

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> Batch:
        self.turns.before_batch()
        batch: Batch = self.plan[position]
        self.turns.saw(lambda: sizes_of(batch))
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plan, name)


class StartTurns(Protocol):
    """What the measuring side makes of a run that is about to begin."""

    def __call__(self, shape: Shape, config: Config, prepared: Prepared) -> Turns:
        """Turns for its steps."""


@contextlib.contextmanager
def holding(start: StartTurns) -> Iterator[None]:
    """While entered, a run that asks for its training batches gets held ones."""
    command: Any = seq2seq.train
    ready = command.training_batches

    def held(config: Config, prepared: Prepared, *others: Any, **named: Any) -> HeldBatches:
        shape = shape_of(config, prepared.tokenizers.target.vocab_size)
        return HeldBatches(ready(config, prepared, *others, **named), start(shape, config, prepared))

    command.training_batches = held
    try:
        yield
    finally:
        command.training_batches = ready


def train(config: Config, start: StartTurns) -> None:
    """Train in a folder of its own, a turn at a time, until there is no further one."""
    with tempfile.TemporaryDirectory() as folder, holding(start), contextlib.suppress(Finished):
        config.run_dir = str(Path(folder, "run"))
        seq2seq.train.run(config)

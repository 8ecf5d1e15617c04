"""A plain training loop over the batches that ours trains on; for models that come without a loop of their own."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from speed.channel import Channel, Job
from speed.shapes import pair_sizes
from speed.turns import Finished, Turns

PairBatch = dict[str, Tensor]
"""source, source_mask (True = a real token), target_in, target_out (IGNORE where nothing is to be predicted)."""

IGNORE = -100
CLIP_NORM = 1.0


def train(job: Job, channel: Channel, model: nn.Module, loss: Callable[[PairBatch], Tensor], *, version: str) -> None:
    """Fused AdamW and a clipped gradient, as ours has them, a turn at a time until there is no further one.

    Args:
        job: what to train.
        channel: says when.
        model: in training mode.
        loss: mean loss of a batch, in nats a target token.
        version: of the package that made the model.
    """
    batches: list[PairBatch] = torch.load(job.folder / "batches.pt", weights_only=True)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0, fused=True
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    orders = channel.orders(version=version, parameters=parameters)
    turns = Turns(job.shape, orders=orders, report=channel.report)
    try:
        for batch in itertools.cycle(batches):
            turns.before_batch()
            source, target = batch["source_mask"].sum(dim=1), (batch["target_out"] != IGNORE).sum(dim=1)
            sizes = pair_sizes(source.tolist(), target.tolist())
            turns.saw(lambda sizes=sizes: sizes)  # type: ignore[misc]
            loss(batch).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    except Finished:
        pass

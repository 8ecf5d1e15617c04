"""What is added up from step to step until a line of the log is due."""

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from seq2seq.training.distributed import Ranks


class IntervalSums:
    """Loss and tokens since the newest line of the log; added up on the device, read only when a line is due.

    Args:
        device: where losses are.
        ranks: each adds up its own; None is this process alone.
    """

    def __init__(self, device: torch.device, ranks: Ranks | None = None) -> None:
        self._device, self._ranks = device, ranks or Ranks()
        self.clear()

    def clear(self) -> None:
        """Begin an interval now."""
        self._smoothed = torch.zeros((), device=self._device)
        self._loss = torch.zeros((), device=self._device)
        self._counted = torch.zeros((), dtype=torch.int64, device=self._device)
        self._skipped = torch.zeros((), dtype=torch.int64, device=self._device)
        self._tokens, self._splits, self._start = 0, 0, time.monotonic()

    def add(self, smoothed: Tensor, loss: Tensor, tokens: int, *, skipped: Tensor, splits: int = 0) -> None:
        """Add a step.

        Args:
            smoothed: () smoothed loss, summed over this rank's target tokens, in nats.
            loss: () plain loss, likewise.
            tokens: this rank's target tokens.
            skipped: () bool, the step was skipped: its loss does not count.
            splits: micro-batches that were cut in two.
        """
        self._smoothed += torch.where(skipped, 0, smoothed)
        self._loss += torch.where(skipped, 0, loss)
        self._counted += tokens * ~skipped
        self._skipped += skipped
        self._tokens += tokens
        self._splits += splits

    def leave_out(self, seconds: float) -> None:
        """Time that was not spent on training steps."""
        self._start += seconds

    def figures(self) -> dict[str, float]:
        """What a line of the log says: means in nats a token, tokens, tokens a second, steps skipped, batches split.

        Of all ranks together. Means are over the steps that were not skipped, and NaN where all were.
        """
        seconds = max(time.monotonic() - self._start, 1e-9)
        smoothed, loss, counted, tokens, splits = self._ranks.sum(
            float(self._smoothed), float(self._loss), int(self._counted), self._tokens, self._splits
        )
        counted = counted or math.nan
        return {
            "loss": smoothed / counted,
            "nll": loss / counted,
            "tokens": int(tokens),
            "tokens_per_second": round(tokens / seconds, 1),
            "skipped": int(self._skipped),
            "splits": int(splits),
        }

    def values(self) -> list[dict[str, float]]:
        """Everything that going on needs, by rank, as plain JSON values."""
        own = {
            "smoothed": float(self._smoothed),
            "loss": float(self._loss),
            "tokens": self._tokens,
            "counted": int(self._counted),
            "skipped": int(self._skipped),
            "splits": self._splits,
            "seconds": time.monotonic() - self._start,
        }
        return self._ranks.gather(own)

    def load(self, by_rank: Sequence[dict[str, float]]) -> None:
        """The inverse of `values`; [] begins an interval.

        Where there were more or fewer ranks, the first takes the losses and tokens of all.
        """
        self.clear()
        now, same = time.monotonic(), len(by_rank) == self._ranks.world_size
        for rank, values in enumerate(by_rank):
            if rank == (self._ranks.rank if same else 0):
                self._skipped += int(values["skipped"])  # the same steps on every rank
                self._start = now - values["seconds"]
            if rank == self._ranks.rank if same else self._ranks.first:
                self._smoothed += values["smoothed"]
                self._loss += values["loss"]
                self._tokens += int(values["tokens"])
                self._counted += int(values["counted"])
                self._splits += int(values["splits"])

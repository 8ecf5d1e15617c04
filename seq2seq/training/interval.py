"""What is added up from step to step until a line of the log is due."""

import math
import time

import torch
from torch import Tensor


class IntervalSums:
    """Loss and tokens since the newest line of the log; added up on the device, read only when a line is due."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
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
            smoothed: () smoothed loss, summed over the target tokens, in nats.
            loss: () plain loss, likewise.
            tokens: target tokens.
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

        Means are over the steps that were not skipped, and NaN where all were.
        """
        seconds = max(time.monotonic() - self._start, 1e-9)
        counted = int(self._counted) or math.nan
        return {
            "loss": float(self._smoothed) / counted,
            "nll": float(self._loss) / counted,
            "tokens": self._tokens,
            "tokens_per_second": round(self._tokens / seconds, 1),
            "skipped": int(self._skipped),
            "splits": self._splits,
        }

    def values(self) -> dict[str, float]:
        """Everything that going on needs, as plain JSON values."""
        return {
            "smoothed": float(self._smoothed),
            "loss": float(self._loss),
            "tokens": self._tokens,
            "counted": int(self._counted),
            "skipped": int(self._skipped),
            "splits": self._splits,
            "seconds": time.monotonic() - self._start,
        }

    def load(self, values: dict[str, float]) -> None:
        """The inverse of `values`; {} begins an interval."""
        self.clear()
        if values:
            self._smoothed += values["smoothed"]
            self._loss += values["loss"]
            self._tokens = int(values["tokens"])
            self._counted += int(values.get("counted", values["tokens"]))  # older checkpoints: every step counted
            self._skipped += int(values.get("skipped", 0))
            self._splits = int(values.get("splits", 0))
            self._start = time.monotonic() - values["seconds"]

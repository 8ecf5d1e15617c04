"""What is added up from step to step until a line of the log is due."""

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
        self._tokens, self._start = 0, time.monotonic()

    def add(self, smoothed: Tensor, loss: Tensor, tokens: int) -> None:
        """Add a micro-batch: its smoothed and plain loss, summed over its target tokens, in nats."""
        self._smoothed += smoothed.detach()
        self._loss += loss
        self._tokens += tokens

    def leave_out(self, seconds: float) -> None:
        """Time that was not spent on training steps."""
        self._start += seconds

    def figures(self) -> dict[str, float]:
        """What a line of the log says: means in nats a token, tokens, and tokens a second."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        tokens = max(self._tokens, 1)
        return {
            "loss": float(self._smoothed) / tokens,
            "nll": float(self._loss) / tokens,
            "tokens": self._tokens,
            "tokens_per_second": round(self._tokens / seconds, 1),
        }

    def values(self) -> dict[str, float]:
        """Everything that going on needs, as plain JSON values."""
        return {
            "smoothed": float(self._smoothed),
            "loss": float(self._loss),
            "tokens": self._tokens,
            "seconds": time.monotonic() - self._start,
        }

    def load(self, values: dict[str, float]) -> None:
        """The inverse of `values`; {} begins an interval."""
        self.clear()
        if values:
            self._smoothed += values["smoothed"]
            self._loss += values["loss"]
            self._tokens = int(values["tokens"])
            self._start = time.monotonic() - values["seconds"]

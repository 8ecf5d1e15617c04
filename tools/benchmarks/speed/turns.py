"""A training loop that stands still between two steps until it is told to do some more.

A loop cannot be told from outside when to stop, but it must ask for its next batch: there it is counted, timed and
held.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from speed.shapes import TRAINING_PRODUCTS, BatchSizes, Shape, multiply_adds


class Finished(BaseException):
    """No more steps are wanted; not an Exception, so that no loop takes it for a failure to recover from."""


@dataclass
class Work:
    """What was done in one turn.

    Attributes:
        steps: optimiser steps.
        seconds: from the request of the turn's first batch to that of the batch after its last one.
        source_tokens: real ones, end tokens counted.
        source_positions: the same with padding.
        target_tokens: those that count in the loss, end tokens among them.
        target_positions: the same with padding.
        multiply_adds: of the matrix products of the model, forward and backward, for real tokens.
        padded_multiply_adds: the same, as if padding were text.
        peak_mib: most memory that was resident in the process since its start.
    """

    steps: int = 0
    seconds: float = 0.0
    source_tokens: int = 0
    source_positions: int = 0
    target_tokens: int = 0
    target_positions: int = 0
    multiply_adds: int = 0
    padded_multiply_adds: int = 0
    peak_mib: float = 0.0

    def add(self, shape: Shape, sizes: BatchSizes) -> None:
        """Count a batch."""
        self.source_tokens += sum(sizes.source_lengths)
        self.source_positions += len(sizes.source_lengths) * sizes.source_width
        self.target_tokens += sizes.predicted
        self.target_positions += sizes.predicted_positions
        self.multiply_adds += TRAINING_PRODUCTS * multiply_adds(shape, sizes)
        self.padded_multiply_adds += TRAINING_PRODUCTS * multiply_adds(shape, sizes.padded())


class Turns:
    """Counts the steps of a loop and holds it when a turn is over.

    Args:
        shape: of the model.
        orders: how many steps each turn has; asked for when the one before is over, and may wait.
        report: gets what was done in each turn.
        batches_per_step: micro-batches an optimiser step.
    """

    def __init__(
        self, shape: Shape, *, orders: Iterator[int], report: Callable[[Work], None], batches_per_step: int = 1
    ) -> None:
        self.shape, self.orders, self.report, self.batches_per_step = shape, orders, report, batches_per_step
        self._steps = self._left = 0
        self._seen: list[Callable[[], BatchSizes]] = []
        self._start = 0.0

    def before_batch(self) -> None:
        """Call when the loop asks for its next batch.

        Raises:
            Finished: there is no further turn.
        """
        if self._left == 0:
            if self._steps:
                self._finish(time.perf_counter() - self._start)
            self._steps = next(self.orders, 0)
            if self._steps == 0:
                raise Finished
            self._left = self._steps * self.batches_per_step
            self._start = time.perf_counter()
        self._left -= 1

    def nothing_came(self) -> None:
        """Call when, after `before_batch`, an epoch turns out to have no further batch."""
        self._left += 1

    def saw(self, sizes: Callable[[], BatchSizes]) -> None:
        """Call with the batch that the loop gets; its sizes are counted when the clock stands still."""
        self._seen.append(sizes)

    def _finish(self, seconds: float) -> None:
        work = Work(steps=self._steps, seconds=seconds, peak_mib=peak_mib())
        for sizes in self._seen:
            work.add(self.shape, sizes())
        self._seen.clear()
        self.report(work)


class HeldLoader:
    """Another package's loader of batches, which gives one out only when a turn has steps left.

    Args:
        loader: gives the batches of an epoch each time it is iterated over.
        turns: of the loop that asks for them.
        sizes: of a batch.
    """

    def __init__(self, loader: Any, turns: Turns, sizes: Callable[[Any], BatchSizes]) -> None:
        self.loader, self.turns, self.sizes = loader, turns, sizes

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while True:
            self.turns.before_batch()
            try:
                batch = next(batches)
            except StopIteration:
                self.turns.nothing_came()
                return
            self.turns.saw(partial(self.sizes, batch))
            yield batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def peak_mib() -> float:
    """Most memory that was resident in this process, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # rusage's figure is also that of the process that started this one
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes

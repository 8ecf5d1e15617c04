"""Ctrl-C and `kill` while a command works."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType


class Terminated(KeyboardInterrupt):
    """`kill` asked the program to stop, as Ctrl-C does."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """While entered, SIGTERM raises Terminated where Ctrl-C would raise KeyboardInterrupt."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class Uninterrupted:
    """While entered, one Ctrl-C or SIGTERM waits until the end of the block, so that no line is half written."""

    def __enter__(self) -> None:
        self._pending: int | None = None
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._previous = {number: signal.signal(number, self._wait) for number in numbers}

    def _wait(self, number: int, frame: FrameType | None) -> None:
        if self._pending is not None:
            raise KeyboardInterrupt
        self._pending = number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._pending is not None and kind is None:
            signal.raise_signal(self._pending)

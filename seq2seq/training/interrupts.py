"""Ctrl-C and `kill`: they ask the loop to stop at the next step, and end the rest of a run with a sentence."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupted(BaseException):  # noqa: N818 - no Exception: libraries that catch those must let it through
    """The run was asked to stop; what was finished is saved.

    Args:
        signal_number: the signal that asked.
    """

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")

    @property
    def exit_code(self) -> int:
        """The shell's convention: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.signal_number


class _Handlers:
    """While entered, `_handle` receives SIGINT and SIGTERM; in another thread than the main one, nothing does."""

    def __init__(self) -> None:
        self._previous: dict[int, object] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread set handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


class StopAtOnce(_Handlers):
    """While entered, SIGINT and SIGTERM raise Interrupted wherever the run is: nothing there needs saving first."""


class StopSignals(_Handlers):
    """While entered, SIGINT and SIGTERM are remembered in `.received`; a second SIGINT raises KeyboardInterrupt."""

    def __init__(self) -> None:
        super().__init__()
        self.received: int | None = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def check(self) -> None:
        """Raise Interrupted if a signal has come: for long work between steps, such as validation."""
        if self.received is not None:
            raise Interrupted(self.received)

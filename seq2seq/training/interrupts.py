"""Ctrl-C and `kill` ask the loop to stop at the next step instead of tearing it down."""

import signal
from types import FrameType, TracebackType


class Interrupted(Exception):  # noqa: N818 - not an error: the run was asked to stop
    """Training was asked to stop; the state is saved.

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


class StopSignals:
    """While entered, SIGINT and SIGTERM are remembered in `.received`; a second SIGINT raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def check(self) -> None:
        """Raise Interrupted if a signal has come: for long work between steps, such as validation."""
        if self.received is not None:
            raise Interrupted(self.received)

"""Progress of long work on stderr: nothing when it is quick, then rate and time left."""

import sys
import time
from collections.abc import Callable

QUIET_SECONDS = 2.0
"""Work that ends sooner says nothing."""
TERMINAL_EVERY, FILE_EVERY = 0.5, 15.0
"""Seconds between updates on a terminal, and in a log file."""


def say(message: str) -> None:
    """Print a line on stderr."""
    print(message, file=sys.stderr, flush=True)


class Progress:
    """Counts work and tells how it goes.

    Args:
        label: what is being done, such as "reading train".
        unit: what is counted, such as "pairs".
        fraction: the share done, from 0 to 1, or None while unknown; asked only when it is time to speak.
    """

    def __init__(self, label: str, unit: str, *, fraction: Callable[[], float | None]) -> None:
        self.label, self.unit, self.fraction = label, unit, fraction
        self.done = 0
        self._live = sys.stderr.isatty()
        self._started = time.monotonic()
        self._next = self._started + QUIET_SECONDS
        self._spoken = False

    def advance(self, count: int) -> None:
        """Count `count` more, and speak when it is time."""
        self.done += count
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (TERMINAL_EVERY if self._live else FILE_EVERY)
        self._spoken = True
        line = self._line(now - self._started)
        if self._live:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        else:
            say(line)

    def close(self) -> None:
        """Say the final count, if anything was said before."""
        if self._spoken:
            wipe = "\r\x1b[K" if self._live else ""
            say(f"{wipe}{self.label}: {self.done:,} {self.unit} in {time.monotonic() - self._started:.0f} s")

    def _line(self, seconds: float) -> str:
        line = f"{self.label}: {self.done:,} {self.unit}, {self.done / seconds:,.0f} {self.unit}/s"
        if share := self.fraction():
            line += f", {share:.0%}, {seconds * (1 - share) / share:.0f} s left"
        return line

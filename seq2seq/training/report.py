"""What a run says while it works: lines in metrics.jsonl, TensorBoard scalars, and one line at a time for people."""

import contextlib
import json
import math
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.panel import Panel

from seq2seq.training.tensorboard import EventFile

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""People's output goes to stderr; stdout is for machines."""


def show_notice(notice: str | None) -> None:
    """Box what the user must know about the text; nothing when all is as asked."""
    if notice:
        Console(stderr=True).print(Panel(notice, title="NOT THE CORPUS THAT WAS ASKED FOR", style="bold red"))


@contextlib.contextmanager
def optional(output: str) -> Iterator[None]:
    """The block writes what a run can do without: where that fails, a warning says so and the run goes on.

    Args:
        output: what and where, for the warning.
    """
    try:
        yield
    except Exception as error:  # whatever it is, no picture is worth a run
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        Progress().say(f"warning: {output} cannot be written ({reason}); the run goes on without.")


class MetricsLog:
    """Figures by step, appended to metrics.jsonl and, if wanted, to TensorBoard files as long as these can be written.

    Args:
        path: of metrics.jsonl.
        tensorboard: folder of TensorBoard event files; None writes none.
        step: the step to go on from; TensorBoard hides what an earlier process wrote beyond it.
    """

    def __init__(self, path: Path, *, tensorboard: Path | None, step: int) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the run
        self._events: EventFile | None = None
        self._tensorboard = f"{tensorboard}: TensorBoard files"
        if tensorboard is not None:
            with optional(self._tensorboard):
                self._events = EventFile(tensorboard, step=step + 1)

    def write(self, kind: str, step: int, **figures: float | int | str | None) -> None:
        """Append one line: {"kind": "train" | "valid", "step": ..., ...}; JSON has no NaN, so such a figure is null."""
        figures = {name: None if _is_not_finite(value) else value for name, value in figures.items()}
        self._file.write(json.dumps({"kind": kind, "step": step, **figures}, ensure_ascii=False) + "\n")
        self._file.flush()
        if self._events is not None:
            numbers = {f"{kind}/{name}": value for name, value in figures.items() if isinstance(value, int | float)}
            events, self._events = self._events, None
            with optional(self._tensorboard):
                events.add(step, numbers)
                self._events = events

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._events is not None:
            with optional(self._tensorboard):
                self._events.close()


def _is_not_finite(value: float | int | str | None) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


class Progress:
    """One line about the running training: rewritten in place on a terminal, now and then elsewhere.

    Args:
        every: seconds between lines where stderr is not a terminal.
        wait: say nothing before that time is over; else the first state is shown at once.
    """

    def __init__(self, *, every: float = 15.0, wait: bool = False) -> None:
        self._terminal = sys.stderr.isatty()
        self._every = 0.5 if self._terminal else every
        self._next = time.monotonic() + self._every if wait else 0.0

    def show(self, text: str, *, now: bool = False) -> None:
        """Show the newest state, if it is time."""
        clock = time.monotonic()
        if clock < self._next and not now:
            return
        self._next = clock + self._every
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1  # a wrapped line could not be rewritten
            sys.stderr.write(f"\r\x1b[2K{text[:width]}")
            sys.stderr.flush()
        else:
            print(text, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._terminal:
            sys.stderr.write("\r\x1b[2K")
        print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 3 min 20 s, 2 h 05 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

"""What is known of one line and its output: the record of `--report`, field by field."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from seq2seq.signals.bounds import Flag
from seq2seq.signals.signals import Signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One search for a line, or for a part of one."""

    part: int
    """Of the line, from 0."""
    search: dict[str, Any]
    """The settings in which it differs from the call's; empty for the first."""
    text: str
    signals: Signals
    flags: tuple[Flag, ...]
    badness: float
    """What attempts are compared by, see bounds.py; the lowest is kept, of equals the earliest."""
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LineReport:
    """What became of one line of input: a line of `--report`."""

    line: int
    """Number of the line, from 0."""
    notes: tuple[str, ...]
    """What was odd and what was done to it: the names of data/lines.py."""
    parts: int
    """Pieces that the line was translated in: 0 for a blank one, 1 for most."""
    flags: tuple[Flag, ...]
    """Which signals of the output (of any part) are out of bounds, see bounds.py."""
    flagged_parts: tuple[int, ...]
    """The parts that have flags, from 0."""
    signals: Signals | None
    """None for a blank line."""
    retried: bool = False
    """Whether a flagged part was searched again."""
    attempts: tuple[Attempt, ...] = ()
    """All searches for the parts that were searched again, the first included."""

    @property
    def mended(self) -> bool:
        """Whether its output was flagged, was searched again, and is flagged no longer."""
        return self.retried and set(self.flags) <= {Flag.unreadable}

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it: flags by name, numbers with six digits."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Flag):
        return value.name
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value

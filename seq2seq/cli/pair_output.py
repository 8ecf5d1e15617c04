"""A corpus made by a model: two files, written whole or not at all, with hours of work that survive being stopped.

While the model works, its answers stand in PREFIX.partial, a line of JSON each; the same command goes on after the
last whole one. When all are there, the two files are written and the answers removed.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from seq2seq.errors import DataError

Record = dict[str, Any]


class PairOutput:
    """Where the pairs go.

    Args:
        prefix: of the two names, as in data.train.
        endings: of the source's and the target's file: their languages.
        key: equal exactly when two commands give the same answers.

    Attributes:
        done: answers that are there already.

    Raises:
        DataError: a file is there already, cannot be written, or belongs to another command.
    """

    def __init__(self, prefix: str, endings: tuple[str, str], *, key: str) -> None:
        self.paths = Path(f"{prefix}.{endings[0]}"), Path(f"{prefix}.{endings[1]}")
        self.partial = Path(f"{prefix}.partial")
        self.done = 0
        if self.paths[0] == self.paths[1]:
            raise DataError(f"--output={prefix}: both sides would be {self.paths[0]}; give them different languages.")
        begun = self.partial.exists()
        for path in self.paths:
            # beside answers that are there, one of the two may be: the command was stopped between them
            if path.exists() and not begun:
                raise DataError(f"{path}: exists already; name another --output, or remove it.")
        try:
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = open(self.partial, "a+b")  # noqa: SIM115 - open as long as the command
        except OSError as error:
            raise self._unwritable(error) from error
        with self._closed_on_error():
            self._lock()
            self._go_on(key)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go however the process ends
        except BlockingIOError:
            raise DataError(f"{self.partial}: another command is writing to it; wait for it to end.") from None
        except OSError:
            pass  # some network folders know no locks

    def _go_on(self, key: str) -> None:
        """Count the answers that are there; what a crash cut off at the end is forgotten."""
        self._file.seek(0)
        header = json.dumps({"key": key}).encode() + b"\n"
        first = self._file.readline()
        if not header.startswith(first):
            raise DataError(
                f"{self.partial} was begun with another model, text or search; give the same ones to go on, or "
                "remove the file to start anew."
            )
        end = 0
        if first == header:
            end = len(header)
            for line in self._file:
                if _parsed(line) is None:
                    break
                self.done, end = self.done + 1, end + len(line)
        self._file.truncate(end)
        self._file.seek(0, os.SEEK_END)
        if end == 0:
            self._write(header)

    def add(self, record: Record) -> None:
        """Keep the answer to the next line.

        Raises:
            DataError: the disk is full.
        """
        self._write(json.dumps(record, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n")
        self.done += 1

    def _write(self, line: bytes) -> None:
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def records(self) -> Iterator[Record]:
        """All answers, in the order of the lines."""
        with self.partial.open("rb") as file:
            next(file)  # the key
            for line in file:
                record = _parsed(line)
                assert record is not None
                yield record

    def write(self, pairs: Iterable[tuple[str, str]]) -> int:
        """Write both files and forget the answers.

        Args:
            pairs: source and target, each one line of text.

        Returns:
            how many pairs.

        Raises:
            DataError: the disk is full; the answers stay.
        """
        temporary = [path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in self.paths]
        count = 0
        try:
            with open(temporary[0], "wb") as source_file, open(temporary[1], "wb") as target_file:
                for source, target in pairs:
                    source_file.write(source.encode("utf-8", errors="replace") + b"\n")
                    target_file.write(target.encode("utf-8", errors="replace") + b"\n")
                    count += 1
                for file in (source_file, target_file):
                    file.flush()
                    os.fsync(file.fileno())
            for made, path in zip(temporary, self.paths, strict=True):
                os.replace(made, path)
            self.partial.unlink()
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            for made in temporary:
                made.unlink(missing_ok=True)
        return count

    def __enter__(self) -> "PairOutput":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._file.close()

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._file.close()
            raise

    def _unwritable(self, error: OSError) -> DataError:
        kept = f" The {self.done:,} answers so far are kept; the same command goes on from there." if self.done else ""
        return DataError(f"{error.filename or self.partial}: cannot be written ({error.strerror or error}).{kept}")


def _parsed(line: bytes) -> Record | None:
    """A whole line's record; None for one that a crash cut off."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class LineProgress:
    """How far a command over a known number of lines is, on stderr.

    Args:
        program: how to call it.
        total: lines.
        done: of them by an earlier command.
        quiet: say nothing.
    """

    def __init__(self, program: str, *, total: int, done: int, quiet: bool) -> None:
        from seq2seq.training.report import Progress, duration

        self._duration, self._progress = duration, Progress(wait=True)
        self._program, self.total, self._first, self._done, self._quiet = program, total, done, done, quiet
        self._start = time.monotonic()
        if done and not quiet:
            self._progress.say(f"{program}: going on after {done:,} of {total:,} lines")

    def advance(self) -> None:
        """One more line is answered."""
        self._done += 1
        if self._quiet:
            return
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = (self._done - self._first) / seconds
        self._progress.show(
            f"{self._program}: {self._done:,} of {self.total:,} lines, {rate:,.1f} lines/s, about "
            f"{self._duration((self.total - self._done) / rate)} left"
        )

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._progress.say(text)

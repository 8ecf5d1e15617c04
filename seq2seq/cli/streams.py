"""Files, pipes and terminals in and out, plain or gzip, and how a program ends: shared by the commands."""

import contextlib
import errno
import gzip
import os
import select
import signal
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, BinaryIO, cast

from seq2seq.data.lines import ByteStream, Line, read_lines
from seq2seq.errors import DataError, Seq2SeqError

PAUSE = 0.05
"""Seconds without input on a pipe after which the lines at hand are worked on instead of waiting for more."""
GZIP_FLUSH = 1.0
"""Seconds between flushes of a gzip file: each costs some bytes."""


class Inputs:
    """The lines of several inputs, one after another.

    Args:
        names: files, gzip where the name ends in .gz; "-" is stdin.

    Raises:
        DataError: one of them does not exist or cannot be read.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self.characters_read = 0
        self._done = 0  # bytes of the inputs already read to their ends
        self._current: BinaryIO | None = None
        self._size: int | None = 0
        for name in self._names:
            try:
                status = os.fstat(0) if name == "-" else os.stat(name)
                if stat.S_ISDIR(status.st_mode):
                    raise DataError(f"{name}: this is a folder; name the files in it.")
                if name != "-" and not os.access(name, os.R_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError as error:
                raise DataError(f"{_named(name)}: cannot be read ({_reason(error)}).") from error
            regular = stat.S_ISREG(status.st_mode)
            self._size = self._size + status.st_size if regular and self._size is not None else None

    def lines(self) -> Iterator[Line | None]:
        """Every line, repaired; None where a pipe or terminal pauses.

        Raises:
            DataError: an input cannot be read to its end.
        """
        for name in self._names:
            file = cast(BinaryIO, sys.stdin.buffer) if name == "-" else open(name, "rb")  # noqa: SIM115 - closed below
            self._current = file
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            try:
                if name.endswith(".gz"):
                    lines = read_lines(cast(ByteStream, gzip.GzipFile(fileobj=file)))
                else:
                    lines = read_lines(cast(ByteStream, file), waiting=None if regular else _waits_for(file))
                for line in lines:
                    self.characters_read += len(line.text) + 1 if line is not None else 0
                    yield line
                self._done += file.tell() if regular else 0
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise DataError(f"{name}: this gzip file is damaged or cut off ({error}).") from error
            except OSError as error:
                raise DataError(f"{_named(name)}: cannot be read to its end ({_reason(error)}).") from error
            finally:
                self._current = None
                if name != "-":
                    file.close()

    def refuse(self, output: str) -> None:
        """Make sure that an output file is not also read from.

        Raises:
            DataError: it is.
        """
        for written in (output, f"{output}.partial"):
            if output == "-" or not os.path.isfile(written):
                continue
            for name in self._names:
                if os.path.samestat(os.fstat(0) if name == "-" else os.stat(name), os.stat(written)):
                    raise DataError(f"{written}: --output is also an input, which it would replace; name another file.")

    @property
    def share(self) -> float | None:
        """How much of the inputs has been read, from 0 to 1; None when their size is not known."""
        if not self._size:
            return None
        here = self._current.tell() if self._current is not None else 0
        return min(1.0, (self._done + here) / self._size)


class Output:
    """Where lines go, each complete: stdout, or a file that gets its name when the block entered ends well.

    Until then its lines stand in FILE.partial, so that nothing finished is lost when the program ends early. What is
    no ordinary file (a device, a named pipe) is written directly.

    Args:
        name: a file, gzip where the name ends in .gz; "-" is stdout.

    Raises:
        DataError: the file cannot be written.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines = 0
        self._next_flush = 0.0
        direct = name == "-" or (os.path.exists(name) and not os.path.isfile(name))
        self._temporary = None if direct else Path(f"{name}.partial")
        try:
            parent = os.path.dirname(name)
            if parent and not os.path.isdir(parent):
                raise DataError(f"{name}: the folder {parent} does not exist; make it, or name another file.")
            if os.path.isdir(name):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if name == "-" and sys.stdout is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            if name == "-":
                self._raw: IO[bytes] = cast(BinaryIO, sys.stdout.buffer)
            else:
                self._raw = open(self._temporary or name, "wb")  # noqa: SIM115 - closed by finish()
        except OSError as error:
            raise self._error(error) from error
        self._file = gzip.GzipFile("", "wb", fileobj=self._raw, mtime=0) if name.endswith(".gz") else self._raw

    @property
    def whereabouts(self) -> str:
        """Where the lines written so far are, for people."""
        return "stdout" if self.name == "-" else str(self._temporary or self.name)

    def write(self, text: str, *, lines: int = 1) -> None:
        """Write and flush `text`, which ends `lines` lines; Ctrl-C waits until it is all out.

        Args:
            text: whole lines, or a part of one.
            lines: how many lines it ends.

        Raises:
            DataError: the disk is full, or the file cannot be written.
            BrokenPipeError: nobody reads stdout any more.
        """
        with _Uninterrupted():
            try:
                self._file.write(text.encode("utf-8", errors="replace"))
                if time.monotonic() >= self._next_flush:
                    self._file.flush()
                    self._raw.flush()
                    self._next_flush = time.monotonic() + (0 if self._file is self._raw else GZIP_FLUSH)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise self._error(error) from error
            self.lines += lines

    def __enter__(self) -> "Output":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        elif self.name != "-":  # what is written stays, as a whole gzip file where it is one
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._raw.close()

    def _finish(self) -> None:
        """Everything is written: give the file its name."""
        try:
            if self._file is not self._raw:
                self._file.close()
            if self.name != "-":
                if self._temporary:
                    self._raw.flush()
                    os.fsync(self._raw.fileno())
                self._raw.close()
            if self._temporary:
                os.replace(self._temporary, self.name)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> DataError:
        kept = f" The {self.lines} lines before are in {self._temporary}." if self._temporary and self.lines else ""
        return DataError(f"{'stdout' if self.name == '-' else self.name}: cannot be written ({_reason(error)}).{kept}")


class _Uninterrupted:
    """While entered, one Ctrl-C waits until the end of the block, so that no line is half written."""

    def __enter__(self) -> None:
        self._pending = False
        self._previous = signal.signal(signal.SIGINT, self._wait)

    def _wait(self, number: int, frame: FrameType | None) -> None:
        if self._pending:
            raise KeyboardInterrupt
        self._pending = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)
        if self._pending and kind is None:
            raise KeyboardInterrupt


def guarded(program: str, action: Callable[[], int]) -> int:
    """Run a command and turn whatever the user can mend into one sentence on stderr.

    Returns:
        the exit code: 0, 2 for an error, 130 after Ctrl-C, 141 when the reader of stdout went away.
    """
    try:
        return action()
    except Seq2SeqError as error:
        return _fail(program, str(error))
    except BrokenPipeError:
        _silence_stdout()
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt as error:
        _silence_stdout()
        print(f"{program}: {str(error) or 'stopped'}.", file=sys.stderr)
        return 128 + signal.SIGINT
    except OSError as error:
        return _fail(program, f"{error.filename}: {_reason(error)}." if error.filename else f"{_reason(error)}.")


def _fail(program: str, message: str) -> int:
    _silence_stdout()
    print(f"{program}: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return 2


def _silence_stdout() -> None:
    """Python flushes stdout once more at exit; what cannot be written then must not become a traceback."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):  # full or gone; closed; None
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _named(input_name: str) -> str:
    return "stdin" if input_name == "-" else input_name


def _waits_for(file: IO[bytes]) -> Callable[[], bool]:
    return lambda: not select.select([file.fileno()], [], [], PAUSE)[0]

"""Files, pipes and terminals in and out, plain or gzip, and how a program ends: shared by the commands."""

import contextlib
import errno
import fcntl
import gzip
import hashlib
import os
import select
import signal
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, cast

from seq2seq.cli.stops import Terminated, Uninterrupted
from seq2seq.cli.wording import some_lines
from seq2seq.data.lines import ByteStream, Line, read_lines
from seq2seq.errors import ConfigError, DataError, DecodingError, Seq2SeqError

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
                    raise DataError(
                        f"{written}: this output is also an input, which it would replace; name another file."
                    )

    def count(self) -> int:
        """How many lines they have; all of them are ordinary files.

        Raises:
            DataError: one cannot be read.
        """
        lines = 0
        for name in self._names:
            try:
                last = b"\n"
                for block in _blocks(name):
                    lines += block.count(b"\n")
                    last = block[-1:]
                lines += last != b"\n"
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise DataError(f"{name}: this gzip file is damaged or cut off ({error}).") from error
            except OSError as error:
                raise DataError(f"{_named(name)}: cannot be read ({_reason(error)}).") from error
        return lines

    @property
    def again(self) -> bool:
        """Whether they can be read again: all of them are ordinary files."""
        return self._size is not None

    def fingerprint(self) -> list[str]:
        """A hash of each input's bytes; all of them are ordinary files.

        Raises:
            DataError: one cannot be read.
        """
        found = []
        for name in self._names:
            try:
                descriptor = os.dup(0) if name == "-" else os.open(name, os.O_RDONLY)
                try:
                    found.append(f"{_hash_of(descriptor)}{'.gz' if name.endswith('.gz') else ''}")
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise DataError(f"{_named(name)}: cannot be read ({_reason(error)}).") from error
        return found

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
        keep: leave what stands in FILE.partial until `go_on`, which must come before the first line; nobody else may
            write there meanwhile.

    Attributes:
        lines: written so far.
        record: a file that goes when this one gets its name.
        found: FILE.partial was there before.

    Raises:
        DataError: the file cannot be written.
    """

    def __init__(self, name: str, *, keep: bool = False) -> None:
        self.name = name
        self.lines = 0
        self.record: Path | None = None
        self._next_flush = 0.0
        direct = name == "-" or (os.path.exists(name) and not os.path.isfile(name))
        self._temporary = None if direct else Path(f"{name}.partial")
        self.found = self._temporary is not None and self._temporary.exists()
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
            elif keep and self._temporary:
                self._raw = _opened_alone(self._temporary)
            else:
                self._raw = open(self._temporary or name, "wb")  # noqa: SIM115 - closed by finish()
        except OSError as error:
            raise self._error(error) from error
        self._begun = not keep
        self._file = self._compressing() if self._begun else self._raw

    def _compressing(self) -> IO[bytes]:
        if self.name.endswith(".gz"):
            return cast(IO[bytes], gzip.GzipFile("", "wb", fileobj=self._raw, mtime=0))
        return self._raw

    @property
    def partial(self) -> Path | None:
        """Where lines stand until all are there; None of what is no ordinary file."""
        return self._temporary

    def lines_left(self) -> int:
        """Whole lines that an earlier command left in FILE.partial."""
        return sum(1 for _ in self.whole_lines()) if self._temporary else 0

    def whole_lines(self) -> Iterator[bytes]:
        """Those in FILE.partial, up to the first that is cut off or, after a power loss, zeroed; before `go_on`."""
        self._raw.seek(0)
        file = gzip.GzipFile(fileobj=self._raw, mode="rb") if self.name.endswith(".gz") else self._raw
        with contextlib.suppress(EOFError, zlib.error, gzip.BadGzipFile):
            for line in file:
                if not line.endswith(b"\n") or b"\0" in line:
                    break
                yield line

    def go_on(self, lines: int) -> None:
        """Keep this many of the lines that are there, and write after them.

        Raises:
            DataError: the disk is full.
        """
        self._begun = True
        try:
            if self._temporary and self.name.endswith(".gz") and lines:
                self._compress_again(lines)
            elif self._temporary:
                end = sum(len(line) for line in islice(self.whole_lines(), lines))
                self._raw.seek(end)
                self._raw.truncate()
                self._file = self._compressing()
            else:
                self._file = self._compressing()
        except OSError as error:
            raise self._error(error) from error
        self.lines = lines

    def _compress_again(self, lines: int) -> None:
        """A gzip file that broke off cannot be written on, so its lines go into a new one."""
        assert self._temporary
        new = self._temporary.with_name(f".{self._temporary.name}.{os.getpid()}.tmp")
        old = self._raw
        try:
            raw = _opened_alone(new)
            raw.truncate()
            file = gzip.GzipFile("", "wb", fileobj=raw, mtime=0)
            file.writelines(islice(self.whole_lines(), lines))
            file.flush()
            raw.flush()
            os.replace(new, self._temporary)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        self._raw, self._file = raw, cast(IO[bytes], file)
        old.close()

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
        with Uninterrupted():
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
                if self._temporary and not (self._begun or self.found or self._temporary.stat().st_size):
                    self._temporary.unlink()
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
            if self.record:
                self.record.unlink(missing_ok=True)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> DataError:
        kept = ""
        if self._temporary and self.lines:
            kept = f" What is written so far, {some_lines(self.lines)}, is in {self._temporary}."
        return DataError(f"{'stdout' if self.name == '-' else self.name}: cannot be written ({_reason(error)}).{kept}")


def guarded(program: str, action: Callable[[], int], *, say: Callable[[str], str] = str) -> int:
    """Run a command and turn whatever the user can mend into one sentence on stderr.

    Args:
        program: how to call it.
        action: does it.
        say: what to say of a setting that is wrong, given what the Python API says.

    Returns:
        the exit code: 0, 2 for an error, 130 after Ctrl-C, 143 after SIGTERM, 141 when the reader of stdout went away.
    """
    try:
        return action()
    except (ConfigError, DecodingError) as error:
        return _fail(program, say(str(error)))
    except Seq2SeqError as error:
        return _fail(program, str(error))
    except BrokenPipeError:
        _silence_stdout()
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt as error:
        _silence_stdout()
        print(f"{program}: {str(error) or 'stopped'}.", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
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


def _opened_alone(path: Path) -> IO[bytes]:
    """A file to read and write, with all that is in it, which no other command has open so.

    Raises:
        DataError: one has.
    """
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go however the process ends
        except BlockingIOError:
            file.close()
            raise DataError(f"{path}: another command is writing to it; wait for it to end.") from None
        except OSError:
            return file  # some network folders know no locks
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()  # before it was locked, its writer finished and gave it its name


def _hash_of(descriptor: int) -> str:
    """SHA-256 of a file from where it is read next, without moving that place."""
    digest, place = hashlib.sha256(), os.lseek(descriptor, 0, os.SEEK_CUR)
    while block := os.pread(descriptor, 1 << 20, place):
        digest.update(block)
        place += len(block)
    return digest.hexdigest()


def _blocks(name: str) -> Iterator[bytes]:
    """The bytes of an ordinary file, unpacked; of stdin from where it is read next, without moving that place."""
    if name.endswith(".gz"):
        with gzip.open(name) as file:
            while block := file.read(1 << 20):
                yield block
        return
    descriptor = os.dup(0) if name == "-" else os.open(name, os.O_RDONLY)
    try:
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        while block := os.pread(descriptor, 1 << 20, place):
            yield block
            place += len(block)
    finally:
        os.close(descriptor)


def _waits_for(file: IO[bytes]) -> Callable[[], bool]:
    return lambda: not select.select([file.fileno()], [], [], PAUSE)[0]

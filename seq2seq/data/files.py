"""Text files as streams of (source, target) pairs: pairs of files, TSV, JSON lines, plain text; each may be gzipped."""

import contextlib
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from seq2seq.data.cache import BLOCK
from seq2seq.errors import DataError

Pair = tuple[str, str]


class TextSource(Protocol):
    """Text that can be read again and again, one (source, target) pair at a time; a language model's source is ""."""

    @property
    def name(self) -> str:
        """What a message calls it."""

    @property
    def fingerprint(self) -> str:
        """A hash of the content."""

    def __iter__(self) -> Iterator[Pair]:
        """Read from the start."""

    def where(self, index: int) -> str:
        """The place of pair `index` (from 0) for a message, such as `train.tsv:7`."""

    def fraction(self) -> float | None:
        """Share that the latest iteration has read, None when unknown; for telling the time left."""


class Lines:
    r"""Lines of a UTF-8 file, gzipped when its name ends in .gz. Only "\n" ends a line; a "\r" before it is dropped.

    Args:
        path: the file.
        keep_ends: leave the "\n" at the end of each line.
    """

    def __init__(self, path: Path, *, keep_ends: bool = False) -> None:
        self.path, self.keep_ends = path, keep_ends
        self._raw: BinaryIO | None = None

    def fraction(self) -> float | None:
        """Share of the file's bytes that the latest iteration has read."""
        if self._raw is None or self._raw.closed:
            return None
        return self._raw.tell() / max(self.path.stat().st_size, 1)

    def __iter__(self) -> Iterator[str]:
        """Read from the start.

        Raises:
            DataError: the file cannot be read, is not gzip, or has a line that is not UTF-8.
        """
        with self._open() as file:
            for number, raw in enumerate(file, start=1):
                yield self._decoded(raw, number)

    def count(self) -> int:
        """Lines in the file; faster than reading them.

        Raises:
            DataError: the file cannot be read or is not gzip.
        """
        lines, last = 0, b"\n"
        with self._open() as file:
            while block := file.read(BLOCK):
                lines, last = lines + block.count(b"\n"), block
        return lines + (not last.endswith(b"\n"))

    @contextlib.contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        """The file's bytes; what goes wrong while they are read is a DataError."""
        try:
            with self.path.open("rb", buffering=BLOCK) as self._raw:
                zipped = self.path.suffix == ".gz"
                yield cast(BinaryIO, gzip.GzipFile(fileobj=self._raw)) if zipped else self._raw
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            cut_off = not isinstance(error, OSError) or isinstance(error, gzip.BadGzipFile)
            fix = " It is damaged or incomplete; fetch or make it again." if cut_off else ""
            raise DataError(f"{self.path}: cannot be read ({reason}).{fix}") from error

    def _decoded(self, raw: bytes, number: int) -> str:
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.path}:{number}: not UTF-8 (byte 0x{raw[error.start]:02x} at {error.start}); convert the file, "
                "for example with iconv -f latin1 -t utf-8."
            ) from None
        if number == 1:
            line = line.removeprefix("\ufeff")  # some editors mark UTF-8 so
        end = "\n" if self.keep_ends and line.endswith("\n") else ""
        return line.removesuffix("\n").removesuffix("\r") + end


def hash_files(*paths: Path) -> str:
    """SHA-256 over the bytes of files, as they lie on disk.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(b"\0file\0")
        try:
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    return digest.hexdigest()


class PairedFiles:
    """Two files, line i of one beside line i of the other."""

    def __init__(self, source: Path, target: Path) -> None:
        self.source, self.target = Lines(source), Lines(target)
        self.name = f"{source} and {target}"
        self._counts: tuple[int, int] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of both files."""
        return hash_files(self.source.path, self.target.path)

    def __iter__(self) -> Iterator[Pair]:
        """Pairs of lines.

        Raises:
            DataError: the files have different numbers of lines.
        """
        sources, targets = iter(self.source), iter(self.target)
        pairs = 0
        for source in sources:
            target = next(targets, None)
            if target is None:
                rest = 1 + sum(1 for _ in sources)
                raise self._unequal(pairs + rest, pairs)
            yield source, target
            pairs += 1
        if rest := sum(1 for _ in targets):
            raise self._unequal(pairs, pairs + rest)

    def check_line_counts(self) -> None:
        """Count the lines of both files, without decoding them; once.

        Raises:
            DataError: they differ.
        """
        if self._counts is None:
            self._counts = self.source.count(), self.target.count()
        if self._counts[0] != self._counts[1]:
            raise self._unequal(*self._counts)

    def _unequal(self, source_lines: int, target_lines: int) -> DataError:
        return DataError(
            f"{self.source.path} has {source_lines:,} lines and {self.target.path} has {target_lines:,}; line i of one "
            "belongs to line i of the other. Align them again."
        )

    def where(self, index: int) -> str:
        """The target's line."""
        return f"{self.target.path}:{index + 1}"

    def fraction(self) -> float | None:
        """Share of the target file read."""
        return self.target.fraction()


class TsvFile:
    """A file of `source<TAB>target` lines."""

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.lines = path, str(path), Lines(path)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file."""
        return hash_files(self.path)

    def __iter__(self) -> Iterator[Pair]:
        """Pairs of columns.

        Raises:
            DataError: a line without exactly two columns.
        """
        for number, line in enumerate(self.lines, start=1):
            columns = line.split("\t")
            if len(columns) != 2:
                raise DataError(
                    f"{self.path}:{number}: {len(columns)} columns; every line must be source<TAB>target, two columns."
                )
            yield columns[0], columns[1]

    def where(self, index: int) -> str:
        """The line."""
        return f"{self.path}:{index + 1}"

    def fraction(self) -> float | None:
        """Share of the file read."""
        return self.lines.fraction()


class JsonLinesFile:
    """A file with one JSON object a line.

    Args:
        path: the file.
        columns: finds the pair in an object; made by `Columns`.
    """

    def __init__(self, path: Path, columns: "Columns") -> None:
        self.path, self.name, self.lines, self.columns = path, str(path), Lines(path), columns

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file and of the columns read."""
        return f"{hash_files(self.path)} {self.columns}"

    def __iter__(self) -> Iterator[Pair]:
        """Pairs of fields.

        Raises:
            DataError: a line that is not a JSON object, or has not the fields.
        """
        for number, line in enumerate(self.lines, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{self.path}:{number}: not JSON ({error}); every line must be one object.") from None
            if not isinstance(row, dict):
                raise DataError(
                    f"{self.path}:{number}: not a JSON object but {type(row).__name__}; every line must be one object."
                )
            yield self.columns(row, where=partial(self.where, number - 1))

    def where(self, index: int) -> str:
        """The line."""
        return f"{self.path}:{index + 1}"

    def fraction(self) -> float | None:
        """Share of the file read."""
        return self.lines.fraction()


class TextFile:
    """A language model's text: each line a document, or the whole file one.

    Args:
        path: the file.
        whole: yield lines with their line breaks, to be joined; else without.
    """

    def __init__(self, path: Path, *, whole: bool) -> None:
        self.path, self.name, self.whole = path, str(path), whole
        self.lines = Lines(path, keep_ends=whole)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file and of how it is cut."""
        return f"{hash_files(self.path)} {'whole' if self.whole else 'lines'}"

    def __iter__(self) -> Iterator[Pair]:
        """Lines."""
        for line in self.lines:
            yield "", line

    def where(self, index: int) -> str:
        """The line."""
        return f"{self.path}:{index + 1}"

    def fraction(self) -> float | None:
        """Share of the file read."""
        return self.lines.fraction()


class Columns:
    """Where a row (a JSON object, a dataset's row) keeps its pair.

    Args:
        source: names to try for the source, a dot stepping into a nested object; empty for a language model.
        target: likewise for the target.
        join: rows will be joined to one text (a language model's), so each is to end in a line break. Without it the
            breaks inside a pair become spaces, since a sentence is a line; a document keeps its own.
    """

    def __init__(self, source: tuple[str, ...], target: tuple[str, ...], *, join: bool = False) -> None:
        self.source, self.target, self.join = source, target, join

    def __str__(self) -> str:
        return f"{self.source} {self.target} {self.join}"

    def __call__(self, row: Mapping[str, Any], *, where: Callable[[], str]) -> Pair:
        """The pair in `row`.

        Raises:
            DataError: none of the names is there, or the value is not text; null is empty text, and a number (a label)
                is its digits.
        """
        if not self.source:
            text = self._text(row, self.target, key="data.source_field", where=where)
            return "", text + "\n" if self.join and not text.endswith("\n") else text
        source = self._text(row, self.source, key="data.source_field", where=where)
        target = self._text(row, self.target, key="data.target_field", where=where)
        return _one_line(source), _one_line(target)

    def _text(self, row: Mapping[str, Any], names: tuple[str, ...], *, key: str, where: Callable[[], str]) -> str:
        for name in names:
            value: Any = row
            for step in (name,) if name in row else name.split("."):
                value = value.get(step, _MISSING) if isinstance(value, Mapping) else _MISSING
            if value is _MISSING:
                continue
            if value is None:
                return ""
            if isinstance(value, list):  # words or tags of a tagging set
                value = " ".join(map(str, value))
            if not isinstance(value, (str, int)):
                raise DataError(
                    f"{where()}: the column {name!r} holds {type(value).__name__}, not text. Name another column "
                    f"with {key}."
                )
            return str(value)
        raise DataError(
            f"{where()}: no column {' or '.join(map(repr, names))}; it has {', '.join(map(repr, row))}. "
            f"Name the column with {key}."
        )


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


_MISSING = object()

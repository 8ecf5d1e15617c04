"""Text that is slow to come by (fetched from the hub, generated), kept in a memory-mapped Arrow file."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from seq2seq.data.cache import read_label, whole_file, write_label
from seq2seq.data.files import Pair
from seq2seq.data.progress import Progress, say
from seq2seq.files import sha256

ROWS = 10_000
"""Pairs of one record batch."""


class KeptText:
    """Text in a cache file; see `kept`.

    Args:
        path: Arrow file with the columns source and target.
        name: what a message calls it.
        fingerprint: hash of the file.
        rows: number of pairs.
    """

    def __init__(self, path: Path, *, name: str, fingerprint: str, rows: int) -> None:
        self.path, self.name, self.fingerprint, self.rows = path, name, fingerprint, rows
        self._read = 0

    def __iter__(self) -> Iterator[Pair]:
        """Read from the start."""
        self._read = 0
        with pa.memory_map(str(self.path)) as file, pa.ipc.open_file(file) as reader:
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index)
                yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
                self._read += batch.num_rows

    def where(self, index: int) -> str:
        """The pair's number."""
        return f"{self.name}, row {index + 1}"

    def fraction(self) -> float | None:
        """Share of the rows read."""
        return self._read / max(self.rows, 1)


def kept(path: Path, pairs: Callable[[], Iterable[Pair]], *, name: str, total: int | None) -> KeptText:
    """Text from its cache file, which is written first when it is missing or damaged.

    Args:
        path: where the file is, or is to be; its name is made of all that decides the text.
        pairs: gets the text; called only when the file is not there.
        name: what a message calls the text.
        total: how many pairs there will be, None when unknown.

    Raises:
        DataError: the cache cannot be written; and what `pairs` raises.
    """
    facts, damaged = read_label(path)
    if damaged:
        say(f"{path} is damaged; getting {name} again.")
    if facts is None:
        rows = _write(path, iter(pairs()), name=name, total=total)
        write_label(path, rows=rows, sha256=sha256(path))
    elif "sha256" not in facts:  # a label of before it was kept
        write_label(path, rows=facts["rows"], sha256=sha256(path))
    facts, _ = read_label(path)
    assert facts is not None
    return KeptText(path, name=name, fingerprint=facts["sha256"], rows=facts["rows"])


def _write(path: Path, pairs: Iterator[Pair], *, name: str, total: int | None) -> int:
    """Write pairs, a record batch at a time, and return their number."""
    schema = pa.schema([("source", pa.string()), ("target", pa.string())])
    progress = Progress(f"getting {name}", "rows", fraction=lambda: progress.done / total if total else None)
    with (
        whole_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        while chunk := list(itertools.islice(pairs, ROWS)):
            sides = [list(side) for side in zip(*chunk, strict=True)]
            writer.write_batch(pa.record_batch(sides, schema=schema))
            progress.advance(len(chunk))
    progress.close()
    return progress.done

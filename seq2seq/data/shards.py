"""A long Arrow table as a folder of shards, so that what is interrupted while it is made goes on where it stopped.

Every shard is written whole or not at all and has a label with its checksum; the label of the last one says that it is
the last. What follows a missing or damaged shard does not count.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from seq2seq.data.cache import read_label, sweep, whole_file, write_label
from seq2seq.files import sha256

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished file.

    Attributes:
        path: Arrow file.
        last: whether it is the end of the table.
        sha256: of the file.
        facts: what its maker noted, as JSON values.
    """

    path: Path
    last: bool
    sha256: str
    facts: dict[str, Any]


def read_shards(folder: Path) -> tuple[list[Shard], Path | None]:
    """The good shards of a folder from the first on, and the damaged file that ends them, if that is why they end."""
    sweep(folder)
    shards: list[Shard] = []
    for number in itertools.count():
        path = _path(folder, number)
        label, damaged = read_label(path)
        if label is None:
            return shards, path if damaged else None
        shards.append(Shard(path, label["last"], label["sha256"], label["facts"]))
        if shards[-1].last:
            return shards, None
    raise AssertionError("counting has no end")


def write_shard(
    folder: Path, number: int, batches: Iterable[Any], schema: Any, *, last: bool, facts: dict[str, Any]
) -> Shard:
    """Write shard `number` of a folder.

    Args:
        folder: of the shards; made when it is not there.
        number: counted from 0.
        batches: record batches.
        schema: of them.
        last: whether it is the end of the table.
        facts: what `read_shards` is to give back, as JSON values.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    path = _path(folder, number)
    with (
        whole_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
    shard = Shard(path, last, sha256(path), facts)
    write_label(path, last=last, sha256=shard.sha256, facts=facts)
    return shard


def discard(folder: Path, number: int) -> None:
    """Forget shard `number` and those behind it, so that none of them is taken for one behind a new shard."""
    names = sorted(path.name for path in folder.glob("*.arrow.label") if path.name >= _path(folder, number).name)
    for name in reversed(names):
        (folder / name).unlink(missing_ok=True)


def in_groups(items: Iterable[Item], size: int) -> Iterator[tuple[list[Item], bool]]:
    """Items `size` at a time, and whether it is the last time; no items at all are one empty group.

    Who clears a group when it is done with it never has two of them in memory.
    """
    left = iter(items)
    group = list(itertools.islice(left, size))
    for item in left:
        yield group, False
        group = [item]
        group.extend(itertools.islice(left, size - 1))
    yield group, True


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.arrow"

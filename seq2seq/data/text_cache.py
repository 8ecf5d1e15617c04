"""Text that is slow to come by (fetched from the hub, generated), kept in memory-mapped Arrow files.

It is written shard by shard, so a fetch that was interrupted goes on behind the last whole one.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from seq2seq.data.cache import key_of
from seq2seq.data.files import Pair
from seq2seq.data.progress import Progress, say
from seq2seq.data.shards import Shard, discard, read_shards, write_shard

ROWS = 10_000
"""Pairs of one record batch."""
SHARD_ROWS = 100_000
"""Pairs of one shard: what an interruption can cost."""
SHARD_CHARACTERS = 1 << 25
"""A shard ends before SHARD_ROWS pairs when it has this many characters: documents may be long."""
SCHEMA = pa.schema([("source", pa.string()), ("target", pa.string())])


class Fetch(Protocol):
    """Text where it comes from, readable from any place on."""

    def behind(self, done: int, mark: Any) -> Iterator[Pair]:
        """The pairs behind the first `done`.

        Args:
            done: 0 reads from the start.
            mark: what `mark` gave there.
        """

    def mark(self) -> Any:
        """Where the latest iteration is, as a JSON value; None when its number of pairs says enough."""


class Made:
    """Text that is made so quickly that what is there already may be made again."""

    def __init__(self, pairs: Callable[[], Iterable[Pair]]) -> None:
        self._pairs = pairs

    def behind(self, done: int, mark: Any) -> Iterator[Pair]:
        """The pairs behind the first `done`."""
        return itertools.islice(self._pairs(), done, None)

    def mark(self) -> Any:
        """None."""
        return None


class KeptText:
    """Text in cache files; see `kept`.

    Args:
        shards: files with the columns source and target.
        name: what a message calls it.
    """

    def __init__(self, shards: list[Shard], *, name: str) -> None:
        self.shards, self.name = shards, name
        self.rows: int = sum(shard.facts["rows"] for shard in shards)
        """Number of pairs."""
        digests = [shard.sha256 for shard in shards]
        self.fingerprint = digests[0] if len(digests) == 1 else key_of(shards=digests)
        self._read = 0

    def __iter__(self) -> Iterator[Pair]:
        """Read from the start."""
        self._read = 0
        for shard in self.shards:
            with pa.memory_map(str(shard.path)) as file, pa.ipc.open_file(file) as reader:
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


def kept(folder: Path, fetch: Fetch, *, name: str, total: int | None) -> KeptText:
    """Text from its cache folder; what is missing there or damaged is fetched first.

    Args:
        folder: where the files are, or are to be; its name is made of all that decides the text.
        fetch: gets the text; asked only for what is not there.
        name: what a message calls the text.
        total: how many pairs there will be, None when unknown.

    Raises:
        DataError: the cache cannot be written; and what `fetch` raises.
    """
    shards, damaged = read_shards(folder)
    if damaged:
        say(f"{damaged} is damaged; getting {name} again.")
        discard(folder, len(shards))
    if not (shards and shards[-1].last):
        _fetch(folder, shards, fetch, name=name, total=total)
    return KeptText(shards, name=name)


def _fetch(folder: Path, shards: list[Shard], fetch: Fetch, *, name: str, total: int | None) -> None:
    """Fetch what is behind `shards`, and add it to them."""
    pairs, pair = _resumed(folder, shards, fetch, name=name)
    done = sum(shard.facts["rows"] for shard in shards)
    progress = Progress(f"getting {name}", "rows", fraction=lambda: (done + progress.done) / total if total else None)
    while not (shards and shards[-1].last):
        rows, characters = [], 0
        while pair is not None:
            rows.append(pair)
            characters += len(pair[0]) + len(pair[1])
            if len(rows) % ROWS == 0:
                progress.advance(ROWS)
            if len(rows) == SHARD_ROWS or characters >= SHARD_CHARACTERS:
                break
            pair = next(pairs, None)
        progress.advance(len(rows) % ROWS)
        # The first pair behind the mark tells whether the text is still the same when the fetch goes on there.
        mark, pair = fetch.mark(), next(pairs, None) if pair is not None else None
        shards.append(_write(folder, len(shards), rows, mark=mark, following=pair))
    progress.close()


def _resumed(folder: Path, shards: list[Shard], fetch: Fetch, *, name: str) -> tuple[Iterator[Pair], Pair | None]:
    """The pairs behind `shards` and the first of them; `shards` is emptied when the text is not that of before."""
    done = sum(shard.facts["rows"] for shard in shards)
    pairs = fetch.behind(done, shards[-1].facts["mark"] if shards else None)
    pair = next(pairs, None)
    if not shards:
        return pairs, pair
    if pair is not None and shards[-1].facts["following"] == key_of(pair=pair):
        say(f"getting {name}: going on behind row {done:,}")
        return pairs, pair
    say(f"{name} has changed since the first {done:,} rows were fetched; getting it from the start.")
    shards.clear()
    discard(folder, 0)
    pairs = fetch.behind(0, None)
    return pairs, next(pairs, None)


def _write(folder: Path, number: int, rows: list[Pair], *, mark: Any, following: Pair | None) -> Shard:
    batches = []
    for first in range(0, len(rows), ROWS):
        sides = [list(side) for side in zip(*rows[first : first + ROWS], strict=True)]
        batches.append(pa.record_batch(sides, schema=SCHEMA))
    facts = {"rows": len(rows), "mark": mark, "following": None if following is None else key_of(pair=following)}
    return write_shard(folder, number, batches, SCHEMA, last=following is None, facts=facts)

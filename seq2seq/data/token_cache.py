"""Token ids in memory-mapped Arrow files, so that the text takes no memory and a second run starts at once.

What is held for each pair are its two lengths (`Rows`), 8 bytes, and while an epoch runs its place in the order, 8 more
(`data/batching.py`), with some 100 bytes for each batch.

A folder of shards is named by the text, the tokenizers and the rules that made it. A preparation that was interrupted
goes on behind the last whole shard; a damaged shard is made again, with those behind it.
"""

import bisect
import contextlib
import dataclasses
import itertools
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seq2seq.config import Documents, Task
from seq2seq.data.cache import key_of
from seq2seq.data.encoding import BadPairError, Column, Encoded, PairEncoder, StreamEncoder
from seq2seq.data.files import Pair, TextSource
from seq2seq.data.filters import DropCounts, Filter
from seq2seq.data.progress import Progress, say
from seq2seq.data.rows import Rows
from seq2seq.data.shards import Shard, in_groups, read_shards, write_shard
from seq2seq.data.tokenizer import Tokenizers
from seq2seq.data.workers import in_order
from seq2seq.errors import DataError

FORMAT = 5
"""Version of the files and of the rules that make them; files of another are not looked at."""
PAIRS = 8192
"""Pairs encoded at a time."""
CHARACTERS = 1 << 22
"""A chunk ends before PAIRS pairs when it has this many characters: documents may be long."""
SHARD = 16
"""Chunks of one shard: what an interruption can cost."""

Ids = npt.NDArray[np.int32]


class TokenDataset:
    """Encoded pairs.

    The source ends with EOS. The target is, by task: translation: ids ending with EOS; classification: the label's id;
    tagging: as long as the source, a label's id at the first piece of each word and IGNORE elsewhere.

    Args:
        sources: rows of source ids.
        targets: rows of target ids.
        task: what the targets are.
        drops: what was read and left out.
    """

    def __init__(self, sources: Rows, targets: Rows, *, task: Task, drops: DropCounts) -> None:
        self.sources, self.targets = sources, targets
        self.task, self.drops = task, drops
        self.source_lengths, self.target_lengths = sources.lengths, targets.lengths

    def __len__(self) -> int:
        return len(self.source_lengths)

    def source(self, index: int) -> Ids:
        """(source_length,) ids."""
        return self.sources.view(index).astype(np.int32, copy=False)

    def target(self, index: int) -> Ids:
        """(target_length,) ids."""
        return self.targets.view(index).astype(np.int32, copy=False)


class TokenStream:
    """A language model's text: one long row of ids for each corpus.

    Args:
        parts: the pieces of each corpus.
    """

    def __init__(self, parts: Sequence[Sequence[npt.NDArray[Any]]]) -> None:
        self._parts = parts
        self._starts = [list(itertools.accumulate(map(len, pieces), initial=0)) for pieces in parts]
        self.part_lengths = [starts[-1] for starts in self._starts]
        """Tokens of each corpus."""

    def __len__(self) -> int:
        return sum(self.part_lengths)

    def read(self, start: int, stop: int, *, part: int = 0) -> npt.NDArray[Any]:
        """Ids start to stop of a corpus; a view unless the range spans two pieces."""
        pieces, starts = self._parts[part], self._starts[part]
        first, last = bisect.bisect_right(starts, start) - 1, bisect.bisect_left(starts, stop)
        found = [pieces[index][max(start - starts[index], 0) : stop - starts[index]] for index in range(first, last)]
        return found[0] if len(found) == 1 else np.concatenate(found)


def token_dataset(
    source: TextSource,
    tokenizers: Tokenizers,
    *,
    task: Task,
    folder: Path,
    filter: Filter | None = None,
    workers: int = 1,
) -> TokenDataset:
    """Encode pairs, or map what an earlier run encoded.

    Args:
        source: the text.
        tokenizers: text to ids.
        task: what the targets are.
        folder: the cache folder.
        filter: rules for pairs to leave out; None keeps every one.
        workers: processes that encode; the files are the same whatever their number.

    Raises:
        DataError: the text cannot be read, a label is unknown or missing, or the cache cannot be written.
    """
    rules = None if filter is None else {"length": filter.max_length, "ratio": filter.max_length_ratio}
    encoder = PairEncoder(tokenizers, task, filter)
    columns = zip(("source", "target"), encoder.numbers, strict=True)
    schema = pa.schema([(side, pa.list_(pa.from_numpy_dtype(number))) for side, number in columns])
    shards = _shards(_folder(folder, source, tokenizers, task=task, rules=rules), source, encoder, schema, workers)
    sides: tuple[list[Any], list[Any]] = ([], [])
    for batch in _mapped(shards):
        for pieces, column in zip(sides, batch.columns, strict=True):
            pieces.append((_view(column.values), _view(column.offsets)))
    drops = sum((DropCounts(**shard.facts["drops"]) for shard in shards), DropCounts())
    return TokenDataset(Rows(sides[0]), Rows(sides[1]), task=task, drops=drops)


def token_stream(
    sources: Sequence[TextSource], tokenizers: Tokenizers, *, documents: Documents, folder: Path, workers: int = 1
) -> TokenStream:
    """Encode a language model's text, or map what an earlier run encoded.

    Args:
        sources: the corpora.
        tokenizers: text to ids; `target` is used.
        documents: line closes each document with EOS; file joins all text of a corpus.
        folder: the cache folder.
        workers: processes that encode; the files are the same whatever their number.

    Raises:
        DataError: the text cannot be read or the cache cannot be written.
    """
    encoder = StreamEncoder(tokenizers.target, end=documents is Documents.line)
    schema = pa.schema([("tokens", pa.from_numpy_dtype(*encoder.numbers))])
    parts = []
    for source in sources:
        path = _folder(folder, source, tokenizers, task=Task.language_modelling, rules=documents.value)
        shards = _shards(path, source, encoder, schema, workers)
        pieces = [_view(batch.column(0)) for batch in _mapped(shards)]
        parts.append([piece for piece in pieces if len(piece)])
        if not parts[-1]:
            raise DataError(f"{source.name}: no text in it.")
    return TokenStream(parts)


def _folder(folder: Path, source: TextSource, tokenizers: Tokenizers, *, task: Task, rules: Any) -> Path:
    prints = [source.fingerprint, tokenizers.source.fingerprint, tokenizers.target.fingerprint]
    return folder / "tokens" / key_of(format=FORMAT, prints=prints, task=task.value, rules=rules)


def _shards(
    folder: Path, source: TextSource, encoder: PairEncoder | StreamEncoder, schema: Any, workers: int
) -> list[Shard]:
    """The shards of a text, of which those that are missing or damaged are written first."""
    shards, damaged = read_shards(folder)
    if shards and shards[-1].last:
        return shards
    done = sum(shard.facts["drops"]["read"] for shard in shards)
    if damaged:
        say(f"{damaged} is damaged; encoding {source.name} again{f' from pair {done + 1:,} on' if done else ''}.")
    elif done:
        say(f"encoding {source.name}: going on behind pair {done:,}")
    with contextlib.closing(_encoded(source, encoder, done, workers)) as chunks:
        for group, last in in_groups(chunks, SHARD):
            drops = sum((part.drops for part in group), DropCounts())
            facts = {"drops": dataclasses.asdict(drops)}
            shards.append(write_shard(folder, len(shards), _batches(group, schema), schema, last=last, facts=facts))
            group.clear()
    return shards


def _batches(group: Sequence[Encoded], schema: Any) -> list[Any]:
    """Chunks as one record batch: gathering the rows of a batch costs by their number. None of no chunk."""
    columns = [_joined(parts) for parts in zip(*(part.columns for part in group), strict=True)]
    return [pa.record_batch([_arrow(*column) for column in columns], schema=schema)] if columns else []


def _encoded(
    source: TextSource, encoder: PairEncoder | StreamEncoder, done: int, workers: int
) -> Generator[Encoded, None, None]:
    """The chunks behind the first `done` pairs, encoded, telling how it goes."""
    progress = Progress(f"encoding {source.name}", "lines", fraction=source.fraction)
    first = done
    try:
        with contextlib.closing(in_order(encoder, _chunks(source, done), workers=workers)) as chunks:
            for chunk in chunks:
                yield chunk
                first += chunk.drops.read
                progress.advance(chunk.drops.read)
    except BadPairError as error:
        raise DataError(f"{source.where(first + error.index)}: {error.reason}") from None
    progress.close()


def _chunks(source: TextSource, done: int) -> Generator[list[Pair], None, None]:
    """The text behind the first `done` pairs, cut by what is in it alone."""
    chunk: list[Pair] = []
    characters = 0
    for pair in itertools.islice(source, done, None):
        chunk.append(pair)
        characters += len(pair[0]) + len(pair[1])
        if len(chunk) == PAIRS or characters >= CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _mapped(shards: Sequence[Shard]) -> Iterator[Any]:
    """The record batches of files, mapped and not read."""
    for shard in shards:
        reader = pa.ipc.open_file(pa.memory_map(str(shard.path)))
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))


# Arrow's own conversions import pandas, which costs 26 MB and a third of a second; these two need no library.


def _joined(columns: Sequence[Column]) -> Column:
    """The column of several chunks as one."""
    ids = np.concatenate([ids for ids, _ in columns])
    if columns[0][1] is None:
        return ids, None
    first, parts = 0, [np.zeros(1, np.int32)]
    for _, offsets in columns:
        assert offsets is not None
        parts.append(offsets[1:] + np.int32(first))
        first += int(offsets[-1])
    return ids, np.concatenate(parts)


def _arrow(ids: npt.NDArray[Any], offsets: npt.NDArray[np.int32] | None) -> Any:
    """A column of Arrow: lists, or plain numbers where there are no offsets."""
    return _array(ids) if offsets is None else pa.ListArray.from_arrays(_array(offsets), _array(ids))


def _array(numbers: npt.NDArray[Any]) -> Any:
    """An Arrow array over the memory of a numpy array."""
    return pa.Array.from_buffers(pa.from_numpy_dtype(numbers.dtype), len(numbers), [None, pa.py_buffer(numbers)])


def _view(array: Any) -> npt.NDArray[Any]:
    """A numpy array over the memory, perhaps a mapped file's, of an Arrow array of integers."""
    number = np.int16 if array.type == pa.int16() else np.int32
    if len(array) == 0:
        return np.zeros(0, number)
    return np.frombuffer(array.buffers()[1], number, count=len(array), offset=array.offset * array.type.byte_width)

"""Token ids in memory-mapped Arrow files, so that memory does not grow with the text and a second run starts at once.

A file is named by the text, the tokenizers and the rules that made it, is written whole or not at all, and is made
again when it is damaged.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seq2seq.config import Documents, Task
from seq2seq.data.batch import IGNORE
from seq2seq.data.cache import key_of, read_label, whole_file, write_label
from seq2seq.data.files import Pair, TextSource
from seq2seq.data.filters import DropCounts, Filter
from seq2seq.data.progress import Progress, say
from seq2seq.data.tokenizer import EOS, UNK, Tokenizers
from seq2seq.errors import DataError

FORMAT = 2
"""Version of the files and of the rules that make them; files of another are not looked at."""
PAIRS = 8192
"""Pairs encoded and written at a time."""
TOKENS = 1 << 20
"""Tokens of one piece of a language model's stream."""

Ids = npt.NDArray[np.int32]


class Rows:
    """Rows of ids of different lengths: views into a few long arrays.

    Args:
        pieces: (ids, offsets) of each piece: row i of a piece is ids[offsets[i]:offsets[i + 1]].
    """

    def __init__(self, pieces: Sequence[tuple[npt.NDArray[Any], npt.NDArray[np.int32]]]) -> None:
        self._pieces = pieces
        self._starts = list(itertools.accumulate((len(offsets) - 1 for _, offsets in pieces), initial=0))
        empty = np.zeros(0, np.int32)
        self.lengths: Ids = np.concatenate([empty, *(np.diff(offsets) for _, offsets in pieces)]).astype(np.int32)
        """(rows,) tokens of each row."""

    def view(self, index: int) -> npt.NDArray[Any]:
        """Row `index`, in the number format that it is stored in; no copy."""
        piece = bisect.bisect_right(self._starts, index) - 1
        ids, offsets = self._pieces[piece]
        row = index - self._starts[piece]
        return ids[offsets[row] : offsets[row + 1]]


class TokenDataset:
    """Encoded pairs.

    The source ends with EOS. The target is, by task: translation: ids ending with EOS; classification: the label's id;
    tagging: as long as the source, a label's id at the first piece of each word and IGNORE elsewhere.

    Args:
        source: rows of source ids.
        target: rows of target ids.
        task: what the targets are.
        drops: what was read and left out.
    """

    def __init__(self, source: Rows, target: Rows, *, task: Task, drops: DropCounts) -> None:
        self._source, self._target = source, target
        self.task, self.drops = task, drops
        self.source_lengths, self.target_lengths = source.lengths, target.lengths

    def __len__(self) -> int:
        return len(self.source_lengths)

    def source(self, index: int) -> Ids:
        """(source_length,) ids."""
        return self._source.view(index).astype(np.int32, copy=False)

    def target(self, index: int) -> Ids:
        """(target_length,) ids."""
        return self._target.view(index).astype(np.int32, copy=False)


class TokenStream:
    """A language model's text: one long row of ids for each corpus.

    Args:
        parts: the pieces of each corpus; all pieces of a corpus but its last are equally long.
    """

    def __init__(self, parts: Sequence[Sequence[npt.NDArray[Any]]]) -> None:
        self._parts = parts
        self.part_lengths = [sum(map(len, pieces)) for pieces in parts]
        """Tokens of each corpus."""

    def __len__(self) -> int:
        return sum(self.part_lengths)

    def read(self, start: int, stop: int, *, part: int = 0) -> npt.NDArray[Any]:
        """Ids start to stop of a corpus; a view unless the range spans two pieces."""
        pieces = self._parts[part]
        size = len(pieces[0])
        found = [
            pieces[index][max(start - index * size, 0) : stop - index * size]
            for index in range(start // size, (stop - 1) // size + 1)
        ]
        return found[0] if len(found) == 1 else np.concatenate(found)


def token_dataset(
    source: TextSource, tokenizers: Tokenizers, *, task: Task, folder: Path, filter: Filter | None = None
) -> TokenDataset:
    """Encode pairs, or map what an earlier run encoded.

    Args:
        source: the text.
        tokenizers: text to ids.
        task: what the targets are.
        folder: the cache folder.
        filter: rules for pairs to leave out; None keeps every one.

    Raises:
        DataError: the text cannot be read, a label is unknown or missing, or the cache cannot be written.
    """
    rules = None if filter is None else {"length": filter.max_length, "ratio": filter.max_length_ratio}
    path = _path(folder, source, tokenizers, task=task.value, rules=rules)

    def write(temporary: Path) -> dict[str, Any]:
        drops = _write_pairs(temporary, source, tokenizers, task=task, filter=filter)
        return {"drops": dataclasses.asdict(drops)}

    facts = _made(path, write, what=source.name)
    sides: tuple[list[Any], list[Any]] = ([], [])
    for batch in _mapped(path):
        for pieces, column in zip(sides, batch.columns, strict=True):
            pieces.append((_view(column.values), _view(column.offsets)))
    return TokenDataset(Rows(sides[0]), Rows(sides[1]), task=task, drops=DropCounts(**facts["drops"]))


def token_stream(
    sources: Sequence[TextSource], tokenizers: Tokenizers, *, documents: Documents, folder: Path
) -> TokenStream:
    """Encode a language model's text, or map what an earlier run encoded.

    Args:
        sources: the corpora.
        tokenizers: text to ids; `target` is used.
        documents: line closes each document with EOS; file joins all text of a corpus.
        folder: the cache folder.

    Raises:
        DataError: the text cannot be read or the cache cannot be written.
    """
    return TokenStream([_stream(source, tokenizers, documents=documents, folder=folder) for source in sources])


def _stream(
    source: TextSource, tokenizers: Tokenizers, *, documents: Documents, folder: Path
) -> list[npt.NDArray[Any]]:
    path = _path(folder, source, tokenizers, task=Task.language_modelling.value, rules=documents.value)
    end = [EOS] if documents is Documents.line else []
    number = _number(tokenizers.target.vocab_size)

    def write(temporary: Path) -> dict[str, Any]:
        schema = pa.schema([("tokens", pa.from_numpy_dtype(number))])
        total, waiting = 0, np.zeros(0, number)
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for pairs, _ in _chunks(source, PAIRS):
                rows = tokenizers.target.encode_batch([text for _, text in pairs])
                ids = list(itertools.chain.from_iterable(row + end for row in rows))
                waiting = np.concatenate([waiting, np.array(ids, number)])
                total += len(ids)
                while len(waiting) >= TOKENS:
                    writer.write_batch(pa.record_batch([_array(waiting[:TOKENS])], schema=schema))
                    waiting = waiting[TOKENS:]
            if len(waiting):
                writer.write_batch(pa.record_batch([_array(waiting)], schema=schema))
        return {"tokens": total}

    facts = _made(path, write, what=source.name)
    if facts["tokens"] == 0:
        raise DataError(f"{source.name}: no text in it.")
    return [_view(batch.column(0)) for batch in _mapped(path)]


def _path(folder: Path, source: TextSource, tokenizers: Tokenizers, *, task: str, rules: Any) -> Path:
    prints = [source.fingerprint, tokenizers.source.fingerprint, tokenizers.target.fingerprint]
    return folder / "tokens" / f"{key_of(format=FORMAT, prints=prints, task=task, rules=rules)}.arrow"


def _made(path: Path, write: Callable[[Path], dict[str, Any]], *, what: str) -> dict[str, Any]:
    """Facts about a cache file, which is written first when it is missing or damaged."""
    facts, damaged = read_label(path)
    if facts is not None:
        return facts
    if damaged:
        say(f"{path} is damaged; encoding {what} again.")
    with whole_file(path) as temporary:
        facts = write(temporary)
    write_label(path, **facts)
    return facts


def _mapped(path: Path) -> list[Any]:
    """The record batches of a file, mapped and not read."""
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    return [reader.get_batch(index) for index in range(reader.num_record_batches)]


def _chunks(source: TextSource, size: int) -> Iterator[tuple[list[Pair], int]]:
    """Lists of up to `size` pairs with the index of the first, telling how it goes."""
    progress = Progress(f"encoding {source.name}", "lines", fraction=source.fraction)
    pairs, first = iter(source), 0
    while chunk := list(itertools.islice(pairs, size)):
        yield chunk, first
        first += len(chunk)
        progress.advance(len(chunk))
    progress.close()


def _write_pairs(
    path: Path, source: TextSource, tokenizers: Tokenizers, *, task: Task, filter: Filter | None
) -> DropCounts:
    """Encode pairs into an Arrow file, a record batch at a time."""
    numbers = _number(tokenizers.source.vocab_size), _number(tokenizers.target.vocab_size)
    columns = zip(("source", "target"), numbers, strict=True)
    schema = pa.schema([(side, pa.list_(pa.from_numpy_dtype(number))) for side, number in columns])
    target_end = {Task.translation: [EOS], Task.classification: [], Task.tagging: [IGNORE]}[task]
    drops = DropCounts()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for pairs, first in _chunks(source, PAIRS):
            sources, targets = _encode(
                pairs, tokenizers, task=task, first=first, source=source, drop_empty=filter is not None
            )
            if filter is None:
                drops += DropCounts(read=len(pairs))
            else:
                keep, counts = filter.keep(_lengths(sources), _lengths(targets))
                drops += counts
                sources, targets = list(itertools.compress(sources, keep)), list(itertools.compress(targets, keep))
            sides = [row + [EOS] for row in sources], [row + target_end for row in targets]
            arrays = [_column(rows, number) for rows, number in zip(sides, numbers, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    return drops


def _encode(
    pairs: Sequence[Pair], tokenizers: Tokenizers, *, task: Task, first: int, source: TextSource, drop_empty: bool
) -> tuple[list[list[int]], list[list[int]]]:
    """Ids of both sides without end tokens.

    Args:
        pairs: the text.
        tokenizers: text to ids.
        task: what the targets are.
        first: number of the first pair in `source`, for messages.
        source: where they are from, for messages.
        drop_empty: pairs of a classifier without a label will be dropped and counted, so that is not an unknown one.
    """
    sources, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if task is Task.translation:
        return tokenizers.source.encode_batch(sources), tokenizers.target.encode_batch(targets)
    labels = []
    for index, target in enumerate(targets):
        try:
            labels.append([] if drop_empty and not target.strip() else tokenizers.target.encode(target))
        except DataError as error:
            raise DataError(f"{source.where(first + index)}: {error}") from None
    if task is Task.classification:
        return tokenizers.source.encode_batch(sources), labels
    words = [text.split() for text in sources]
    for index, (row, tags) in enumerate(zip(words, labels, strict=True)):
        if len(row) != len(tags):
            raise DataError(
                f"{source.where(first + index)}: {len(row)} words in the source and {len(tags)} labels; give each "
                "whitespace-separated word one label."
            )
    pieces = iter(tokenizers.source.encode_batch(list(itertools.chain.from_iterable(words))))
    encoded: tuple[list[list[int]], list[list[int]]] = ([], [])
    for tags in labels:
        ids: list[int] = []
        marks: list[int] = []
        for tag in tags:
            piece = next(pieces) or [UNK]  # a word may be made of what normalisation removes
            ids += piece
            marks += [tag] + [IGNORE] * (len(piece) - 1)
        encoded[0].append(ids)
        encoded[1].append(marks)
    return encoded


def _number(vocab_size: int) -> type[np.signedinteger[Any]]:
    """The smallest number format that holds every id and IGNORE; half the file is half the memory it takes mapped."""
    return np.int16 if vocab_size <= np.iinfo(np.int16).max else np.int32


def _lengths(rows: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, rows), np.int64, len(rows))


def _column(rows: Sequence[Sequence[int]], number: type[np.signedinteger[Any]]) -> Any:
    """A list column of `rows`."""
    offsets = np.concatenate([[0], np.cumsum(_lengths(rows))]).astype(np.int32)
    flat: Iterable[int] = itertools.chain.from_iterable(rows)
    ids = np.fromiter(flat, number, int(offsets[-1]))
    return pa.ListArray.from_arrays(_array(offsets), _array(ids))


# Arrow's own conversions import pandas, which costs 26 MB and a third of a second; these two need no library.


def _array(numbers: npt.NDArray[Any]) -> Any:
    """An Arrow array over the memory of a numpy array."""
    return pa.Array.from_buffers(pa.from_numpy_dtype(numbers.dtype), len(numbers), [None, pa.py_buffer(numbers)])


def _view(array: Any) -> npt.NDArray[Any]:
    """A numpy array over the memory, perhaps a mapped file's, of an Arrow array of integers."""
    number = np.int16 if array.type == pa.int16() else np.int32
    if len(array) == 0:
        return np.zeros(0, number)
    return np.frombuffer(array.buffers()[1], number, count=len(array), offset=array.offset * array.type.byte_width)

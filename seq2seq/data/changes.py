"""What has changed in a training text since a run began, as far as the token cache still holds what it was."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from seq2seq.config import Config
from seq2seq.data.batch import IGNORE
from seq2seq.data.cache import cache_folder
from seq2seq.data.files import Pair, TextSource
from seq2seq.data.prepare import Prepared, training_filter
from seq2seq.data.token_cache import TokenDataset, TokenStream, token_dataset, token_stream
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import DataError

SHOWN = 60
"""Characters of a text that a message quotes."""
AROUND = 8
"""Tokens quoted from the first that differs on, of a text without lines."""
BLOCK = 1 << 20
"""Tokens compared at a time."""


class _Gone:
    """A text that is no longer there; what was made of it may still be in the cache, under its fingerprint."""

    def __init__(self, name: str, fingerprint: str) -> None:
        self.name, self.fingerprint = name, fingerprint

    def __iter__(self) -> Iterator[Pair]:
        raise DataError(f"{self.name} is no longer what it was")

    def where(self, index: int) -> str:
        return self.name

    def fraction(self) -> float | None:
        return None


def describe_change(before: Sequence[str], config: Config, prepared: Prepared) -> str | None:
    """The first training text that is not what it was, and how it differs; None when all are.

    Args:
        before: fingerprint of each entry of data.train as it was.
        config: of the run.
        prepared: its text as it is now.
    """
    sources = prepared.corpus.train
    if list(before) == [source.fingerprint for source in sources]:
        return None
    if len(before) != len(sources):
        return "data.train has other entries"
    number = next(index for index, source in enumerate(sources) if source.fingerprint != before[index])
    source = sources[number]
    gone = _Gone(source.name, before[number])
    try:
        between = _between_streams if isinstance(prepared.train, TokenStream) else _between_pairs
        return f"{source.name}: {'; '.join(between(gone, config, prepared, number))}"
    except DataError:
        return f"{source.name} is another text (what it was is no longer in the cache, to be compared)"


def _between_pairs(gone: TextSource, config: Config, prepared: Prepared, number: int) -> Iterator[str]:
    assert not isinstance(prepared.train, TokenStream)
    folder, rules = cache_folder(config.data), training_filter(config)
    old = token_dataset(gone, prepared.tokenizers, task=config.task, folder=folder, filter=rules)
    now = prepared.train[number]
    if now.drops.read != old.drops.read:
        yield f"{now.drops.read:,} pairs instead of {old.drops.read:,}"
    row = _first_row(old, now)
    if row is None:
        yield "in the pairs that are not left out, no token differs"
    elif row == len(old) or row == len(now):
        what = "is new" if row == len(old) else "and what came after it is gone"
        yield f"of those not left out, pair {row + 1:,} {what}"
    else:
        in_source = not np.array_equal(old.source(row), now.source(row))
        side, tokenizer = (
            ("source", prepared.tokenizers.source) if in_source else ("target", prepared.tokenizers.target)
        )
        was, is_now = (_quoted(tokenizer, getattr(dataset, side)(row)) for dataset in (old, now))
        yield f"of those not left out, pair {row + 1:,} is the first that differs: its {side} was {was} and is {is_now}"


def _first_row(old: TokenDataset, now: TokenDataset) -> int | None:
    """The first row that is not the same in both, or in one only."""
    common = min(len(old), len(now))
    lengths = (old.source_lengths[:common] != now.source_lengths[:common]) | (
        old.target_lengths[:common] != now.target_lengths[:common]
    )
    limit = int(lengths.argmax()) if lengths.any() else common
    for row in range(limit):
        if not (np.array_equal(old.source(row), now.source(row)) and np.array_equal(old.target(row), now.target(row))):
            return row
    return limit if len(old) != len(now) or limit < common else None


def _between_streams(gone: TextSource, config: Config, prepared: Prepared, number: int) -> Iterator[str]:
    assert isinstance(prepared.train, TokenStream)
    folder, documents, tokenizer = cache_folder(config.data), prepared.corpus.documents, prepared.tokenizers.target
    stream = token_stream([gone], prepared.tokenizers, documents=documents, folder=folder)
    old, now = stream.part_lengths[0], prepared.train.part_lengths[number]
    if now != old:
        yield f"{now:,} tokens instead of {old:,}"
    for start in range(0, min(old, now), BLOCK):
        stop = min(start + BLOCK, old, now)
        different = stream.read(start, stop) != prepared.train.read(start, stop, part=number)
        if different.any():
            first = start + int(different.argmax())
            was = _quoted(tokenizer, stream.read(first, min(first + AROUND, old)))
            is_now = _quoted(tokenizer, prepared.train.read(first, min(first + AROUND, now), part=number))
            yield f"from token {first + 1:,} on, it was {was} ... and is {is_now} ..."
            return
    yield "what is in both is the same" if now != old else "no token differs"


def _quoted(tokenizer: Tokenizer, ids: npt.NDArray[np.integer]) -> str:
    text = tokenizer.decode([int(token) for token in ids if token != IGNORE])
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")

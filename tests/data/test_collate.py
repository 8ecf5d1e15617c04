import dataclasses

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import Task
from seq2seq.data.batch import IGNORE, Batch
from seq2seq.data.collate import halves, padded, pair_batch, stream_batch
from seq2seq.data.tokenizer import BOS, EOS, PAD

ROWS = st.lists(st.lists(st.integers(4, 30000), max_size=9), min_size=1, max_size=9)


def arrays(rows: list[list[int]]) -> list[np.ndarray]:
    return [np.array(row, np.int16) for row in rows]


@given(rows=ROWS, padding=st.sampled_from([PAD, IGNORE]))
def test_padding_row_by_row(rows: list[list[int]], padding: int) -> None:
    ids, mask = padded(arrays(rows), padding=padding)
    longest = max(map(len, rows))
    assert ids.tolist() == [row + [padding] * (longest - len(row)) for row in rows]
    assert mask.sum(1).tolist() == list(map(len, rows))
    assert ids.dtype == np.int64


@given(sources=ROWS, data=st.data())
def test_translation(sources: list[list[int]], data: st.DataObject) -> None:
    sources = [row + [EOS] for row in sources]
    targets = [data.draw(st.lists(st.integers(4, 99), max_size=9)) + [EOS] for _ in sources]
    batch = pair_batch(arrays(sources), arrays(targets), task=Task.translation)
    assert batch.source is not None and batch.target_in is not None
    full = len(set(map(len, sources))) == 1
    assert (batch.source_mask is None) == full
    if batch.source_mask is not None:
        assert batch.source_mask.sum(1).tolist() == list(map(len, sources))
        assert (batch.source[~batch.source_mask] == PAD).all()
    for index, target in enumerate(targets):
        padding = batch.target_out.shape[1] - len(target)
        assert batch.target_in[index].tolist() == [BOS, *target[:-1]] + [PAD] * padding
        assert batch.target_out[index].tolist() == target + [IGNORE] * padding
    assert batch.num_tokens == sum(map(len, targets))


def test_classification_and_tagging() -> None:
    sources = [[7, 8, EOS], [9, EOS]]
    batch = pair_batch(arrays(sources), arrays([[1], [0]]), task=Task.classification)
    assert (batch.target_out.tolist(), batch.target_in, batch.num_tokens) == ([1, 0], None, 2)
    batch = pair_batch(arrays(sources), arrays([[1, IGNORE, IGNORE], [0, IGNORE]]), task=Task.tagging)
    assert batch.target_out.tolist() == [[1, IGNORE, IGNORE], [0, IGNORE, IGNORE]]
    assert (batch.target_in, batch.num_tokens) == (None, 2)


def test_stream_shifts_by_one() -> None:
    batch = stream_batch(arrays([[1, 2, 3, 4], [5, 6]]))
    assert batch.source is None and batch.source_mask is None and batch.target_in is not None
    assert batch.target_in.tolist() == [[1, 2, 3], [5, PAD, PAD]]
    assert batch.target_out.tolist() == [[2, 3, 4], [6, IGNORE, IGNORE]]
    assert batch.num_tokens == 4


def test_to_moves_every_tensor() -> None:
    batch = pair_batch(arrays([[7, EOS], [EOS]]), arrays([[7, EOS], [EOS]]), task=Task.translation)
    moved = batch.to("meta")
    for tensor in (moved.source, moved.source_mask, moved.target_in, moved.target_out):
        assert tensor is not None and tensor.device == torch.device("meta")
    assert stream_batch(arrays([[1, 2]])).to("meta").source is None


@given(rows=ROWS, data=st.data(), task=st.sampled_from(Task))
def test_halves_hold_the_same_rows_without_needless_padding(
    rows: list[list[int]], data: st.DataObject, task: Task
) -> None:
    """Each half is the batch that its own rows would have made."""
    sources = [row + [EOS] for row in rows * 2]
    if task is Task.language_modelling:
        parts: list[list[list[int]]] = [[row + [EOS] for row in sources]]
    elif task is Task.classification:
        parts = [sources, [[data.draw(st.integers(0, 3))] for _ in sources]]
    elif task is Task.tagging:
        tags = st.sampled_from([IGNORE, 0, 1])
        parts = [sources, [[data.draw(tags) for _ in row[:-1]] + [IGNORE] for row in sources]]
    else:
        parts = [sources, [data.draw(st.lists(st.integers(4, 99), max_size=9)) + [EOS] for _ in sources]]

    def made(rows: slice) -> Batch:
        chosen = [arrays(side[rows]) for side in parts]
        return stream_batch(*chosen) if len(chosen) == 1 else pair_batch(*chosen, task=task)

    middle = len(sources) // 2
    for ours, theirs in zip(halves(made(slice(None))), map(made, (slice(middle), slice(middle, None))), strict=True):
        assert ours.num_tokens == theirs.num_tokens
        for name in ("source", "source_mask", "target_in", "target_out"):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert (one is None) == (other is None), name
            assert one is None or torch.equal(one, other), name


def test_halves_of_a_silent_batch_are_silent() -> None:
    loud = pair_batch(arrays([[5, 3], [6, 3]]), arrays([[5, 3], [6, 3]]), task=Task.translation)
    batch = dataclasses.replace(loud, target_out=torch.full_like(loud.target_out, IGNORE), num_tokens=0)
    for half in halves(batch):
        assert half.num_tokens == 0
        assert half.target_in is not None and half.target_in.shape == half.target_out.shape == (1, 1)

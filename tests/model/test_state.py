"""States: whatever rows are selected, each keeps its own past and its own sentence."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.model.state import GROWTH, DecodingState, KeyValue, KeyValueCache

SENTENCES, HEADS, SOURCE, HEAD_DIM = 4, 2, 3, 2


def memory() -> list[KeyValue]:
    """Two layers in which every number is the sentence's."""
    numbers = torch.arange(SENTENCES, dtype=torch.float32)[:, None, None, None]
    key = numbers.expand(-1, HEADS, SOURCE, HEAD_DIM).contiguous()
    return [KeyValue(key, key + 100), KeyValue(key + 200, key + 300)]


def column(rows: list[int], position: int) -> torch.Tensor:
    """Keys of one position, (rows, heads, 1, head_dim); every number tells row label and position."""
    labels = torch.tensor(rows, dtype=torch.float32)[:, None, None, None]
    return (labels * 1000 + position).expand(-1, HEADS, 1, HEAD_DIM)


@given(choices=st.lists(st.lists(st.integers(0, 10**6), min_size=0, max_size=9), max_size=5))
def test_every_row_keeps_its_past_and_its_sentence(choices: list[list[int]]) -> None:
    mask = (torch.arange(SOURCE) < torch.tensor([[3], [1], [2], [3]]))[:, None, None, :]
    state = DecodingState(SENTENCES, num_layers=1, memory=memory(), memory_mask=mask)
    sentences = list(range(SENTENCES))
    pasts: list[list[float]] = [[] for _ in sentences]
    for position, choice in enumerate(choices):
        labels = list(range(len(sentences)))
        if labels:
            key, value = state.caches[0].append(column(labels, position), -column(labels, position))
            for row, label in enumerate(labels):
                pasts[row] = [*pasts[row], label * 1000.0 + position]
                assert key[row, 0, :, 0].tolist() == pasts[row]
                assert value[row, 1, :, 1].tolist() == [-number for number in pasts[row]]
        rows = [number % len(sentences) for number in choice] if sentences else []
        state.select(torch.tensor(rows, dtype=torch.int64))
        sentences, pasts = [sentences[row] for row in rows], [pasts[row] for row in rows]
        assert state.rows == len(rows)
        if rows:
            first, second = state.memory
            blocks = first.key.shape[0]
            assert len(rows) % blocks == 0
            of_row = first.key[:, 0, 0, 0].repeat_interleave(len(rows) // blocks)
            assert of_row.tolist() == sentences
            torch.testing.assert_close(second.value, first.key + 300)
            assert state.memory_mask is not None and state.memory_mask.shape[0] == blocks
            for block in range(blocks):
                assert torch.equal(state.memory_mask[block], mask[int(first.key[block, 0, 0, 0])])


def test_beams_of_equal_number_share_a_memory_and_the_last_row_takes_it_along() -> None:
    state = DecodingState(SENTENCES, num_layers=1, memory=memory())
    before = state.memory[0].key
    state.select(torch.arange(SENTENCES).repeat_interleave(5))
    assert state.memory[0].key is before  # not even copied
    state.select(torch.tensor([3, 1, 0, 0, 4, 11, 12, 10, 10, 10]))
    assert state.memory[0].key[:, 0, 0, 0].tolist() == [0, 2]


def test_caches_grow_in_blocks() -> None:
    cache = KeyValueCache()
    storages = set()
    for position in range(2 * GROWTH):
        key, _ = cache.append(column([0, 1], position), column([0, 1], position))
        storages.add(key.untyped_storage().data_ptr())
    assert len(storages) == 2
    assert key[1, 0, :, 0].tolist() == [1000.0 + position for position in range(2 * GROWTH)]
    key, value = cache.append(*[torch.zeros(2, HEADS, 3 * GROWTH, HEAD_DIM)] * 2)
    assert key.shape == value.shape == (2, HEADS, 5 * GROWTH, HEAD_DIM)

"""States: whatever rows are selected, each keeps its own past and its own sentence."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import ModelConfig, Positions, Task, WindowLayers
from seq2seq.decoding.remaining import remaining
from seq2seq.model.build import build_model
from seq2seq.model.masks import self_attention_mask
from seq2seq.model.state import CROWDED, GROWTH, DecodingState, KeyValue, KeyValueCache

SENTENCES, HEADS, SOURCE, HEAD_DIM = 4, 2, 3, 2


def memory() -> list[KeyValue]:
    """Two layers in which every number is the sentence's."""
    numbers = torch.arange(SENTENCES, dtype=torch.float32)[:, None, None, None]
    key = numbers.expand(-1, HEADS, SOURCE, HEAD_DIM).contiguous()
    return [KeyValue(key, key + 100), KeyValue(key + 200, key + 300)]


def written(rows: list[int], position: int) -> torch.Tensor:
    """Keys of one position, (rows, 1, heads, head_dim); every number tells row label and position."""
    labels = torch.tensor(rows, dtype=torch.float32)[:, None, None, None]
    return (labels * 1000 + position).expand(-1, 1, HEADS, HEAD_DIM)


def seen(state: DecodingState, numbers: torch.Tensor) -> list[list[float]]:
    """What each row sees of keys or values (sentences, heads, columns, head_dim)."""
    mask, is_causal = state.attention_mask(None, False)
    assert not is_causal
    shape = (state.sentences, 1, state.beams, numbers.shape[2])
    visible = torch.ones(shape, dtype=torch.bool) if mask is None else mask
    assert visible.shape == shape
    return [
        numbers[row // state.beams, 0, visible[row // state.beams, 0, row % state.beams], 0].tolist()
        for row in range(state.rows)
    ]


@given(choices=st.lists(st.lists(st.integers(0, 10**6), min_size=0, max_size=9), max_size=5))
def test_every_row_keeps_its_past_and_its_sentence(choices: list[list[int]]) -> None:
    mask = (torch.arange(SOURCE) < torch.tensor([[3], [1], [2], [3]]))[:, None, None, :]
    state = DecodingState(SENTENCES, num_layers=1, memory=memory(), memory_mask=mask)
    sentences = list(range(SENTENCES))
    pasts: list[list[float]] = [[] for _ in sentences]
    for position, choice in enumerate(choices):
        labels = list(range(len(sentences)))
        if labels:
            state.extend(1, torch.device("cpu"))
            key, value = state.caches[0].append(written(labels, position), -written(labels, position))
            pasts = [[*past, label * 1000.0 + position] for label, past in zip(labels, pasts, strict=True)]
            assert seen(state, key) == pasts
            torch.testing.assert_close(value, -key)
        rows = [number % len(sentences) for number in choice] if sentences else []
        if sum(choice) % 2:  # as searches do when sentences end
            rows = remaining(np.array([number in rows for number in labels], dtype=bool)).tolist()
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


def test_sentences_that_fill_a_gap_are_all_that_moves() -> None:
    """The others' keys and values stay where they are in memory, those of the source and those that were written."""
    state = DecodingState(SENTENCES, num_layers=1, memory=memory())
    state.extend(1, torch.device("cpu"))
    before, _ = state.caches[0].append(written([0, 1, 2, 3], 0), written([0, 1, 2, 3], 0))
    places = [x.data_ptr() for x in (before, *state.memory[0])]
    state.select(torch.tensor([0, 3, 2]))  # 1 has ended
    state.extend(1, torch.device("cpu"))
    key, value = state.caches[0].append(written([0, 3, 2], 1), written([0, 3, 2], 1))
    assert [x.data_ptr() for x in (key, *state.memory[0])] == places
    assert seen(state, key) == seen(state, value) == [[0.0, 1.0], [3000.0, 3001.0], [2000.0, 2001.0]]
    for _ in range(GROWTH):  # the buffer grows, with room for three sentences now
        state.extend(1, torch.device("cpu"))
        key, _ = state.caches[0].append(written([0, 3, 2], 2), written([0, 3, 2], 2))
    assert seen(state, key)[1] == [3000.0, 3001.0, *[3002.0] * GROWTH]
    state.select(torch.tensor([2]))
    assert [x.tolist() for x in state.memory[0][0][0, 0, :, 0].split(1)] == [[2.0]] * SOURCE


def test_caches_grow_in_blocks() -> None:
    cache = KeyValueCache(2)
    storages = set()
    for position in range(2 * GROWTH - 1):
        key, _ = cache.append(written([0, 1], position), written([0, 1], position))
        storages.add(key.untyped_storage().data_ptr())
    assert len(storages) == 2
    assert key[1, 0, :, 0].tolist() == [1000.0 + position for position in range(2 * GROWTH - 1)]
    key, value = cache.append(*[torch.zeros(2, 3 * GROWTH + 1, HEADS, HEAD_DIM)] * 2)
    assert key.shape == value.shape == (2, HEADS, 5 * GROWTH, HEAD_DIM)


def test_columns_that_no_row_sees_are_dropped() -> None:
    """Two beams of one past that always go on from the first of them: the second's columns are of no use."""
    state = DecodingState(1, num_layers=1)
    columns = 0
    for position in range(10 * CROWDED):
        rows = list(range(state.rows))
        state.extend(1, torch.device("cpu"))
        key, _ = state.caches[0].append(written(rows, position), written(rows, position))
        columns = key.shape[2]
        assert seen(state, key)[0] == [float(number) for number in range(position + 1)]
        assert columns <= 2 * (position + 2) + CROWDED
        state.select(torch.tensor([0, 0]))
    state.select(torch.tensor([0]))
    state.select(torch.tensor([0, 0]))
    assert columns < 1.6 * state.length


@given(
    beams=st.integers(1, 3), sentences=st.integers(1, 3), before=st.integers(0, 3), new_length=st.integers(1, 3),
    window=st.none() | st.integers(1, 3), heads=st.sampled_from([0, 2]),
)  # fmt: skip
def test_order_by_column_is_order_by_position(
    beams: int, sentences: int, before: int, new_length: int, window: int | None, heads: int
) -> None:
    """A mask over columns forbids and adds, for each row, what the mask over its own text does."""
    state = DecodingState(sentences, num_layers=1)
    cpu, length = torch.device("cpu"), before + new_length
    for position in range(before):
        state.extend(1, cpu)
        labels = list(range(state.rows))
        state.caches[0].append(written(labels, position), written(labels, position))
        state.select((torch.arange(sentences) * state.beams).repeat_interleave(beams))
    if not before:
        state.select(torch.arange(sentences).repeat_interleave(beams))
    bias = -torch.arange(heads * new_length * length).view(heads, new_length, length).float() if heads else None
    order, is_causal = self_attention_mask(new_length, length, causal=True, window=window, bias=bias, device=cpu)
    state.extend(new_length, cpu)
    rows = torch.arange(sentences * beams).view(-1, 1, 1, 1)
    new = (rows * 1000 + before + torch.arange(new_length).view(1, -1, 1, 1)).float().expand(-1, -1, HEADS, HEAD_DIM)
    key, _ = state.caches[0].append(new, new)
    mask, flag = state.attention_mask(order, is_causal)
    if mask is None:
        assert beams == 1 and flag == is_causal and order is None
        return
    assert not flag
    if is_causal:
        order = torch.ones(new_length, length, dtype=torch.bool).tril()
    everything = torch.ones(new_length, length, dtype=torch.bool) if order is None else order
    mask = mask.expand(sentences, max(heads, 1), beams * new_length, -1)
    for sentence, beam, query, head in itertools.product(*map(range, (sentences, beams, new_length, max(heads, 1)))):
        of_query = mask[sentence, head, beam * new_length + query]
        wanted = everything.view(-1, new_length, length)[head, query]
        if heads:
            assert of_query[of_query > float("-inf")].tolist() == wanted[wanted > float("-inf")].tolist()
        else:
            assert key[sentence, 0, of_query, 0].remainder(1000).tolist() == wanted.nonzero().flatten().tolist()


KINDS = [(positions, window) for positions in Positions for window in (None, 3)]


def language_model(positions: Positions, window: int | None) -> torch.nn.Module:
    torch.manual_seed(3)
    layers = WindowLayers.alternate if window else WindowLayers.all
    config = ModelConfig(
        encoder_layers=0, decoder_layers=2, dim=8, num_heads=2, feed_forward_dim=8, max_length=64,
        positions=positions, attention_window=window, window_layers=layers,
    )  # fmt: skip
    return build_model(config, task=Task.language_modelling, source_vocab_size=9, target_vocab_size=9).double().eval()


MODELS = {kind: language_model(*kind) for kind in KINDS}


@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    actions=st.lists(
        st.tuples(
            st.sampled_from(["step", "truncate", "select"]), st.lists(st.integers(0, 99), min_size=1, max_size=5)
        ),
        max_size=12,
    ),
)
def test_going_back_is_as_if_nothing_had_been_read(
    kind: tuple[Positions, int | None], actions: list[tuple[str, list[int]]]
) -> None:
    """Whatever was read, forgotten and selected, the next logits are those of each row's text read at once."""
    model = MODELS[kind]
    state = model.start(2)
    texts: list[list[int]] = [[], []]
    for action, numbers in [*actions, ("step", [1, 2])]:
        if action == "step":
            new = [[(number + 5 * row) % 9 for number in numbers] for row in range(len(texts))]
            texts = [text + more for text, more in zip(texts, new, strict=True)]
            logits = model.step_each(torch.tensor(new), state)
            everything = torch.tensor(texts)
            expected = model(everything)[:, -len(numbers) :]
            torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
        elif action == "truncate":
            length = numbers[0] % (state.length + 1)
            state.truncate(length)
            texts = [text[:length] for text in texts]
        else:
            rows = [number % len(texts) for number in numbers]
            state.select(torch.tensor(rows))
            texts = [texts[row] for row in rows]
        assert state.length == len(texts[0])


def test_nothing_is_forgotten_that_was_not_read() -> None:
    state = DecodingState(1, num_layers=1)
    state.extend(3, torch.device("cpu"))
    for length in (-1, 4):
        with pytest.raises(ValueError, match=rf"length \({length}\) must be from 0 to the 3 tokens"):
            state.truncate(length)


@pytest.mark.parametrize(("sentences", "beams", "kv_heads"), [(3, 1, 2), (2, 5, 1), (1, 5, 2), (0, 5, 2)])
def test_a_position_of_each_row_goes_in_at_once_as_in_two(sentences: int, beams: int, kv_heads: int) -> None:
    apart, together = KeyValueCache(sentences), KeyValueCache(sentences)
    for _ in range(GROWTH // beams + 2):
        key_value = torch.randn(sentences * beams, 2 * kv_heads * 4)
        key, value = key_value.view(-1 if sentences else 0, 1, 2, kv_heads, 4).unbind(dim=2)
        expected, found = apart.append(key, value), together.append_rows(key_value, kv_heads)
        assert torch.equal(found.key, expected.key) and torch.equal(found.value, expected.value)

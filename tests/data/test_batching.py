import time
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import DataConfig, Task, TokenizerConfig
from seq2seq.data import batching
from seq2seq.data.batch import IGNORE, Batch
from seq2seq.data.batching import EpochPlan, PackedBatches, PairBatches
from seq2seq.data.corpus import open_corpus
from seq2seq.data.filters import DropCounts, Filter
from seq2seq.data.rows import Rows
from seq2seq.data.token_cache import TokenDataset, TokenStream, token_dataset
from seq2seq.data.tokenizer import BOS, PAD
from seq2seq.data.tokenizer_training import train_tokenizers
from seq2seq.errors import DataError

SIDES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=60)
SOME_SIDES = SIDES.filter(bool)


def rows(lengths: list[int], pieces: int = 2) -> Rows:
    """Rows of ids whose every entry is the row's number + 10, in several pieces as from a file."""
    found = []
    for part in np.array_split(np.arange(len(lengths)), pieces):
        sizes = [lengths[index] for index in part]
        ids = np.concatenate([np.zeros(0, np.int32), *(np.full(lengths[index], index + 10) for index in part)])
        found.append((ids.astype(np.int32), np.cumsum([0, *sizes]).astype(np.int32)))
    return Rows(found)


def dataset(sides: list[tuple[int, int]]) -> TokenDataset:
    source, target = [side[0] for side in sides], [side[1] for side in sides]
    return TokenDataset(rows(source), rows(target), task=Task.translation, drops=DropCounts())


def same(first: Batch, second: Batch) -> bool:
    return (
        torch.equal(first.target_out, second.target_out)
        and (first.source is None or torch.equal(first.source, second.source))  # type: ignore[arg-type]
        and (first.target_in is None or torch.equal(first.target_in, second.target_in))  # type: ignore[arg-type]
    )


@given(
    corpora=st.lists(SIDES, min_size=1, max_size=3).filter(any),
    budget=st.integers(1, 200),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 5),
    shuffle=st.booleans(),
)
def test_every_pair_once_within_the_budget(
    corpora: list[list[tuple[int, int]]], budget: int, seed: int, epoch: int, shuffle: bool
) -> None:
    datasets = [dataset(sides) for sides in corpora]
    flat = [side for sides in corpora for side in sides]
    plan = PairBatches(datasets, batch_tokens=budget, seed=seed, shuffle=shuffle).epoch(epoch)
    seen: Counter[int] = Counter()
    for position in range(len(plan)):
        batch, examples = plan[position], plan.examples(position)
        assert batch.source is not None and batch.target_in is not None
        longest = max(batch.source.shape[1], batch.target_out.shape[1])
        assert len(examples) * longest <= budget or len(examples) == 1
        seen.update(examples.tolist())
        for row, example in enumerate(examples.tolist()):
            source, target = flat[example]
            first = sum(len(sides) for sides in corpora[: _corpus_of(example, corpora)])
            number = example - first + 10
            assert batch.source[row].tolist() == [number] * source + [PAD] * (batch.source.shape[1] - source)
            padding = batch.target_out.shape[1] - target
            assert batch.target_out[row].tolist() == [number] * target + [IGNORE] * padding
            assert batch.target_in[row].tolist() == [BOS, *[number] * (target - 1), *[PAD] * padding]
        assert batch.num_tokens == sum(flat[example][1] for example in examples)
    assert seen == Counter(range(len(flat)))


def _corpus_of(example: int, corpora: list[list[tuple[int, int]]]) -> int:
    corpus = 0
    while example >= len(corpora[corpus]):
        example -= len(corpora[corpus])
        corpus += 1
    return corpus


@given(sides=SOME_SIDES, seed=st.integers(0, 3), epoch=st.integers(0, 3), data=st.data())
def test_any_position_is_made_without_the_ones_before(
    sides: list[tuple[int, int]], seed: int, epoch: int, data: st.DataObject
) -> None:
    def fresh() -> EpochPlan:
        return PairBatches([dataset(sides)], batch_tokens=50, seed=seed, shuffle=True).epoch(epoch)

    in_order = list(fresh())
    used = PairBatches([dataset(sides)], batch_tokens=50, seed=seed, shuffle=True)
    used.epoch(epoch + 1)[0]  # having looked elsewhere changes nothing
    for position in data.draw(st.permutations(range(len(in_order)))):
        assert same(fresh()[position], in_order[position])
        assert same(used.epoch(epoch)[position], in_order[position])
    with pytest.raises(IndexError):
        fresh()[len(in_order)]


def test_epochs_and_seeds_differ_unless_unshuffled() -> None:
    sides = [(5 + index % 3, 5 + index % 2) for index in range(500)]

    def order(*, seed: int, epoch: int, shuffle: bool) -> list[int]:
        plan = PairBatches([dataset(sides)], batch_tokens=100, seed=seed, shuffle=shuffle).epoch(epoch)
        return [example for position in range(len(plan)) for example in plan.examples(position).tolist()]

    shuffled = {tuple(order(seed=seed, epoch=epoch, shuffle=True)) for seed in (0, 1) for epoch in (0, 1, 2)}
    assert len(shuffled) == 6
    assert order(seed=0, epoch=0, shuffle=False) == order(seed=1, epoch=5, shuffle=False)
    # Pairs of equal lengths meet others in each epoch.
    first, second = (
        {tuple(sorted(plan.examples(position).tolist())) for position in range(len(plan))}
        for plan in (
            PairBatches([dataset(sides)], batch_tokens=100, seed=0, shuffle=True).epoch(epoch) for epoch in (0, 1)
        )
    )
    assert len(first & second) < len(first) / 4


@given(
    sizes=st.lists(st.integers(4, 30), min_size=1, max_size=3),
    data=st.data(),
    seed=st.integers(0, 5),
    shuffle=st.booleans(),
)
def test_weights_over_many_epochs(sizes: list[int], data: st.DataObject, seed: int, shuffle: bool) -> None:
    weights = [data.draw(st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 2.75])) for _ in sizes]
    datasets = [dataset([(3, 3)] * size) for size in sizes]
    batches = PairBatches(datasets, weights=weights, batch_tokens=30, seed=seed, shuffle=shuffle)
    seen: Counter[int] = Counter()
    for epoch in range(4):  # every weight is a multiple of a quarter, so four epochs come out even
        plan = batches.epoch(epoch)
        counts: Counter[int] = Counter()
        for position in range(len(plan)):
            counts.update(plan.examples(position).tolist())
        first = 0
        for size, weight in zip(sizes, weights, strict=True):
            shown = sum(counts[first + index] for index in range(size))
            assert abs(shown - size * weight) < 1
            assert all(int(weight) <= counts[first + index] <= int(weight) + 1 for index in range(size))
            first += size
        seen += counts
    first = 0
    for size, weight in zip(sizes, weights, strict=True):
        assert [seen[first + index] for index in range(size)] == [int(4 * weight)] * size
        first += size


def test_no_epoch_is_empty() -> None:
    batches = PairBatches([dataset([(3, 3)] * 5)], weights=[0.01], batch_tokens=30, seed=1, shuffle=True)
    assert [len(batches.epoch(epoch).examples(0)) for epoch in range(10)] == [1] * 10


def test_wrong_number_of_weights_and_no_pair() -> None:
    with pytest.raises(ValueError, match="2 weights for 1 corpora"):
        PairBatches([dataset([(1, 1)])], weights=[1, 2], batch_tokens=9, seed=1, shuffle=True)
    with pytest.raises(DataError, match="no pair to make a batch of"):
        PairBatches([dataset([])], batch_tokens=9, seed=1, shuffle=True)
    with pytest.raises(DataError, match="too short for a language model"):
        PackedBatches(TokenStream([[np.array([1])], []]), context=4, batch_tokens=9, seed=1, shuffle=True)


@pytest.mark.parametrize("budget", [1024, 4096])
def test_padding_of_made_up_lengths(budget: int) -> None:
    # As long as sentences are: about log-normal, the other side proportional with noise.
    made = np.random.default_rng(1)
    source = np.clip(np.exp(made.normal(2.8, 0.45, 20_000)).astype(int), 1, 128)
    target = np.clip((source * made.normal(1.05, 0.15, 20_000)).astype(int), 1, 128)
    lengths = list(zip(source.tolist(), target.tolist(), strict=True))
    batches = PairBatches([dataset(lengths)], batch_tokens=budget, seed=1, shuffle=True)
    assert padding_share(batches.epoch(0)) < 0.05


def padding_share(plan: EpochPlan) -> float:
    cells = real = 0
    for batch in plan:
        assert batch.source is not None
        cells += batch.source.numel() + batch.target_out.numel()
        real += batch.source.numel() if batch.source_mask is None else int(batch.source_mask.sum())
        real += batch.num_tokens
    return 1 - real / cells


@pytest.mark.shared
@pytest.mark.parametrize("budget", [1024, 4096])
def test_padding_and_speed_on_multi30k(budget: int, shared_data: Path, tmp_path: Path) -> None:
    config = DataConfig(
        train=f"{shared_data}/multi30k/val",
        valid=f"{shared_data}/multi30k/val",
        source_language="en",
        target_language="de",
    )
    train = DataConfig(
        train=f"{shared_data}/multi30k/train", valid=config.valid, source_language="en", target_language="de"
    )
    learned = train_tokenizers(
        TokenizerConfig(vocab_size=1000),
        open_corpus(config, task=Task.translation),
        task=Task.translation,
        cache_dir=tmp_path,
    )
    (text,) = open_corpus(train, task=Task.translation).train
    encoded = token_dataset(
        text, learned, task=Task.translation, folder=tmp_path, filter=Filter(max_length=128, max_length_ratio=4.0)
    )
    plan = PairBatches([encoded], batch_tokens=budget, seed=1, shuffle=True).epoch(0)
    started = time.process_time()
    share = padding_share(plan)
    assert share < 0.05
    # Many times what a small model trains in a second on the same core.
    assert len(plan) * budget / (time.process_time() - started) > 100_000


def stream(lengths: list[int], piece: int = 7) -> TokenStream:
    """Parts whose tokens count on from part to part, cut in pieces as from a file."""
    parts, first = [], 0
    for length in lengths:
        ids = np.arange(first, first + length, dtype=np.int32)
        parts.append([ids[start : start + piece] for start in range(0, length, piece)])
        first += length
    return TokenStream(parts)


@given(length=st.integers(2, 60), data=st.data())
def test_stream_reads_across_pieces(length: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    assert stream([5, length]).read(start, stop, part=1).tolist() == list(range(5 + start, 5 + stop))


PACKED = dict(
    lengths=st.lists(st.integers(0, 120), min_size=1, max_size=3).filter(lambda lengths: max(lengths) > 1),
    context=st.integers(1, 20),
    budget=st.integers(1, 100),
)


@given(**PACKED)
def test_unshuffled_predicts_every_token_once_in_order(lengths: list[int], context: int, budget: int) -> None:
    batches = PackedBatches(stream(lengths), context=context, batch_tokens=budget, seed=1, shuffle=False)
    predicted = []
    for batch in batches.epoch(0):
        assert batch.target_in is not None
        assert batch.target_in.shape[0] <= max(1, budget // context) and batch.target_in.shape[1] <= context
        mask = batch.target_out != IGNORE
        assert batch.num_tokens == mask.sum()
        assert torch.equal(batch.target_in[mask] + 1, batch.target_out[mask])
        predicted += batch.target_out[mask].tolist()
    starts = np.cumsum([0, *lengths])
    expected = [range(start + 1, start + length) for start, length in zip(starts, lengths, strict=False)]
    assert predicted == [token for part in expected for token in part]


@given(**PACKED, seed=st.integers(0, 3), epoch=st.integers(0, 3))
def test_shuffled_shows_no_token_twice_and_drops_less_than_a_batch(
    lengths: list[int], context: int, budget: int, seed: int, epoch: int
) -> None:
    plan = PackedBatches(stream(lengths), context=context, batch_tokens=budget, seed=seed, shuffle=True).epoch(epoch)
    predicted = []
    shapes = set()
    for position, batch in enumerate(plan):
        assert same(batch, plan[position])
        shapes.add(tuple(batch.target_out.shape))
        predicted += batch.target_out[batch.target_out != IGNORE].tolist()
    assert len(predicted) == len(set(predicted)) > 0
    whole = max(1, budget // context) * context
    # A batch's worth, and at both ends of each corpus less than a block.
    assert len(predicted) > sum(lengths) - len(lengths) - whole - 2 * context * len(lengths)
    if sum(lengths) > 3 * whole + 2 * context * len(lengths) and min(lengths) > context:
        assert shapes == {(max(1, budget // context), context)}


def test_blocks_begin_elsewhere_each_epoch() -> None:
    batches = PackedBatches(stream([1000]), context=50, batch_tokens=50, seed=1, shuffle=True)
    starts = {batch.target_in[0, 0].item() % 50 for epoch in range(10) for batch in [batches.epoch(epoch)[0]]}  # type: ignore[index]
    assert len(starts) > 5


@settings(max_examples=20)
@given(weight=st.sampled_from([0.5, 2.0]))
def test_stream_weights(weight: float) -> None:
    batches = PackedBatches(
        stream([201, 201]), context=10, batch_tokens=10, seed=1, shuffle=False, weights=[1.0, weight]
    )
    tokens = [token for batch in batches.epoch(0) for token in batch.target_out.flatten().tolist()]
    assert sum(token < 201 for token in tokens) == 200
    assert sum(token >= 201 for token in tokens) == 200 * weight


@given(sides=SIDES.filter(lambda sides: len(sides) > 4), seed=st.integers(0, 3), block=st.integers(1, 20))
def test_pools_do_not_depend_on_how_they_are_looked_for(sides: list[tuple[int, int]], seed: int, block: int) -> None:
    def found() -> list[list[int]]:
        plan = PairBatches([dataset(sides)], batch_tokens=20, seed=seed, shuffle=True).epoch(0)
        return [plan.examples(position).tolist() for position in range(len(plan))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "POOL_BATCHES", 3)
        at_once = found()
        patch.setattr(batching, "BLOCK", block)
        assert found() == at_once


@pytest.mark.slow
def test_an_epoch_of_millions_takes_seconds_and_little_memory() -> None:
    made = np.random.default_rng(1)
    lengths = np.clip(np.exp(made.normal(2.8, 0.45, 100_000)), 1, 120).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    pieces = [(np.zeros(offsets[-1], np.int16), offsets)] * 20
    text = TokenDataset(Rows(pieces), Rows(pieces), task=Task.translation, drops=DropCounts())
    batches = PairBatches([text], batch_tokens=4096, seed=1, shuffle=True)
    tracemalloc.start()
    plan = batches.epoch(3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(plan) > 2_000_000 * 15 / 4096
    # The order takes 8 bytes for each pair, and another 8 for a moment while it is filled; the rest does not grow.
    assert peak < 2_000_000 * 16 + (1 << 26)
    started = time.process_time()
    batches.epoch(4)
    assert time.process_time() - started < 10  # seconds; half of one here

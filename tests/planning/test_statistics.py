import random
import statistics
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.configure import run_config
from seq2seq.data.batch import IGNORE
from seq2seq.data.prepare import prepare
from seq2seq.data.tokenizer import PAD
from seq2seq.planning.statistics import corpus_statistics, epoch_shape, lengths_of
from seq2seq.scoring import training_batches


@given(st.lists(st.integers(1, 100), min_size=1, max_size=50))
def test_lengths_of_lines(tokens: list[int]) -> None:
    found = lengths_of(np.array(tokens, np.int32))
    assert (found.tokens, found.longest) == (sum(tokens), max(tokens))
    assert found.mean == pytest.approx(statistics.mean(tokens))
    assert found.median == pytest.approx(statistics.median(tokens))
    assert found.median <= found.percentile_95 <= found.percentile_99 <= found.longest


def test_percentiles_of_a_hundred_and_one_lines() -> None:
    tokens = list(range(101))
    random.Random(1).shuffle(tokens)
    found = lengths_of(np.array(tokens, np.int32))
    assert (found.median, found.percentile_95, found.percentile_99, found.longest) == (50, 95, 99, 100)


@pytest.mark.parametrize("task", ["translation", "language_modelling", "classification", "tagging"])
@pytest.mark.parametrize("batch_tokens", [64, 300])
def test_an_epoch_is_counted_without_making_it(
    tiny_run: Callable[..., list[str]], task: str, batch_tokens: int
) -> None:
    """Every figure against the batches themselves."""
    config = run_config(tiny_run(task, f"training.batch_tokens={batch_tokens}"), "test")
    prepared = prepare(config)
    batches = training_batches(config, prepared)
    plan = batches.epoch(0)
    shape = epoch_shape(batches, plan)
    made = [plan[position] for position in range(len(plan))]

    padded, real = [], 0
    for batch in made:
        if batch.source is not None:
            real += int((batch.source != PAD).sum())
            padded.append(batch.source.numel() + (batch.target_in.numel() if batch.target_in is not None else 0))
        else:
            padded.append(batch.target_out.numel())
        real += batch.num_tokens if batch.target_in is not None else 0
    assert shape.batches == len(made)
    assert (shape.rows * shape.lengths).tolist() == padded
    assert shape.tokens == real
    assert shape.padding == pytest.approx(1 - real / sum(padded))
    assert max(padded) == padded[shape.worst()[0]]
    predicted = sum(batch.num_tokens for batch in made)
    assert shape.target_tokens == (pytest.approx(predicted, rel=0.01) if task == "tagging" else predicted)
    longest = max(batch.target_out.shape[-1] if batch.source is None else _longest(batch) for batch in made)
    assert int(shape.longest[shape.worst()].max()) == longest


def _longest(batch: object) -> int:
    sides = [getattr(batch, name) for name in ("source", "target_in")]
    return max(side.shape[1] for side in sides if isinstance(side, torch.Tensor))


def test_a_language_models_short_text_has_padding(tiny_run: Callable[..., list[str]]) -> None:
    config = run_config(tiny_run("language_modelling", "model.max_length=2000", lines=20), "test")
    prepared = prepare(config)
    batches = training_batches(config, prepared)
    shape = epoch_shape(batches, batches.epoch(0))
    (batch,) = [batches.epoch(0)[0]]
    assert shape.tokens == shape.target_tokens == batch.num_tokens == len(prepared.train) - 1


def test_the_corpus_in_numbers(tiny_run: Callable[..., list[str]]) -> None:
    words = tiny_run("translation", "data.max_length=20")
    config = run_config(words, "test")
    prepared = prepare(config)
    batches = training_batches(config, prepared)
    found = corpus_statistics(prepared, task=config.task, epoch=epoch_shape(batches, batches.epoch(0)))
    with open(config.data.train, encoding="utf-8") as file:
        pairs = [line.rstrip("\n").split("\t") for line in file]
    lengths = [len(source) + 1 for source, _ in pairs]  # a token is a character
    kept = [length for length in lengths if length <= 20]
    assert 0 < len(kept) < len(pairs) == 600
    assert found.dropped == {
        "read": 600,
        "empty": 0,
        "too_long": 600 - len(kept),
        "length_ratio": 0,
        "kept": len(kept),
    }
    assert found.examples == len(kept)
    assert found.source is not None and found.target is not None
    assert found.source.tokens == found.target.tokens == sum(kept)
    assert found.tokens == 2 * sum(kept)
    assert found.source.longest == max(kept)


def test_a_taggers_labels_are_counted(tiny_run: Callable[..., list[str]]) -> None:
    config = run_config(tiny_run("tagging"), "test")
    prepared = prepare(config)
    batches = training_batches(config, prepared)
    shape = epoch_shape(batches, batches.epoch(0))
    assert isinstance(prepared.train, list)
    (dataset,) = prepared.train
    labels = sum(int((dataset.target(index) != IGNORE).sum()) for index in range(len(dataset)))
    assert shape.target_tokens == labels
    found = corpus_statistics(prepared, task=config.task, epoch=shape)
    assert found.target is None
    assert found.source is not None and found.tokens == found.source.tokens

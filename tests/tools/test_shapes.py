from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from seq2seq.config import FeedForward, ModelConfig, Positions, Task, TiedEmbeddings
from seq2seq.model.build import build_model
from speed.shapes import SHAPES, TRAINING_PRODUCTS, BatchSizes, Shape, multiply_adds, pair_sizes

ENCODER_DECODER = Shape(2, 3, 32, 48, 4, 4, 40)
LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5)


def config_of(shape: Shape, **others: object) -> ModelConfig:
    config = ModelConfig(
        encoder_layers=shape.encoder_layers,
        decoder_layers=shape.decoder_layers,
        dim=shape.dim,
        feed_forward_dim=shape.feed_forward_dim,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        feed_forward=FeedForward.swiglu if shape.gated else FeedForward.relu,
    )
    for name, value in others.items():
        setattr(config, name, value)
    return config


@pytest.mark.parametrize(
    "shape",
    [ENCODER_DECODER, replace(ENCODER_DECODER, gated=True), replace(ENCODER_DECODER, num_heads=8, num_kv_heads=2)],
    ids=["plain", "gated", "grouped"],
)
def test_counts_what_torch_counts_of_an_encoder_decoder(shape: Shape) -> None:
    model: nn.Module = build_model(
        config_of(shape), task=Task.translation, source_vocab_size=shape.outputs, target_vocab_size=shape.outputs
    )
    source, target = torch.randint(4, 40, (3, 7)), torch.randint(4, 40, (3, 5))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = model(source, target)
        forward = counter.get_total_flops()
        torch.autograd.backward(logits.sum())
    counted = multiply_adds(shape, pair_sizes([7] * 3, [5] * 3))
    assert forward == 2 * counted
    assert counter.get_total_flops() == 2 * TRAINING_PRODUCTS * counted


def test_counts_what_torch_counts_of_a_language_model() -> None:
    shape = replace(ENCODER_DECODER, encoder_layers=0)
    config = config_of(shape, positions=Positions.rotary, tied_embeddings=TiedEmbeddings.decoder)
    model: nn.Module = build_model(config, task=Task.language_modelling, source_vocab_size=40, target_vocab_size=40)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.randint(4, 40, (3, 5)))
    assert counter.get_total_flops() == 2 * multiply_adds(shape, BatchSizes([], 0, [5] * 3, 5, 15, 15))


def test_counts_what_torch_counts_of_a_classifier() -> None:
    shape = replace(ENCODER_DECODER, decoder_layers=0, outputs=6)
    config = config_of(shape, tied_embeddings=TiedEmbeddings.none)
    model: nn.Module = build_model(config, task=Task.classification, source_vocab_size=40, target_vocab_size=6)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.randint(4, 40, (3, 7)))
    assert counter.get_total_flops() == 2 * multiply_adds(shape, BatchSizes([7] * 3, 7, [], 0, 3, 3))


@given(LENGTHS)
def test_a_batch_is_the_sum_of_its_pairs(lengths: list[tuple[int, int]]) -> None:
    alone = [multiply_adds(ENCODER_DECODER, pair_sizes([source], [target])) for source, target in lengths]
    sources, targets = zip(*lengths, strict=True)
    assert multiply_adds(ENCODER_DECODER, pair_sizes(sources, targets)) == sum(alone)


@given(LENGTHS)
def test_padding_counts_only_as_padding(lengths: list[tuple[int, int]]) -> None:
    sizes = pair_sizes([source for source, _ in lengths], [target for _, target in lengths])
    real, padded = multiply_adds(ENCODER_DECODER, sizes), multiply_adds(ENCODER_DECODER, sizes.padded())
    equal = len(set(sizes.source_lengths)) == len(set(sizes.target_lengths)) == 1
    assert real == padded if equal else real < padded


def test_the_measured_shapes() -> None:
    """6 multiply-adds for each weight of a matrix and token are half of those of the usual 6 N D."""
    shape = SHAPES["base"]
    layers = 6 * (4 * 512**2 + 2 * 512 * 2048) + 6 * (8 * 512**2 + 2 * 512 * 2048)
    one_each = multiply_adds(shape, pair_sizes([1], [1]))
    assert one_each == layers + 512 * 8000 + 2 * 512 * 18  # 18 attentions of one query to one key

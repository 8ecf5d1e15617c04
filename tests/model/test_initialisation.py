"""Weights start as the cited recipes say."""

import math

import pytest
import torch

from seq2seq.config import FeedForward, Initialisation, ModelConfig, Positions, Task, TiedEmbeddings
from seq2seq.model.build import build_model
from seq2seq.model.initialisation import INITIALISATIONS
from seq2seq.model.transformer import EncoderDecoder

DIM, INNER, VOCAB = 128, 256, 1000


def build(initialisation: Initialisation, **changes: object) -> EncoderDecoder:
    torch.manual_seed(1)
    settings = dict(encoder_layers=2, decoder_layers=2, dim=DIM, num_heads=4, feed_forward_dim=INNER)
    config = ModelConfig(**{**settings, "initialisation": initialisation, "positions": Positions.learned, **changes})
    model = build_model(config, task=Task.translation, source_vocab_size=VOCAB, target_vocab_size=VOCAB)
    assert isinstance(model, EncoderDecoder)
    return model


def assert_uniform(weight: torch.Tensor, bound: float) -> None:
    assert weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_the_table_has_the_keys_of_the_setting() -> None:
    assert list(INITIALISATIONS) == [kind.value for kind in Initialisation]


@pytest.mark.parametrize("tied", TiedEmbeddings)
@pytest.mark.parametrize("initialisation", Initialisation)
def test_embeddings_and_biases(initialisation: Initialisation, tied: TiedEmbeddings) -> None:
    model = build(initialisation, tied_embeddings=tied)
    std = DIM**-0.5 if initialisation is Initialisation.xavier else 0.02
    positions = model.encoder.positions.weight
    for weight in (model.source_embedding.weight, model.target_embedding.weight, model.head.weight, positions):
        assert weight.std().item() == pytest.approx(std, rel=0.02)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif "norm" in name:
            assert (parameter == 1).all()


@pytest.mark.parametrize("num_kv_heads", [None, 1])
def test_xavier(num_kv_heads: int | None) -> None:
    layer = build(Initialisation.xavier, num_kv_heads=num_kv_heads).decoder.layers[1]
    for attention in (layer.self_attention, layer.cross_attention):
        for part in attention.input_projections():
            assert_uniform(part, math.sqrt(0.5) * math.sqrt(6 / (DIM + part.shape[0])))
        assert_uniform(attention.output.weight, math.sqrt(6 / (2 * DIM)))
    assert_uniform(layer.feed_forward.widen.weight, math.sqrt(6 / (DIM + INNER)))
    assert_uniform(layer.feed_forward.narrow.weight, math.sqrt(6 / (DIM + INNER)))


def test_xavier_sees_the_two_halves_of_a_gated_block_as_two_matrices() -> None:
    layer = build(Initialisation.xavier, feed_forward=FeedForward.swiglu).encoder.layers[0]
    assert_uniform(layer.feed_forward.gate_widen.weight, math.sqrt(6 / (DIM + INNER)))


def test_gpt2() -> None:
    model = build(Initialisation.gpt2)
    for stack, sublayers in ((model.encoder, 2 * 2), (model.decoder, 3 * 2)):
        layer = stack.layers[0]
        assert layer.self_attention.query_key_value.weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert layer.feed_forward.widen.weight.std().item() == pytest.approx(0.02, rel=0.03)
        for weight in (layer.self_attention.output.weight, layer.feed_forward.narrow.weight):
            assert weight.std().item() == pytest.approx(0.02 / math.sqrt(sublayers), rel=0.03)

"""Forced scores under CTranslate2 with our weights = those under our model, for every kind of layer that it has."""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.config import (
    FeedForward,
    ModelConfig,
    Norm,
    NormPlacement,
    Positions,
    Quantization,
    Task,
    TiedEmbeddings,
)
from seq2seq.data.tokenizer import BOS, EOS, ByteTokenizer, CharacterTokenizer, Tokenizers
from seq2seq.errors import ConfigError
from seq2seq.interop.ctranslate2 import to_ctranslate2
from seq2seq.model.build import build_model
from seq2seq.model.transformer import EncoderDecoder

KINDS = [
    *itertools.product([Positions.sinusoidal, Positions.learned, Positions.rotary], NormPlacement, Norm, [None, 2, 1]),
]


def model_of(config: ModelConfig, tokenizers: Tokenizers, *, task: Task = Task.translation) -> Any:
    torch.manual_seed(5)
    source, target = tokenizers.source.vocab_size, tokenizers.target.vocab_size
    model = build_model(config, task=task, source_vocab_size=source, target_vocab_size=target).eval()
    with torch.no_grad():  # norms and biases too, which start at ones and zeros
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def shape(**changes: Any) -> ModelConfig:
    settings = {"encoder_layers": 2, "decoder_layers": 3, "dim": 32, "num_heads": 4, "feed_forward_dim": 48}
    return ModelConfig(**{**settings, "max_length": 64, **changes})  # type: ignore[arg-type]


def differences(config: ModelConfig, tokenizers: Tokenizers, folder: Path, **options: Any) -> float:
    """By how many nats log-probabilities of the tokens of random pairs differ at most."""
    ctranslate2 = pytest.importorskip("ctranslate2", reason="pip install 'seq2seq[ctranslate2]'")
    model = model_of(config, tokenizers)
    assert isinstance(model, EncoderDecoder)
    to_ctranslate2(model, config, tokenizers, positions=64, **options).save(str(folder))
    theirs = ctranslate2.Translator(str(folder), compute_type="default", intra_threads=1)
    chance = random.Random(7)
    source_ids, target_ids = range(4, tokenizers.source.vocab_size), range(4, tokenizers.target.vocab_size)
    pairs = [(chance.choices(source_ids, k=n), chance.choices(target_ids, k=m)) for n, m in ((3, 11), (9, 4), (20, 17))]
    results = theirs.score_batch(
        [tokenizers.source.pieces(source) for source, _ in pairs],
        [tokenizers.target.pieces(target) for _, target in pairs],
    )
    worst = 0.0
    for (source, target), result in zip(pairs, results, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*source, EOS]]), torch.tensor([[BOS, *target]]))
        ours = logits.log_softmax(dim=-1)[0].gather(1, torch.tensor([*target, EOS]).unsqueeze(1))[:, 0]
        worst = max(worst, float((ours - torch.tensor(result.log_probs)).abs().max()))
    return worst


JOINT = Tokenizers(tokenizer := ByteTokenizer(), tokenizer)


@pytest.mark.parametrize(("positions", "placement", "norm", "num_kv_heads"), KINDS)
def test_kinds_of_layers(
    positions: Positions, placement: NormPlacement, norm: Norm, num_kv_heads: int | None, tmp_path: Path
) -> None:
    config = shape(positions=positions, norm_placement=placement, norm=norm, num_kv_heads=num_kv_heads)
    config.feed_forward = FeedForward.swiglu if norm is Norm.rms_norm else FeedForward.relu
    assert differences(config, JOINT, tmp_path) < 1e-4


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("feed_forward", FeedForward)
def test_kinds_of_feed_forward(feed_forward: FeedForward, bias: bool, tmp_path: Path) -> None:
    config = shape(feed_forward=feed_forward, bias=bias, scale_embeddings=bias, tied_embeddings=TiedEmbeddings.none)
    assert differences(config, JOINT, tmp_path) < 1e-4


@pytest.mark.parametrize("tied", [TiedEmbeddings.decoder, TiedEmbeddings.none])
def test_two_vocabularies(tied: TiedEmbeddings, tmp_path: Path) -> None:
    tokenizers = Tokenizers(ByteTokenizer(), CharacterTokenizer("abcdefghij \n\t\u2028é東"))
    assert differences(shape(tied_embeddings=tied), tokenizers, tmp_path) < 1e-4


def test_shorter_numbers_are_coarser_and_smaller(tmp_path: Path) -> None:
    found = {}
    for quantization in (Quantization.float32, Quantization.int8, Quantization.int16):
        folder = tmp_path / quantization.value
        folder.mkdir()
        worst = differences(shape(dim=64), JOINT, folder, quantization=quantization)
        found[quantization] = worst, (folder / "model.bin").stat().st_size
    assert 1e-4 < found[Quantization.int8][0] < 1 and found[Quantization.float32][0] < found[Quantization.int8][0]
    assert found[Quantization.int8][1] < 0.5 * found[Quantization.float32][1]
    assert found[Quantization.int8][1] < found[Quantization.int16][1] < found[Quantization.float32][1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"positions": Positions.alibi}, "model.positions=alibi"), ({"attention_window": 4}, "model.attention_window=4")],
)
def test_what_it_cannot_have_is_named(changes: dict[str, Any], message: str) -> None:
    pytest.importorskip("ctranslate2", reason="pip install 'seq2seq[ctranslate2]'")
    config = shape(**changes)
    with pytest.raises(ConfigError, match=message):
        to_ctranslate2(model_of(config, JOINT), config, JOINT, positions=64)


def test_only_translators() -> None:
    pytest.importorskip("ctranslate2", reason="pip install 'seq2seq[ctranslate2]'")
    config = shape(encoder_layers=0)
    with pytest.raises(ConfigError, match="task=translation"):
        to_ctranslate2(model_of(config, JOINT, task=Task.language_modelling), config, JOINT, positions=64)

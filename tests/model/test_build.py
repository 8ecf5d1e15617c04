"""From settings to a model: ties, refusals, what a saved state keeps."""

import pytest
import torch

from seq2seq.config import ModelConfig, Positions, Task, TiedEmbeddings
from seq2seq.configure import check, register_schemas
from seq2seq.errors import ConfigError
from seq2seq.model.build import build_model
from seq2seq.model.transformer import EncoderDecoder, LanguageModel

SMALL = dict(encoder_layers=2, decoder_layers=3, dim=16, num_heads=4, feed_forward_dim=20, max_length=32)


def translation(tied: TiedEmbeddings, source: int = 23, target: int = 23, **changes: object) -> EncoderDecoder:
    config = ModelConfig(**{**SMALL, "tied_embeddings": tied, **changes})
    model = build_model(config, task=Task.translation, source_vocab_size=source, target_vocab_size=target)
    assert isinstance(model, EncoderDecoder)
    return model


def ties(model: EncoderDecoder) -> tuple[bool, bool]:
    return (
        model.source_embedding.weight is model.target_embedding.weight,
        model.head.weight is model.target_embedding.weight,
    )


@pytest.mark.parametrize(
    ("tied", "expected"),
    [
        (TiedEmbeddings.all, (True, True)),
        (TiedEmbeddings.decoder, (False, True)),
        (TiedEmbeddings.none, (False, False)),
    ],
)
def test_ties_are_one_parameter_and_survive_saving(tied: TiedEmbeddings, expected: tuple[bool, bool]) -> None:
    model, other = translation(tied), translation(tied)
    assert ties(model) == expected
    other.load_state_dict(model.state_dict())
    assert ties(other) == expected
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    with torch.no_grad():
        other.target_embedding.weight.add_(1)
    assert torch.equal(other.head.weight, other.target_embedding.weight) == expected[1]


def test_a_language_model_ties_its_one_embedding() -> None:
    for tied in TiedEmbeddings:
        config = ModelConfig(**{**SMALL, "encoder_layers": 0, "tied_embeddings": tied})
        model = build_model(config, task=Task.language_modelling, source_vocab_size=0, target_vocab_size=29)
        assert isinstance(model, LanguageModel)
        assert (model.head.weight is model.embedding.weight) == (tied is not TiedEmbeddings.none)
        assert model.head.weight.shape == (29, 16)


def test_depths_and_names() -> None:
    model = translation(TiedEmbeddings.all, positions=Positions.learned)
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (2, 3)
    names = set(model.state_dict())
    assert {
        "source_embedding.weight",
        "target_embedding.weight",
        "head.weight",
        "encoder.positions.weight",
        "encoder.layers.0.self_attention.query_key_value.weight",
        "encoder.layers.1.feed_forward.widen.weight",
        "encoder.final_norm.weight",
        "decoder.layers.2.cross_attention.key_value.weight",
        "decoder.layers.2.cross_attention_norm.bias",
    } <= names


@pytest.mark.parametrize("task", [Task.classification, Task.tagging])
def test_labels_are_the_target_vocabulary(task: Task) -> None:
    config = ModelConfig(**{**SMALL, "decoder_layers": 0})
    model = build_model(config, task=task, source_vocab_size=23, target_vocab_size=5)
    assert model.head.weight.shape == (5, 16) and model.head.bias is not None


@pytest.mark.parametrize(
    ("task", "changes", "target", "message"),
    [
        (Task.translation, {"decoder_layers": 0}, 23, "model.decoder_layers is 0"),
        (Task.language_modelling, {"decoder_layers": 0}, 23, "task=language_modelling needs a decoder"),
        (Task.tagging, {"encoder_layers": 0}, 5, "task=tagging needs an encoder"),
        (Task.translation, {}, 31, "the source has 23 entries and the target 31; set tokenizer.joint=true"),
    ],
)
def test_what_does_not_fit_is_refused(task: Task, changes: dict[str, int], target: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(ModelConfig(**{**SMALL, **changes}), task=task, source_vocab_size=23, target_vocab_size=target)


def test_settings_reach_the_model() -> None:
    model = translation(TiedEmbeddings.all, num_kv_heads=2, attention_window=3, dropout=0.2, bias=False)
    attention = model.encoder.layers[1].self_attention
    assert (attention.num_heads, attention.num_kv_heads, attention.output.bias) == (4, 2, None)
    assert model.decoder.windows == [3, 3, 3]
    assert model.decoder.layers[0].residual.dropout.probability == 0.2
    assert model.embedding_scale == 4.0
    assert translation(TiedEmbeddings.all, scale_embeddings=False).embedding_scale == 1.0


def multiplications(name: str, **changes: object) -> tuple[EncoderDecoder, int]:
    """conf/model/NAME.yaml with a vocabulary of 200, and the multiplications of its layers' matrices for a token."""
    register_schemas()
    overrides = ["data.train=a", "data.valid=b", f"model={name}", *(f"model.{key}={to}" for key, to in changes.items())]
    config = check("train", overrides).model
    model = build_model(config, task=Task.translation, source_vocab_size=200, target_vocab_size=200)
    assert isinstance(model, EncoderDecoder)
    layers = (*model.encoder.layers, *model.decoder.layers)
    return model, sum(weight.numel() for layer in layers for weight in layer.parameters() if weight.dim() == 2)


def test_the_deep_encoder_costs_what_small_costs() -> None:
    (small, cost), (deep, deep_cost) = multiplications("small"), multiplications("deep_encoder")
    assert (len(deep.encoder.layers), len(deep.decoder.layers)) == (6, 1)
    assert 0.95 < deep_cost / cost < 1.05
    assert (
        deep.encoder.layers[0].feed_forward.state_dict().keys()
        == small.encoder.layers[0].feed_forward.state_dict().keys()
    )


@pytest.mark.parametrize("tied", TiedEmbeddings)
@pytest.mark.parametrize(("encoder_layers", "decoder_layers"), [(6, 1), (5, 2), (1, 4)])
def test_depths_and_ties_compose(tied: TiedEmbeddings, encoder_layers: int, decoder_layers: int) -> None:
    """Every parameter learns, and translating step by step sees what training sees."""
    changes = {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers, "dim": 16, "num_heads": 2}
    model, _ = multiplications("deep_encoder", tied_embeddings=tied.value, feed_forward_dim=20, **changes)
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (encoder_layers, decoder_layers)
    model.eval()
    source, target = torch.randint(4, 200, (2, 5)), torch.randint(4, 200, (2, 4))
    logits = model(source, target)
    logits.logsumexp(-1).sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    state = model.start(source)
    for position in range(4):
        step = model.step(target[:, position : position + 1], state)
        torch.testing.assert_close(step, logits[:, position], rtol=1e-4, atol=1e-5)

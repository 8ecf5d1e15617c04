"""Parity with Hugging Face: random models with copied weights give the same logits."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from seq2seq.interop.huggingface import from_gpt2, from_marian, gpt2_config, marian_config

transformers = pytest.importorskip("transformers")

VOCAB = 61


def randomise(module: nn.Module) -> None:
    """Norms and biases too, which start at ones and zeros; fixed position tables stay."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)


def gpt2(**changes):
    settings = dict(vocab_size=VOCAB, n_positions=24, n_embd=32, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=2)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**settings, **changes})).eval()
    randomise(model)
    return model


def marian(**changes):
    settings = dict(
        vocab_size=VOCAB,
        d_model=32,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=64,
        scale_embedding=True,
        pad_token_id=0,
        decoder_start_token_id=0,
        eos_token_id=2,
    )
    model = transformers.MarianMTModel(transformers.MarianConfig(**{**settings, **changes})).eval()
    randomise(model)
    model.final_logits_bias.normal_()
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation_function": "relu", "n_inner": 40},
        {"activation_function": "gelu", "tie_word_embeddings": False},
        {"activation_function": "silu", "n_head": 2},
    ],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_gpt2(changes: dict[str, object], dtype: torch.dtype, tolerance: float) -> None:
    theirs = gpt2(**changes).to(dtype)
    ours = from_gpt2(theirs)
    tokens = torch.randint(VOCAB, (5, 24))
    with torch.no_grad():
        expected, logits = theirs(tokens).logits, ours(tokens)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=tolerance)
    assert (ours.head.weight is ours.embedding.weight) == changes.get("tie_word_embeddings", True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation_function": "relu", "scale_embedding": False},
        {"activation_function": "swish"},
        {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 53},
    ],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
def test_marian(changes: dict[str, object], dtype: torch.dtype, tolerance: float) -> None:
    theirs = marian(**changes).to(dtype)
    ours = from_marian(theirs)
    source = torch.randint(VOCAB, (4, 11))
    real = torch.arange(11) < torch.tensor([[11], [3], [8], [1]])
    target = torch.randint(53, (4, 9))
    with torch.no_grad():
        expected = theirs(input_ids=source, attention_mask=real.long(), decoder_input_ids=target).logits
        logits = ours(source, target, source_mask=real)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_norm_epsilon": 1e-6},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"add_cross_attention": True},
        {"activation_function": "tanh"},
    ],
)
def test_a_gpt2_setting_without_counterpart_is_named(changes: dict[str, object]) -> None:
    config = transformers.GPT2Config(**changes)
    with pytest.raises(ValueError, match=next(iter(changes))):
        gpt2_config(config)


@pytest.mark.parametrize(
    "changes", [{"decoder_attention_heads": 8}, {"decoder_ffn_dim": 99}, {"activation_function": "quick_gelu"}]
)
def test_a_marian_setting_without_counterpart_is_named(changes: dict[str, object]) -> None:
    settings = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    config = SimpleNamespace(
        **{**vars(transformers.MarianConfig()), "share_encoder_decoder_embeddings": True, **settings, **changes}
    )
    with pytest.raises(ValueError, match=next(iter(changes))):
        marian_config(config)

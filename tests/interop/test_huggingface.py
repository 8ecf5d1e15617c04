"""Parity with Hugging Face: random models with copied weights give the same logits, and ours the same translations."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from seq2seq.config import FeedForward, ModelConfig, NormPlacement, Positions, Task, TiedEmbeddings
from seq2seq.data.tokenizer import BOS, EOS, PAD, UNK
from seq2seq.decoding import beam_search
from seq2seq.interop.huggingface import from_gpt2, from_marian, gpt2_config, marian_config, marian_settings, to_marian
from seq2seq.model.build import build_model
from seq2seq.model.transformer import EncoderDecoder

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


def ours(config: ModelConfig, *, target_vocab: int = VOCAB, dtype: torch.dtype = torch.float64) -> EncoderDecoder:
    model = build_model(config, task=Task.translation, source_vocab_size=VOCAB, target_vocab_size=target_vocab)
    assert isinstance(model, EncoderDecoder)
    randomise(model)
    return model.to(dtype).eval()


def plain(**changes) -> ModelConfig:
    settings = dict(
        encoder_layers=2,
        decoder_layers=3,
        dim=32,
        num_heads=4,
        feed_forward_dim=48,
        positions=Positions.sinusoidal,
        norm_placement=NormPlacement.post,
        max_length=64,
    )
    return ModelConfig(**{**settings, **changes})


def sentences() -> tuple[torch.Tensor, torch.Tensor]:
    """Padded source ids, and which are real."""
    real = torch.arange(11) < torch.tensor([[11], [3], [8], [1]])
    return torch.randint(UNK + 1, VOCAB, (4, 11)).masked_fill(~real, PAD), real


@pytest.mark.parametrize(
    ("config", "target_vocab"),
    [
        (plain(), VOCAB),
        (plain(feed_forward=FeedForward.gelu, scale_embeddings=False), VOCAB),
        (plain(feed_forward=FeedForward.gelu_tanh, num_kv_heads=4), VOCAB),
        (plain(feed_forward=FeedForward.silu, tied_embeddings=TiedEmbeddings.decoder), 53),
        (plain(tied_embeddings=TiedEmbeddings.none), 53),
    ],
    ids=["relu", "gelu", "tanh", "decoder tied", "untied"],
)
@pytest.mark.parametrize("head_bias", [False, True])
def test_to_marian(config: ModelConfig, target_vocab: int, head_bias: bool, tmp_path: Path) -> None:
    model = ours(config, target_vocab=target_vocab)
    if head_bias:
        model.head.bias = nn.Parameter(torch.randn(target_vocab, dtype=torch.float64))
    theirs = to_marian(model, config)
    source, real = sentences()
    target = torch.randint(target_vocab, (4, 9))
    with torch.no_grad():
        logits = theirs(input_ids=source, attention_mask=real.long(), decoder_input_ids=target).logits
        expected = model(source, target, source_mask=real)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)  # their position table is made in float32
    back = from_marian(theirs)
    for name, weight in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], weight), name
    theirs.save_pretrained(tmp_path)
    read = transformers.MarianMTModel.from_pretrained(tmp_path, dtype=torch.float64)
    with torch.no_grad():
        again = read(input_ids=source, attention_mask=real.long(), decoder_input_ids=target).logits
    torch.testing.assert_close(again, logits, rtol=0, atol=1e-12)
    assert read.generation_config.decoder_start_token_id == BOS


@pytest.mark.parametrize("beam_size", [1, 4])
def test_marian_generates_what_ours_does(beam_size: int) -> None:
    torch.manual_seed(1)
    model = ours(plain())
    with torch.no_grad():  # random embeddings let outputs end only here
        model.head.bias = nn.Parameter(torch.zeros(VOCAB, dtype=torch.float64))
        model.head.bias[EOS] += 5.0
        model.head.bias[[PAD, BOS, UNK]] += 6.0  # wanted, and never written
    source, real = sentences()
    found = beam_search(
        model,
        model.start(source, source_mask=real),
        torch.full((4, 1), BOS),
        eos_id=EOS,
        forbidden_ids=(PAD, BOS, UNK),
        max_length=12,
        beam_size=beam_size,
    )
    written = to_marian(model, plain()).generate(
        input_ids=source,
        attention_mask=real.long(),
        num_beams=beam_size,
        do_sample=False,
        max_new_tokens=12,
        **({"early_stopping": "never", "length_penalty": 1.0} if beam_size > 1 else {}),
    )
    lengths = set()
    for row, hypotheses in zip(written.tolist(), found.hypotheses, strict=True):
        tokens = [*hypotheses[0].tokens, *([EOS] if hypotheses[0].finished else [])]
        lengths.add(len(tokens))
        assert row[: len(tokens) + 1] == [BOS, *tokens]
        assert set(row[len(tokens) + 1 :]) <= {PAD, EOS}  # what theirs fills up with
    assert lengths != {12}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoder_layers", 0),
        ("positions", Positions.rotary),
        ("norm", "rms_norm"),
        ("norm_placement", NormPlacement.pre),
        ("bias", False),
        ("attention_window", 3),
        ("num_kv_heads", 2),
        ("feed_forward", FeedForward.swiglu),
    ],
)
def test_a_setting_of_ours_without_counterpart_is_named(name: str, value: object) -> None:
    config = plain()
    model = ours(config)
    setattr(config, name, value)
    with pytest.raises(ValueError, match=rf"^{name}=\S+ has no counterpart"):
        marian_settings(model, config)

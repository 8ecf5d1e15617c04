"""Parity with torch.nn in float64, forward and backward; the weights are copied by the functions under test."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seq2seq.interop.torch_nn import load_torch, store_torch
from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.decoder import Decoder
from seq2seq.model.encoder import Encoder
from seq2seq.model.layers import DecoderLayer, EncoderLayer, LayerSpec

DIM, HEADS, INNER, LAYERS = 32, 4, 48, 3
BATCH, SOURCE, TARGET = 3, 7, 5
REAL = torch.arange(SOURCE) < torch.tensor([[SOURCE], [2], [4]])  # (batch, source_length)
CAUSAL = nn.Transformer.generate_square_subsequent_mask(TARGET, dtype=torch.float64)

placements = pytest.mark.parametrize("placement", ["pre", "post"])
activations = pytest.mark.parametrize("activation", ["relu", "gelu"])
biases = pytest.mark.parametrize("bias", [True, False])


def spec(placement: str = "pre", activation: str = "relu", *, bias: bool = True, **changes: object) -> LayerSpec:
    settings = {"dim": DIM, "num_heads": HEADS, "feed_forward_dim": INNER, "bias": bias}
    return LayerSpec(**{**settings, "norm_placement": placement, "feed_forward": activation, **changes})


def randomise(module: nn.Module) -> None:
    """Norms and biases too, which torch starts at ones and zeros."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)


def torch_layer(kind: type[nn.Module], placement: str, activation: str, bias: bool) -> nn.Module:
    layer = kind(
        DIM,
        HEADS,
        dim_feedforward=INNER,
        dropout=0.0,
        activation=activation,
        batch_first=True,
        norm_first=placement == "pre",
        bias=bias,
        dtype=torch.float64,
    )
    randomise(layer)
    return layer


def assert_same(
    ours: nn.Module, theirs: nn.Module, our_output: Tensor, their_output: Tensor, inputs: list[Tensor], real: Tensor
) -> None:
    """Same outputs where `real`, and same gradients of inputs and of every parameter, to 1e-10."""
    close = dict(rtol=0.0, atol=1e-10)
    torch.testing.assert_close(our_output[real], their_output[real], **close)
    weights = torch.randn_like(their_output) * real[..., None]
    their_input_grads = torch.autograd.grad((their_output * weights).sum(), inputs, retain_graph=True)
    our_input_grads = torch.autograd.grad((our_output * weights).sum(), inputs, retain_graph=True)
    for our_grad, their_grad in zip(our_input_grads, their_input_grads, strict=True):
        torch.testing.assert_close(our_grad, their_grad, **close)
    # Gradients of parameters: put each side's into a module of the torch kind and compare by torch's names.
    (our_output * weights).sum().backward(inputs=list(ours.parameters()))
    (their_output * weights).sum().backward(inputs=list(theirs.parameters()))
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    with torch.no_grad():
        for parameter in ours.parameters():
            assert parameter.grad is not None
            parameter.copy_(parameter.grad)
        store_torch(ours, theirs)
    assert len(expected) == len(list(theirs.parameters())) > 0
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(parameter, expected[name], **close, msg=lambda text, name=name: f"{name}: {text}")


def sequences() -> tuple[Tensor, Tensor]:
    source = torch.randn(BATCH, SOURCE, DIM, dtype=torch.float64, requires_grad=True)
    target = torch.randn(BATCH, TARGET, DIM, dtype=torch.float64, requires_grad=True)
    return source, target


ALL_TARGETS = torch.ones(BATCH, TARGET, dtype=torch.bool)


@biases
@pytest.mark.parametrize("use", ["self", "padded", "causal", "cross"])
def test_attention(use: str, bias: bool) -> None:
    theirs = nn.MultiheadAttention(DIM, HEADS, batch_first=True, bias=bias, dtype=torch.float64)
    randomise(theirs)
    ours = MultiHeadAttention(DIM, num_heads=HEADS, cross=use == "cross", bias=bias).double()
    load_torch(ours, theirs)
    source, target = sequences()
    mask = REAL[:, None, None, :]
    if use == "cross":
        expected, _ = theirs(target, source, source, key_padding_mask=~REAL)
        assert_same(ours, theirs, ours(target, source, attention_mask=mask), expected, [source, target], ALL_TARGETS)
    elif use == "padded":
        expected, _ = theirs(source, source, source, key_padding_mask=~REAL)
        assert_same(ours, theirs, ours(source, attention_mask=mask), expected, [source], REAL)
    elif use == "causal":
        expected, _ = theirs(target, target, target, attn_mask=CAUSAL, is_causal=True, need_weights=False)
        assert_same(ours, theirs, ours(target, is_causal=True), expected, [target], ALL_TARGETS)
    else:
        expected, _ = theirs(source, source, source)
        assert_same(ours, theirs, ours(source), expected, [source], torch.ones_like(REAL))


@placements
@activations
@biases
def test_encoder_layer(placement: str, activation: str, bias: bool) -> None:
    theirs = torch_layer(nn.TransformerEncoderLayer, placement, activation, bias)
    ours = EncoderLayer(spec(placement, activation, bias=bias)).double()
    load_torch(ours, theirs)
    source, _ = sequences()
    expected = theirs(source, src_key_padding_mask=~REAL)
    assert_same(ours, theirs, ours(source, attention_mask=REAL[:, None, None, :]), expected, [source], REAL)


@placements
@activations
@biases
def test_decoder_layer(placement: str, activation: str, bias: bool) -> None:
    theirs = torch_layer(nn.TransformerDecoderLayer, placement, activation, bias)
    ours = DecoderLayer(spec(placement, activation, bias=bias)).double()
    load_torch(ours, theirs)
    source, target = sequences()
    expected = theirs(target, source, tgt_mask=CAUSAL, memory_key_padding_mask=~REAL, tgt_is_causal=True)
    output = ours(target, source, is_causal=True, memory_mask=REAL[:, None, None, :])
    assert_same(ours, theirs, output, expected, [source, target], ALL_TARGETS)


@placements
def test_encoder(placement: str) -> None:
    layer = torch_layer(nn.TransformerEncoderLayer, placement, "relu", True)
    norm = nn.LayerNorm(DIM, dtype=torch.float64) if placement == "pre" else None
    theirs = nn.TransformerEncoder(layer, LAYERS, norm=norm, enable_nested_tensor=False)
    randomise(theirs)
    ours = Encoder(spec(placement), num_layers=LAYERS).double()
    load_torch(ours, theirs)
    source, _ = sequences()
    expected = theirs(source, src_key_padding_mask=~REAL)
    assert_same(ours, theirs, ours(source, source_mask=REAL), expected, [source], REAL)


@placements
def test_decoder(placement: str) -> None:
    layer = torch_layer(nn.TransformerDecoderLayer, placement, "gelu", True)
    norm = nn.LayerNorm(DIM, dtype=torch.float64) if placement == "pre" else None
    theirs = nn.TransformerDecoder(layer, LAYERS, norm=norm)
    randomise(theirs)
    ours = Decoder(spec(placement, "gelu"), num_layers=LAYERS).double()
    load_torch(ours, theirs)
    source, target = sequences()
    expected = theirs(target, source, tgt_mask=CAUSAL, memory_key_padding_mask=~REAL, tgt_is_causal=True)
    output = ours(target, source, memory_mask=REAL)
    assert_same(ours, theirs, output, expected, [source, target], ALL_TARGETS)


def test_store_then_load_gives_the_weights_back() -> None:
    ours, copy = (EncoderLayer(spec()).double() for _ in range(2))
    randomise(ours)
    theirs = torch_layer(nn.TransformerEncoderLayer, "pre", "relu", True)
    store_torch(ours, theirs)
    load_torch(copy, theirs)
    for name, parameter in ours.state_dict().items():
        torch.testing.assert_close(copy.state_dict()[name], parameter, rtol=0, atol=0)


def mismatches() -> dict[str, tuple[nn.Module, nn.Module]]:
    plain = torch_layer(nn.TransformerEncoderLayer, "pre", "relu", True)
    stack = nn.TransformerEncoder(plain, 2, enable_nested_tensor=False)
    return {
        "counterpart": (EncoderLayer(spec()), nn.Linear(2, 2)),
        "no counterpart": (nn.Linear(2, 2), nn.Linear(2, 2)),
        "norm_first": (EncoderLayer(spec("post")), plain),
        "biases": (EncoderLayer(spec(bias=False)), plain),
        "RMSNorm": (EncoderLayer(spec(norm="rms_norm")), plain),
        "GatedFeedForward": (EncoderLayer(spec(activation="swiglu")), plain),
        "key/value heads": (EncoderLayer(spec(num_kv_heads=2)), plain),
        "without cross-attention": (
            DecoderLayer(spec(), cross=False),
            torch_layer(nn.TransformerDecoderLayer, "pre", "relu", True),
        ),
        "3 layers here, 2 in torch.nn": (Encoder(spec(), num_layers=3), stack),
        "final norm": (Encoder(spec(), num_layers=2), stack),
        r"\(48, 16\) here, \(96, 32\)": (
            MultiHeadAttention(16, num_heads=4),
            nn.MultiheadAttention(DIM, HEADS, batch_first=True),
        ),
        "add_zero_attn": (MultiHeadAttention(DIM, num_heads=4), nn.MultiheadAttention(DIM, HEADS, add_zero_attn=True)),
    }


@pytest.mark.parametrize("message", list(mismatches()))
@pytest.mark.parametrize("copy", [load_torch, store_torch])
def test_modules_that_differ_are_refused(message: str, copy: Callable[[nn.Module, nn.Module], None]) -> None:
    ours, theirs = mismatches()[message]
    before = [parameter.clone() for parameter in [*ours.parameters(), *theirs.parameters()]]
    with pytest.raises(ValueError, match=message):
        copy(ours, theirs)
    for parameter, old in zip([*ours.parameters(), *theirs.parameters()], before, strict=True):
        torch.testing.assert_close(parameter, old, rtol=0, atol=0)

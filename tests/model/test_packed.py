"""Products by oneDNN: the same numbers to rounding, from few kernels, only where they are faster."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from seq2seq.config import FeedForward, ModelConfig, NormPlacement, Positions, Task, TiedEmbeddings
from seq2seq.model import packed
from seq2seq.model.build import build_model
from seq2seq.model.layout import for_few_rows
from seq2seq.model.packed import PackedLinear, onednn_is_faster, round_up
from seq2seq.model.transformer import EncoderDecoder

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")


@settings(max_examples=40)
@given(
    rows=st.integers(0, 150),
    width=st.integers(1, 70),
    outputs=st.integers(1, 70),
    bias=st.booleans(),
    seed=st.integers(0, 2**32),
)
@torch.no_grad()
def test_the_product_is_that_of_the_weight(rows: int, width: int, outputs: int, bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = nn.Linear(width, outputs, bias=bias), torch.randn(rows, width)
    found = PackedLinear(layer)(x)
    expected = x.double() @ layer.weight.double().t() + (layer.bias.double() if bias else 0)
    assert found.dtype == torch.float32 and found.shape == (rows, outputs)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_any_shape_whose_last_axis_is_the_width() -> None:
    layer = nn.Linear(12, 5)
    x = torch.randn(4, 12, 11, 3).permute(0, 2, 3, 1)  # (4, 11, 3, 12), not in one piece
    torch.testing.assert_close(PackedLinear(layer)(x), layer(x), rtol=0, atol=1e-5)


@given(rows=st.integers(1, 100_000))
def test_few_numbers_of_rows_and_little_more_than_asked_for(rows: int) -> None:
    more = round_up(rows)
    assert rows <= more <= max(rows + 7, rows * 9 / 8) and round_up(more) == more


def test_numbers_of_rows_that_kernels_are_made_for() -> None:
    assert len({round_up(rows) for rows in range(1, 1025)}) < 50


def test_gradients_are_those_of_the_weight() -> None:
    layer, x = nn.Linear(6, 4), torch.randn(3, 6, requires_grad=True)
    PackedLinear(layer)(x).sum().backward()
    assert x.grad is not None and layer.weight.grad is not None
    torch.testing.assert_close(x.grad, layer.weight.detach().sum(dim=0).expand(3, 6))


@torch.no_grad()
def test_in_another_number_format_it_computes_with_the_weight() -> None:
    layer, x = PackedLinear(nn.Linear(6, 4)), torch.randn(3, 6)
    expected = layer(x)
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.bfloat16, 0.05), (torch.float32, 0.05)):
        for converted in (layer.to(dtype), copy.deepcopy(layer.to(dtype)), pickle.loads(pickle.dumps(layer.to(dtype)))):
            found = converted(x.to(dtype))
            assert found.dtype == dtype
            torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)
    assert copy.deepcopy(layer.to("meta"))(x.to("meta")).shape == (3, 4)


@torch.no_grad()
def test_a_weight_that_changes_counts() -> None:
    layer, other, x = PackedLinear(nn.Linear(6, 4)), nn.Linear(6, 4), torch.randn(3, 6)
    layer(x)
    layer.load_state_dict(other.state_dict())
    torch.testing.assert_close(layer(x), other(x), rtol=0, atol=1e-6)
    layer.weight.mul_(2.0)
    torch.testing.assert_close(layer(x), F.linear(x, 2 * other.weight, other.bias), rtol=0, atol=1e-6)
    layer.weight = nn.Parameter(torch.zeros(4, 6))
    torch.testing.assert_close(layer(x), other.bias.expand(3, 4))
    for _ in range(20):  # the second may get the memory of the one before the first
        for _ in range(2):
            layer.load_state_dict({"weight": torch.randn(4, 6), "bias": torch.zeros(4)}, assign=True)
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight), rtol=0, atol=1e-5)


def test_without_onednn_all_is_as_ever() -> None:
    program = """
import torch
class Missing:
    def __getattr__(self, name):
        raise AttributeError(name)
torch.ops.mkldnn = Missing()
torch.backends.mkldnn.is_available = lambda: False
from torch import nn
from seq2seq.model.layout import for_few_rows
model = nn.Sequential(nn.Linear(3, 4))
for_few_rows(model)
assert type(model[0]) is nn.Linear
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@torch.no_grad()
def test_a_copy_computes_the_same() -> None:
    layer, x = PackedLinear(nn.Linear(16, 16)), torch.randn(3, 16)
    shallow, deep, pickled = copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    assert shallow.packed is layer.packed and shallow.weight is layer.weight and deep.weight is not layer.weight
    assert all(torch.equal(other(x), layer(x)) for other in (shallow, deep, pickled))


@pytest.mark.parametrize(
    "shape",
    [
        *({"tied_embeddings": tied} for tied in TiedEmbeddings),
        {"num_kv_heads": 1, "feed_forward": FeedForward.swiglu},
        {"positions": Positions.rotary, "norm_placement": NormPlacement.post},
    ],
    ids=str,
)
@torch.no_grad()
def test_a_model_keeps_its_weights_and_its_logits(shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(encoder_layers=1, decoder_layers=2, dim=16, num_heads=2, feed_forward_dim=24, **shape)
    model = build_model(config, task=Task.translation, source_vocab_size=11, target_vocab_size=11).eval()
    assert isinstance(model, EncoderDecoder)
    source, target = torch.randint(11, (11, 5)), torch.randint(11, (11, 4))
    before, weights = model(source, target), {name: weight.clone() for name, weight in model.named_parameters()}
    monkeypatch.setattr("seq2seq.model.layout.onednn_is_faster", lambda: True)
    for_few_rows(model)
    assert not any(type(module) is nn.Linear for module in model.modules())
    torch.testing.assert_close(model(source, target), before, rtol=0, atol=1e-5)
    state = model.start(source)
    steps = [model.step(column, state) for column in target.split(1, dim=1)]
    torch.testing.assert_close(torch.stack(steps, dim=1), before, rtol=0, atol=1e-5)
    assert all(torch.equal(weights[name], weight) for name, weight in model.named_parameters())


@torch.no_grad()
def test_other_number_formats_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seq2seq.model.layout.onednn_is_faster", lambda: True)
    for dtype in (torch.float64, torch.bfloat16):
        model = nn.Sequential(nn.Linear(3, 4)).to(dtype)
        for_few_rows(model)
        assert type(model[0]) is nn.Linear


@pytest.mark.parametrize(
    ("vendor", "capability", "expected"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("HygonGenuine", "AVX512", True),
        ("GenuineIntel", "AVX512", False),
        ("AuthenticAMD", "AVX2", False),
        ("", "AVX512", False),
    ],
)
def test_which_cpus_it_is_for(vendor: str, capability: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.backends.mkl.is_available():
        expected = False
    monkeypatch.setattr(packed, "_vendor", lambda: vendor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert onednn_is_faster.__wrapped__() is expected


def test_the_maker_is_read_where_the_system_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n", encoding="utf-8")
    monkeypatch.setattr(packed, "CPUINFO", told)
    assert packed._vendor() == "AuthenticAMD"
    told.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n", encoding="utf-8")
    assert packed._vendor() == ""
    monkeypatch.setattr(packed, "CPUINFO", tmp_path / "missing")
    monkeypatch.setattr("platform.processor", lambda: "AMD64 Family 25 Model 80 Stepping 0, AuthenticAMD")
    assert packed._vendor() == "AuthenticAMD"

"""One token at a time: the quick way is taken, gives what the modules give, and leaves the way to whoever looks in.

That it equals the whole in every combination of settings is stated in test_transformer.py.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seq2seq.model.decoder import Decoder
from seq2seq.model.layers import LayerSpec
from seq2seq.model.state import DecodingState
from seq2seq.model.step import LayerStep

TOKENS = torch.randn(2, 4, 8, dtype=torch.float64)
MEMORY = torch.randn(2, 5, 8, dtype=torch.float64)
REAL = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


@pytest.fixture
def decoder() -> Decoder:
    spec = LayerSpec(dim=8, num_heads=2, feed_forward_dim=16, dropout=0.5)
    return Decoder(spec, num_layers=2, positions="rotary").double().eval()


@pytest.fixture
def quick_calls(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Grows with each call of the quick way."""
    calls: list[Tensor] = []
    original = LayerStep.__call__

    def call(self: LayerStep, x: Tensor, **given: object) -> Tensor:
        calls.append(x)
        return original(self, x, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(LayerStep, "__call__", call)
    return calls


@torch.no_grad()
def decoded(decoder: Decoder, before_step: Callable[[DecodingState], None] = lambda state: None) -> Tensor:
    """Outputs of all positions, read one after another."""
    state = decoder.start(2, MEMORY, memory_mask=REAL)
    outputs = []
    for position in range(TOKENS.shape[1]):
        before_step(state)
        outputs.append(decoder.step(TOKENS[:, position : position + 1], state))
    return torch.cat(outputs, dim=1)


def test_the_quick_way_is_taken_and_gives_what_the_modules_give(decoder: Decoder, quick_calls: list[Tensor]) -> None:
    found = decoded(decoder)
    assert len(quick_calls) == 4 * 2
    torch.testing.assert_close(found, decoder(TOKENS, MEMORY, memory_mask=REAL), rtol=0, atol=1e-12)


def test_weights_are_seen_by_whoever_watches_from_any_step_on(decoder: Decoder, quick_calls: list[Tensor]) -> None:
    expected = decoded(decoder)
    quick_calls.clear()
    seen: list[Tensor] = []
    attention = decoder.layers[1].cross_attention

    def watch_later(state: DecodingState) -> None:
        if state.length == 2:
            attention.watch = seen.append

    torch.testing.assert_close(decoded(decoder, watch_later), expected, rtol=0, atol=1e-12)
    assert [weights.shape for weights in seen] == [(2, 2, 1, 5)] * 2 and len(quick_calls) == 2 * 2


def test_hooks_are_called(decoder: Decoder, quick_calls: list[Tensor]) -> None:
    expected = decoded(decoder)
    quick_calls.clear()
    called: list[str] = []
    hook = decoder.layers[0].feed_forward.register_forward_hook(lambda *given: called.append("hook"))
    torch.testing.assert_close(decoded(decoder), expected, rtol=0, atol=1e-12)
    assert called == ["hook"] * 4 and not quick_calls
    hook.remove()
    decoded(decoder)
    assert quick_calls


def test_dropout_acts_while_training(decoder: Decoder, quick_calls: list[Tensor]) -> None:
    decoder.train()
    assert not torch.equal(decoded(decoder), decoded(decoder)) and not quick_calls


def test_weights_that_change_in_place_count(decoder: Decoder) -> None:
    state = decoder.start(2, MEMORY)
    decoder.step(TOKENS[:, :1], state)
    with torch.no_grad():
        for parameter in decoder.final_norm.parameters():
            parameter.zero_()
        for parameter in decoder.layers[1].feed_forward.narrow.parameters():
            parameter.fill_(1.0)
    fresh = decoder.start(2, MEMORY)
    decoder.step(TOKENS[:, :1], fresh)
    torch.testing.assert_close(decoder.step(TOKENS[:, 1:2], state), decoder.step(TOKENS[:, 1:2], fresh))

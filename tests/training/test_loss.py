from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.training import head_in_chunks
from seq2seq.training.loss import IGNORE, batch_loss, features_of, linear_cross_entropy

VOCAB, DIM = 11, 6


def inputs(*shape: int, dtype: torch.dtype = torch.float64, bias: bool = True) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(5)

    def leaf(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    targets = torch.randint(VOCAB, shape, generator=generator)
    targets[..., -1] = IGNORE
    return {
        "hidden": leaf(*shape, DIM),
        "weight": leaf(VOCAB, DIM),
        "bias": leaf(VOCAB) if bias else None,
        "targets": targets,
    }


def reference(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float) -> Tensor:
    logits = F.linear(hidden, weight, bias).flatten(0, -2)
    return F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORE, label_smoothing=smoothing, reduction="sum")


def gradients(loss: Tensor, parts: dict[str, Any]) -> list[Tensor]:
    leaves = [part for part in parts.values() if isinstance(part, Tensor) and part.requires_grad]
    return list(torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (4, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("chunk_rows", [1, 4, 1000])
def test_equals_torch(
    monkeypatch: pytest.MonkeyPatch, smoothing: float, bias: bool, shape: tuple[int, ...], chunk_rows: int
) -> None:
    monkeypatch.setattr(head_in_chunks, "CHUNK_ELEMENTS", chunk_rows * VOCAB)
    parts = inputs(*shape, bias=bias)
    smoothed, nats = linear_cross_entropy(**parts, label_smoothing=smoothing)
    expected = reference(*parts.values(), smoothing)
    torch.testing.assert_close(smoothed, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(nats, reference(*parts.values(), 0.0).detach(), rtol=1e-12, atol=1e-12)
    # a factor that is not 1 shows that the incoming gradient is used
    ours, theirs = gradients(smoothed / 7, parts), gradients(expected / 7, parts)
    assert len(ours) == 2 + bias
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradients_by_finite_differences(monkeypatch: pytest.MonkeyPatch, smoothing: float) -> None:
    monkeypatch.setattr(head_in_chunks, "CHUNK_ELEMENTS", 3 * VOCAB)
    parts = inputs(5)
    leaves = (parts["hidden"], parts["weight"], parts["bias"])
    assert torch.autograd.gradcheck(
        lambda *three: linear_cross_entropy(*three, parts["targets"], label_smoothing=smoothing)[0], leaves
    )


def test_a_weight_that_is_also_the_embedding_gets_both_gradients() -> None:
    parts = inputs(6, bias=False)
    weight, ids = parts["weight"], torch.tensor([1, 4, 4, 2, 0, 3])
    ours = torch.autograd.grad(linear_cross_entropy(weight[ids], weight, None, parts["targets"])[0], weight)[0]
    theirs = torch.autograd.grad(reference(weight[ids], weight, None, parts["targets"], 0.0), weight)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_frozen_parts_get_no_gradient() -> None:
    parts = inputs(4)
    parts["weight"].requires_grad_(False)
    parts["bias"].requires_grad_(False)
    linear_cross_entropy(**parts)[0].backward()
    assert parts["hidden"].grad is not None
    assert parts["weight"].grad is None and parts["bias"].grad is None


def test_second_derivatives_are_refused() -> None:
    parts = inputs(4)
    (gradient,) = torch.autograd.grad(linear_cross_entropy(**parts)[0] ** 2, parts["hidden"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_without_gradients_none_are_computed(monkeypatch: pytest.MonkeyPatch, guard: Any) -> None:
    parts = inputs(3, 4)
    expected = linear_cross_entropy(**parts, label_smoothing=0.1)
    monkeypatch.setattr(Tensor, "scatter_add_", lambda *_: pytest.fail("made a gradient that nobody asked for"))
    with guard():
        found = linear_cross_entropy(**parts, label_smoothing=0.1)
    assert not found[0].requires_grad
    torch.testing.assert_close(found[0], expected[0].detach())
    torch.testing.assert_close(found[1], expected[1])


def test_only_the_smoothed_loss_has_a_gradient() -> None:
    smoothed, nats = linear_cross_entropy(**inputs(4))
    assert smoothed.requires_grad and not nats.requires_grad


def test_no_target_that_counts() -> None:
    parts = inputs(3, 4)
    parts["targets"].fill_(IGNORE)
    smoothed, nats = linear_cross_entropy(**parts, label_smoothing=0.1)
    assert smoothed.item() == nats.item() == 0
    assert all(not gradient.any() for gradient in gradients(smoothed, parts))


def test_ignored_rows_change_nothing_whatever_they_hold() -> None:
    parts = inputs(3, 4)
    expected = linear_cross_entropy(**parts)[0]
    with torch.no_grad():
        parts["hidden"][:, -1] = torch.nan
    found = linear_cross_entropy(**parts)[0]
    assert found.item() == expected.item()
    (gradient,) = torch.autograd.grad(found, parts["hidden"])
    assert not gradient[:, -1].any() and gradient.isfinite().all()


def test_large_logits_do_not_overflow() -> None:
    parts = inputs(4, dtype=torch.float32)
    with torch.no_grad():
        parts["hidden"].mul_(1e4)
    smoothed, _ = linear_cross_entropy(**parts, label_smoothing=0.1)
    torch.testing.assert_close(smoothed, reference(*parts.values(), 0.1))
    assert all(gradient.isfinite().all() for gradient in gradients(smoothed, parts))


def test_one_batch_of_8_is_two_of_4() -> None:
    parts = inputs(8, 5)
    whole = linear_cross_entropy(**parts, label_smoothing=0.1)
    halves = [
        linear_cross_entropy(
            parts["hidden"][rows], parts["weight"], parts["bias"], parts["targets"][rows], label_smoothing=0.1
        )
        for rows in (slice(4), slice(4, 8))
    ]
    for index in range(2):
        torch.testing.assert_close(whole[index], halves[0][index] + halves[1][index], rtol=1e-12, atol=1e-12)
    for one, other in zip(gradients(whole[0], parts), gradients(halves[0][0] + halves[1][0], parts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_bfloat16_autocast(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    monkeypatch.setattr(head_in_chunks, "CHUNK_ELEMENTS", 3 * VOCAB)
    parts = inputs(6, 5, dtype=torch.float32, bias=bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        smoothed, nats = linear_cross_entropy(**parts, label_smoothing=0.1)
    assert smoothed.dtype == nats.dtype == torch.float32  # sums are never kept in 8 bits
    expected = reference(*parts.values(), 0.1)
    torch.testing.assert_close(smoothed, expected, rtol=2e-2, atol=0)
    for one, other in zip(gradients(smoothed, parts), gradients(expected, parts), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=5e-2, atol=5e-2)


def test_wrong_targets_are_an_error_and_not_a_number() -> None:
    parts = inputs(4)
    parts["targets"][0] = VOCAB
    with pytest.raises((IndexError, RuntimeError)):
        linear_cross_entropy(**parts)


# --------------------------------------------------------------------- batches


@dataclass
class FakeBatch:
    source: Tensor | None
    source_mask: Tensor | None
    target_in: Tensor | None
    target_out: Tensor


class FakeModel(nn.Module):
    """Remembers what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(DIM, VOCAB, dtype=torch.float64)
        self.called: tuple[Any, ...] = ()

    def features(self, *tokens: Tensor, **masks: Tensor | None) -> Tensor:
        self.called = (*tokens, *masks.values())
        return torch.ones(*tokens[-1].shape, DIM, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["pairs", "language model", "labels"])
def test_features_of_each_kind_of_batch(kind: str) -> None:
    tokens, mask = torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool)
    batch = FakeBatch(tokens, mask, tokens + 1, tokens + 2)
    if kind == "language model":
        batch.source = batch.source_mask = None
    if kind == "labels":
        batch.target_in = None
    model = FakeModel()
    features = features_of(model, batch)
    assert features.shape == (2, 3, DIM)
    expected = {
        "pairs": (batch.source, batch.target_in, batch.source_mask),
        "language model": (batch.target_in,),
        "labels": (batch.source, batch.source_mask),
    }[kind]
    assert len(model.called) == len(expected)
    assert all(one is other for one, other in zip(model.called, expected, strict=True))
    smoothed, nats = batch_loss(model, batch, label_smoothing=0.1)
    torch.testing.assert_close(smoothed, reference(features, model.head.weight, model.head.bias, batch.target_out, 0.1))
    torch.testing.assert_close(
        nats, reference(features, model.head.weight, model.head.bias, batch.target_out, 0.0).detach()
    )

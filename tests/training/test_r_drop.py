from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from seq2seq.config import ModelConfig, Task, TrainingConfig
from seq2seq.data.batch import IGNORE, Batch
from seq2seq.model.build import build_model
from seq2seq.training import head_in_chunks, loss
from seq2seq.training.objective import Objective
from seq2seq.training.r_drop import RDropObjective, linear_r_drop, twice
from seq2seq.training.step import build_objective

VOCAB, DIM = 11, 6


def inputs(*shape: int, dtype: torch.dtype = torch.float64, bias: bool = True, seed: int = 5) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def leaf(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    targets = torch.randint(VOCAB, shape, generator=generator)
    targets[..., -1] = IGNORE
    return {
        "first": leaf(*shape, DIM),
        "second": leaf(*shape, DIM),
        "weight": leaf(VOCAB, DIM),
        "bias": leaf(VOCAB) if bias else None,
        "targets": targets,
    }


def reference(parts: dict[str, Any], *, label_smoothing: float, alpha: float) -> Tensor:
    """The paper's equations 1 to 3 on all logits at once, by torch's own losses, halved."""
    counted = parts["targets"] != IGNORE
    targets = parts["targets"][counted]
    one, other = (F.linear(parts[name], parts["weight"], parts["bias"])[counted] for name in ("first", "second"))
    entropy = sum(
        F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="sum") for logits in (one, other)
    )
    p, q = one.log_softmax(-1), other.log_softmax(-1)
    divergence = (
        F.kl_div(q, p, log_target=True, reduction="sum") + F.kl_div(p, q, log_target=True, reduction="sum")
    ) / 2
    return (entropy + alpha * divergence) / 2


def gradients(total: Tensor, parts: dict[str, Any]) -> list[Tensor]:
    leaves = [part for part in parts.values() if isinstance(part, Tensor) and part.requires_grad]
    return list(torch.autograd.grad(total, leaves))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("alpha", [0.5, 5.0])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (3, 5)], ids=str)
@pytest.mark.parametrize("chunk_rows", [1, 4, 5, 1000])
def test_equals_the_paper(
    monkeypatch: pytest.MonkeyPatch,
    label_smoothing: float,
    alpha: float,
    bias: bool,
    shape: tuple[int, ...],
    chunk_rows: int,
) -> None:
    monkeypatch.setattr(head_in_chunks, "CHUNK_ELEMENTS", chunk_rows * VOCAB)
    parts = inputs(*shape, bias=bias)
    total, nats = linear_r_drop(**parts, label_smoothing=label_smoothing, alpha=alpha)
    expected = reference(parts, label_smoothing=label_smoothing, alpha=alpha)
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-12)
    plain = reference(parts, label_smoothing=0.0, alpha=0.0).detach()
    torch.testing.assert_close(nats, plain, rtol=1e-12, atol=1e-12)
    assert not nats.requires_grad
    # a factor that is not 1 shows that the incoming gradient is used
    ours, theirs = gradients(total / 7, parts), gradients(expected / 7, parts)
    assert len(ours) == 3 + bias
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_gradients_by_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_in_chunks, "CHUNK_ELEMENTS", 3 * VOCAB)
    parts = inputs(5)

    def total(first: Tensor, second: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_r_drop(first, second, weight, bias, parts["targets"], label_smoothing=0.1, alpha=3.0)[0]

    assert torch.autograd.gradcheck(total, tuple(parts[name] for name in ("first", "second", "weight", "bias")))


@given(seed=st.integers(0, 999), alpha=st.floats(0, 10))
def test_disagreement_only_costs_and_the_passes_are_equals(seed: int, alpha: float) -> None:
    parts = inputs(4, seed=seed)
    swapped = parts | {"first": parts["second"], "second": parts["first"]}
    total, _ = linear_r_drop(**parts, label_smoothing=0.1, alpha=alpha)
    without, _ = linear_r_drop(**parts, label_smoothing=0.1, alpha=0.0)
    assert total.item() >= without.item()
    assert linear_r_drop(**swapped, label_smoothing=0.1, alpha=alpha)[0].item() == pytest.approx(total.item())


def test_equal_passes_are_the_plain_loss() -> None:
    parts = inputs(3, 4)
    parts["second"] = parts["first"].detach().clone().requires_grad_()
    total, nats = linear_r_drop(**parts, label_smoothing=0.1, alpha=5.0)
    smoothed, plain = loss.linear_cross_entropy(
        parts["first"], parts["weight"], parts["bias"], parts["targets"], label_smoothing=0.1
    )
    torch.testing.assert_close(total, smoothed, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(nats, plain, rtol=1e-12, atol=1e-12)


def test_no_target_that_counts_and_no_gradient_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = inputs(3, 4)
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "scatter_add_", lambda *_: pytest.fail("made a gradient that nobody asked for"))
        with torch.no_grad():
            assert not linear_r_drop(**parts, label_smoothing=0.1, alpha=5.0)[0].requires_grad
    parts["targets"].fill_(IGNORE)
    total, nats = linear_r_drop(**parts, label_smoothing=0.1, alpha=5.0)
    assert total.item() == nats.item() == 0
    assert all(not gradient.any() for gradient in gradients(total, parts))


@pytest.mark.parametrize("bias", [True, False])
def test_bfloat16_autocast(bias: bool) -> None:
    parts = inputs(6, 5, dtype=torch.float32, bias=bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, nats = linear_r_drop(**parts, label_smoothing=0.1, alpha=3.0)
    assert total.dtype == nats.dtype == torch.float32
    expected = reference(parts, label_smoothing=0.1, alpha=3.0)
    torch.testing.assert_close(total, expected, rtol=2e-2, atol=0)
    for one, other in zip(gradients(total, parts), gradients(expected, parts), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=5e-2, atol=1e-1)


# ----------------------------------------------------------------- real models


def model_and_batch(task: Task, dropout: float) -> tuple[nn.Module, Batch]:
    layers = {
        Task.language_modelling: {"encoder_layers": 0},
        Task.classification: {"decoder_layers": 0},
        Task.tagging: {"decoder_layers": 0},
    }.get(task, {})
    shape: dict[str, Any] = {"encoder_layers": 1, "decoder_layers": 1, "dim": 16, "num_heads": 2} | layers
    config = ModelConfig(feed_forward_dim=24, dropout=dropout, embedding_dropout=dropout, **shape)
    torch.manual_seed(2)
    model = build_model(config, task=task, source_vocab_size=VOCAB, target_vocab_size=VOCAB).double()
    source, target = torch.randint(4, VOCAB, (3, 5)), torch.randint(4, VOCAB, (3, 5))
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, 3:] = False
    target_out = target.masked_fill(~mask, IGNORE)
    if task is Task.classification:
        target_out = target_out[:, 0]
    language_model, labels = task is Task.language_modelling, task in (Task.classification, Task.tagging)
    return model, Batch(
        source=None if language_model else source,
        source_mask=None if language_model else mask,
        target_in=None if labels else target,
        target_out=target_out,
        num_tokens=int((target_out != IGNORE).sum()),
    )


@pytest.mark.parametrize("task", Task)
def test_without_dropout_every_model_has_its_plain_loss_and_gradient(task: Task) -> None:
    model, batch = model_and_batch(task, dropout=0.0)
    found = []
    for objective in (Objective(model, label_smoothing=0.1), RDropObjective(model, label_smoothing=0.1, alpha=5.0)):
        model.zero_grad()
        total, nats = objective(batch)
        total.backward()  # type: ignore[no-untyped-call]
        found.append([total.detach(), nats, *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("task", Task)
def test_with_dropout_the_two_halves_of_one_pass_disagree(task: Task) -> None:
    """The loss is the formula's over what one doubled pass gives, computed openly from the same random state."""
    model, batch = model_and_batch(task, dropout=0.3)
    torch.manual_seed(7)
    total, nats = RDropObjective(model, label_smoothing=0.1, alpha=5.0)(batch)
    torch.manual_seed(7)
    first, second = loss.features_of(model, twice(batch)).chunk(2)
    head: Any = model.head
    parts = {"first": first, "second": second, "weight": head.weight, "bias": head.bias, "targets": batch.target_out}
    torch.testing.assert_close(total, reference(parts, label_smoothing=0.1, alpha=5.0), rtol=1e-9, atol=1e-10)
    assert total.item() > 1.01 * reference(parts, label_smoothing=0.1, alpha=0.0).item()
    assert nats.item() == pytest.approx(reference(parts, label_smoothing=0.0, alpha=0.0).item())


def test_the_setting_chooses_it() -> None:
    model, _ = model_and_batch(Task.translation, dropout=0.1)
    chosen = build_objective(TrainingConfig(r_drop=4.0, label_smoothing=0.2), model, None)
    assert isinstance(chosen, RDropObjective) and (chosen.alpha, chosen.label_smoothing) == (4.0, 0.2)
    assert type(build_objective(TrainingConfig(), model, None)) is Objective

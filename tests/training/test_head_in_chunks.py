"""The frame itself, with a loss of no use but with a known gradient; its users are tested with theirs."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seq2seq.training import head_in_chunks
from seq2seq.training.head_in_chunks import LinearHead, loss_in_chunks

VOCAB, DIM = 7, 5


def parts_of(rows: int, *, bias: bool = True, dtype: torch.dtype = torch.float64) -> list[Any]:
    """Hidden states, weight and bias of a head."""
    generator = torch.Generator().manual_seed(rows)
    shapes = [(rows, DIM), (VOCAB, DIM), *([(VOCAB,)] if bias else [])]
    made = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    return [*(tensor.requires_grad_() for tensor in made), *([] if bias else [None])]


def cubes(logits: Tensor, rows: slice, needs_gradient: bool) -> tuple[Tensor, Tensor]:
    """The sum of the logits' third powers, and of the logits."""
    loss, plain = logits.pow(3).sum(), logits.sum()
    if needs_gradient:
        logits.square_().mul_(3)
    return loss, plain


@given(
    rows=st.integers(0, 9),
    chunk_rows=st.integers(1, 10),
    together=st.sampled_from([1, 2, 3]),
    bias=st.booleans(),
    of_mean_logits=st.sampled_from([0.0, -0.3]),
)
def test_any_loss_in_any_chunks(rows: int, chunk_rows: int, together: int, bias: bool, of_mean_logits: float) -> None:
    """Loss and gradients are those of all logits at once, and rows that belong together are never parted."""
    parts, seen = parts_of(rows * together, bias=bias), []

    def chunk_loss(logits: Tensor, here: slice, needs_gradient: bool) -> tuple[Tensor, Tensor]:
        seen.append((here.start, len(logits)))
        return cubes(logits, here, needs_gradient)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_in_chunks, "CHUNK_ELEMENTS", chunk_rows * VOCAB)
        loss, plain = loss_in_chunks(*parts, chunk_loss, of_mean_logits=of_mean_logits, rows_together=together)
    logits = F.linear(*parts)
    expected = logits.pow(3).sum() + of_mean_logits * logits.mean(dim=-1).sum()
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(plain, logits.sum().detach(), rtol=1e-11, atol=1e-11)
    assert not plain.requires_grad
    leaves = [part for part in parts if part is not None]
    # a factor that is not 1 shows that the incoming gradient is used
    for one, other in zip(
        torch.autograd.grad(loss / 7, leaves), torch.autograd.grad(expected / 7, leaves), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert [start for start, _ in seen] == [sum(count for _, count in seen[:number]) for number in range(len(seen))]
    assert sum(count for _, count in seen) == rows * together
    assert all(count % together == 0 and count <= max(chunk_rows, together) for _, count in seen)


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_without_gradients_none_are_asked_for(guard: Any) -> None:
    asked: list[bool] = []

    def chunk_loss(logits: Tensor, rows: slice, needs_gradient: bool) -> tuple[Tensor, Tensor]:
        asked.append(needs_gradient)
        return cubes(logits, rows, needs_gradient)

    parts = parts_of(4)
    loss_in_chunks(*parts, chunk_loss)
    with guard():
        found, _ = loss_in_chunks(*parts, chunk_loss, of_mean_logits=-0.1)
    assert not found.requires_grad
    assert asked == [True, False]
    loss_in_chunks(*(part.detach() for part in parts), chunk_loss)
    assert asked == [True, False, False]


def test_all_chunks_use_the_same_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_in_chunks, "CHUNK_ELEMENTS", 2 * VOCAB)
    places = set()

    def chunk_loss(logits: Tensor, rows: slice, needs_gradient: bool) -> tuple[Tensor, Tensor]:
        places.add(logits.data_ptr())
        return cubes(logits, rows, needs_gradient)

    loss_in_chunks(*parts_of(9), chunk_loss)
    assert len(places) == 1


def test_a_head_multiplies_in_8_bits_and_gives_logits_for_sums() -> None:
    """Under autocast to bfloat16: the products are its own, the bias and whatever comes after are float32."""
    hidden, weight, bias = (part.detach() for part in parts_of(6, dtype=torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        head = LinearHead(hidden, weight, bias)
        logits = head.logits(slice(0, 6))
    assert head.hidden.dtype == head.weight.dtype == torch.bfloat16 and logits.dtype == torch.float32
    products = hidden.bfloat16() @ weight.bfloat16().t()
    torch.testing.assert_close(logits, products.float() + bias, rtol=0, atol=0)


def test_the_mean_logit_is_summed_in_float32_under_autocast() -> None:
    """A mean of weights rounded to bfloat16 would be off by up to a 256th, and so would the loss."""
    hidden, weight, _ = (part.detach() for part in parts_of(6, dtype=torch.float32))
    hidden = hidden.bfloat16().float()  # so that casting it changes nothing

    def nothing(logits: Tensor, rows: slice, needs_gradient: bool) -> tuple[Tensor, Tensor]:
        return logits.new_zeros(()), logits.new_zeros(())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = loss_in_chunks(hidden, weight, None, nothing, of_mean_logits=1.0)
    torch.testing.assert_close(loss, F.linear(hidden, weight).mean(dim=-1).sum(), rtol=1e-5, atol=1e-5)

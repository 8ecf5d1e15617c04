"""Our dropout has the statistics of F.dropout, exact gradients, and no state but torch's."""

import pytest
import torch
from torch import Tensor, nn

from seq2seq.model.dropout import LEVELS, Dropout, dropout, dropout_add, keep_mask

SIZE = (400, 500)


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.3, 0.5, 0.9])
def test_share_of_zeros_and_expectation(probability: float) -> None:
    torch.manual_seed(3)
    y = dropout(torch.ones(SIZE), probability, training=True)
    count = y.numel()
    deviation = (probability * (1 - probability) / count) ** 0.5
    zeros = (y == 0).double().mean().item()
    assert abs(zeros - probability) < 5 * deviation + 1 / LEVELS
    assert abs(y.double().mean().item() - 1) < 5 * deviation / (1 - probability)
    (scale,) = y[y != 0].unique().tolist()
    assert scale == pytest.approx(1 / (1 - probability), rel=2 / LEVELS / (1 - probability))


def test_decisions_are_independent_of_place_and_of_one_another() -> None:
    torch.manual_seed(4)
    probability = 0.25
    kept = torch.stack([dropout(torch.ones(SIZE), probability, training=True) != 0 for _ in range(4)]).double()
    deviation = (probability * (1 - probability)) ** 0.5
    rows, columns = kept.mean((0, 2)), kept.mean((0, 1))
    assert (rows - (1 - probability)).abs().max() < 5 * deviation / (4 * SIZE[1]) ** 0.5
    assert (columns - (1 - probability)).abs().max() < 5 * deviation / (4 * SIZE[0]) ** 0.5
    z = ((kept - (1 - probability)) / deviation).flatten(1)
    for lag in (1, 2, 3, 4, 8, SIZE[1]):
        correlation = (z[:, lag:] * z[:, :-lag]).mean().item()
        assert abs(correlation) < 5 / (4 * (z.shape[1] - lag)) ** 0.5, lag
    assert abs((z[0] * z[1]).mean().item()) < 5 / z.shape[1] ** 0.5  # one call and the next


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.3])
def test_the_two_multiples_meet_the_probability_on_average(probability: float) -> None:
    torch.manual_seed(8)
    calls = 3000
    scales = torch.tensor([keep_mask(torch.Size([1]), probability)[1] for _ in range(calls)], dtype=torch.float64)
    dropped = 1 - 1 / scales
    assert len(set(dropped.tolist())) == 2
    assert (dropped - probability).abs().max() < 1 / LEVELS
    assert abs(dropped.mean().item() - probability) < 5 * dropped.std().item() / calls**0.5


def test_of_what_is_nearly_all_one_number_in_so_many_stays() -> None:
    """And is scaled up accordingly, so that the expectation stays."""
    torch.manual_seed(8)
    assert {keep_mask(torch.Size([1]), 0.999)[1] for _ in range(300)} == {LEVELS}
    y = dropout(torch.ones(SIZE), 0.999, training=True)
    assert set(y.unique().tolist()) == {0, LEVELS}
    assert abs(y.mean().item() - 1) < 5 * (LEVELS / y.numel()) ** 0.5


def scale_of(x: Tensor, y: Tensor) -> float:
    """By what a call multiplied the numbers that stayed: one over the share of one of the multiples of 1 / LEVELS."""
    ratio = (y[y != 0] / x[y != 0]).double().mean().item()
    return LEVELS / (LEVELS - round(LEVELS * (1 - 1 / ratio)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_pass_where_numbers_passed(dtype: torch.dtype) -> None:
    x = (1 + torch.rand(7, 5)).to(dtype).requires_grad_()  # no zeros but those of dropout
    residual = torch.randn(7, 5).to(dtype).requires_grad_()
    torch.manual_seed(5)
    y = dropout(x, 0.3, training=True)
    torch.manual_seed(5)
    added = dropout_add(x, residual, 0.3, training=True)
    assert y.dtype == added.dtype == dtype
    rounding = 2e-2 if dtype is torch.bfloat16 else 1e-6  # the sum is rounded once, not twice
    torch.testing.assert_close(added, residual + y, rtol=rounding, atol=rounding)
    expected = (y != 0).to(dtype).mul(scale_of(x, y))
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], expected)
    torch.testing.assert_close(
        torch.autograd.grad(added.sum(), [x, residual]), (expected, torch.ones(7, 5, dtype=dtype))
    )


def test_a_half_precision_branch_joins_a_float32_residual() -> None:
    x = torch.randn(7, 5, dtype=torch.bfloat16, requires_grad=True)
    residual = torch.randn(7, 5, requires_grad=True)
    y = dropout_add(x, residual, 0.3, training=True)
    y.sum().backward()
    assert y.dtype == torch.float32 and x.grad is not None and x.grad.dtype == torch.bfloat16


def test_torchs_random_state_decides_everything() -> None:
    x = torch.ones(33)
    torch.manual_seed(6)
    dropout(x, 0.5, training=True)
    state = torch.get_rng_state()
    following = [dropout(x, 0.5, training=True) for _ in range(3)]
    torch.set_rng_state(state)
    for expected in following:
        torch.testing.assert_close(dropout(x, 0.5, training=True), expected, rtol=0, atol=0)
    assert not torch.equal(following[0], following[1])


def test_nothing_happens_outside_training_or_with_nothing_to_drop() -> None:
    x, residual = torch.randn(3, 4), torch.randn(3, 4)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x
    torch.testing.assert_close(dropout_add(x, residual, 0.5, training=False), x + residual)
    assert dropout(torch.empty(0, 4), 0.5, training=True).shape == (0, 4)


def test_gradient_checkpointing_repeats_the_mask() -> None:
    x = torch.randn(20, 20, requires_grad=True)
    module = nn.Sequential(Dropout(0.5), nn.Linear(20, 20))
    torch.manual_seed(7)
    expected = torch.autograd.grad(module(x).square().sum(), x)[0]
    torch.manual_seed(7)
    output = torch.utils.checkpoint.checkpoint(module, x, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(output.square().sum(), x)[0], expected)


def test_impossible_probabilities_are_refused() -> None:
    for probability in (-0.1, 1.0):
        with pytest.raises(ValueError, match=rf"dropout probability \({probability}\)"):
            Dropout(probability)
    assert repr(Dropout(0.1)) == "Dropout(0.1)"


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    x = torch.ones(1000, 1000, device="cuda")
    assert (dropout(x, 0.1, training=True) == 0).float().mean().item() == pytest.approx(0.1, abs=0.002)
    assert (dropout_add(x, x, 0.1, training=True) == 1).float().mean().item() == pytest.approx(0.1, abs=0.002)

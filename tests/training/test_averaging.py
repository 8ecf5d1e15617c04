import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seq2seq.training.averaging import ExponentialMovingAverage, mean_weights


def weights_of(value: float) -> dict[str, Tensor]:
    return {"matrix": torch.full((2, 3), value), "count": torch.tensor(int(value))}


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), st.floats(0.01, 0.9999))
def test_moving_average_is_its_formula(values: list[float], decay: float) -> None:
    average = ExponentialMovingAverage(weights_of(1.0), decay=decay)
    expected = 1.0
    for step, value in enumerate(values, start=1):
        average.update(weights_of(value), step=step)
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
    torch.testing.assert_close(average.weights["matrix"], torch.full((2, 3), expected), rtol=1e-4, atol=1e-4)
    assert average.weights["count"].item() == int(values[-1])  # whole numbers are taken over


def test_moving_average_is_a_copy_and_leaves_the_weights_alone() -> None:
    start, new = weights_of(1.0), weights_of(5.0)
    average = ExponentialMovingAverage(start, decay=0.9)
    average.update(new, step=1)
    assert start["matrix"].eq(1).all() and new["matrix"].eq(5).all()


def test_moving_average_of_parameters_needs_no_gradient() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    average = ExponentialMovingAverage({"x": parameter.detach()}, decay=0.9)
    average.update({"x": parameter}, step=1)
    assert not average.weights["x"].requires_grad


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=6))
def test_mean(values: list[float]) -> None:
    found = mean_weights(weights_of(value) for value in values)  # a generator: read one at a time
    expected = torch.tensor(values, dtype=torch.float64).mean()
    torch.testing.assert_close(found["matrix"], torch.full((2, 3), float(expected)))
    assert found["matrix"].dtype == torch.float32 and found["count"].dtype == torch.int64


def test_mean_is_added_up_in_float64() -> None:
    large, small = torch.tensor([2.0**24]), torch.tensor([1.0])
    found = mean_weights([{"x": large}, {"x": small}, {"x": small}, {"x": -large}])
    assert found["x"].item() == 0.5  # in float32 the ones would vanish beside 2**24


def test_mean_keeps_the_number_format() -> None:
    found = mean_weights([{"x": torch.ones(2, dtype=torch.bfloat16)}] * 2)
    assert found["x"].dtype == torch.bfloat16


def test_mean_of_nothing() -> None:
    with pytest.raises(ValueError, match="no checkpoints to average"):
        mean_weights([])


def test_mean_of_different_models() -> None:
    with pytest.raises(ValueError, match="other names"):
        mean_weights([{"x": torch.ones(2)}, {"x": torch.ones(2), "y": torch.ones(2)}])
    with pytest.raises(ValueError, match="other names"):
        mean_weights([{"x": torch.ones(2), "y": torch.ones(2)}, {"x": torch.ones(2)}])

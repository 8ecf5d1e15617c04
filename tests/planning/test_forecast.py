import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import TrainingConfig
from seq2seq.planning.forecast import Progress, forecast


def test_steps_take_their_time() -> None:
    settings = TrainingConfig(steps=1000, accumulation=2, validate_every=300)
    ahead = forecast(settings, step_seconds=0.5, batches_per_epoch=400, progress=Progress(), price_per_hour=3.6)
    assert (ahead.steps, ahead.epochs, ahead.seconds) == (1000, 5.0, 500.0)
    assert ahead.validations == 4  # after 300, 600, 900 and at the end
    assert ahead.cost == pytest.approx(0.5)


def test_what_is_done_is_not_paid_again() -> None:
    settings = TrainingConfig(steps=1000, validate_every=300)
    progress = Progress(step=600, seconds=1e6, validations=2, validation_seconds=10.0)
    ahead = forecast(settings, step_seconds=0.5, batches_per_epoch=100, progress=progress, price_per_hour=3600)
    assert (ahead.steps, ahead.epochs, ahead.validations) == (1000, 10.0, 2)
    assert ahead.seconds == ahead.cost == 400 * 0.5 + 2 * 10
    done = forecast(settings, step_seconds=0.5, batches_per_epoch=100, progress=Progress(step=1200))
    assert (done.steps, done.seconds, done.validations, done.cost) == (1200, 0.0, 0, None)


def test_minutes_hold_as_many_steps_as_they_can() -> None:
    settings = TrainingConfig(steps=None, minutes=10, validations=5)
    ahead = forecast(settings, step_seconds=0.5, batches_per_epoch=100, progress=Progress(), price_per_hour=6)
    assert (ahead.steps, ahead.epochs, ahead.seconds, ahead.validations) == (1200, 12.0, 600.0, 5)
    assert ahead.cost == pytest.approx(1.0)
    progress = Progress(step=500, seconds=300, validations=2, validation_seconds=20)
    ahead = forecast(settings, step_seconds=0.5, batches_per_epoch=100, progress=progress)
    assert (ahead.steps, ahead.seconds, ahead.validations) == (500 + 480, 300.0, 3)
    over = forecast(settings, step_seconds=0.5, batches_per_epoch=100, progress=Progress(step=700, seconds=700))
    assert (over.steps, over.seconds) == (700, 0.0)


def test_whichever_comes_first_ends_the_run() -> None:
    settings = TrainingConfig(steps=600, minutes=10, validations=5)
    ahead = forecast(settings, step_seconds=0.5, batches_per_epoch=100, progress=Progress())
    assert (ahead.steps, ahead.seconds) == (600, 300.0)
    assert ahead.validations == 3  # after 2 and 4 minutes, and at the end
    ahead = forecast(settings, step_seconds=2, batches_per_epoch=100, progress=Progress())
    assert (ahead.steps, ahead.seconds, ahead.validations) == (300, 600.0, 5)


@given(steps=st.integers(1, 200), every=st.integers(1, 50), done=st.integers(0, 200))
def test_validations_are_those_of_the_loop(steps: int, every: int, done: int) -> None:
    """Counted as the training loop goes: after every so many steps, and at the end if that was not one of them."""
    due = [step for step in range(done + 1, steps + 1) if step % every == 0 or step == steps]
    settings = TrainingConfig(steps=steps, validate_every=every)
    assert forecast(settings, step_seconds=1, batches_per_epoch=1, progress=Progress(step=done)).validations == len(due)

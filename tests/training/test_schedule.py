import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import DecayShape, Schedule, TrainingConfig
from seq2seq.training.schedule import MINUTES_WARMUP_SHARE, SHAPES, learning_rate

STEPS = 1000


def config_of(schedule: Schedule, **settings: float) -> TrainingConfig:
    return TrainingConfig(steps=STEPS, schedule=schedule, learning_rate=2e-3, **settings)


def rates(config: TrainingConfig) -> list[float]:
    return [learning_rate(config, step=step, progress=(step - 1) / STEPS) for step in range(1, STEPS + 1)]


schedules = st.sampled_from(Schedule)
steps = st.integers(1, 10 * STEPS)
shares = st.floats(0, 1)


def test_table_is_the_enum() -> None:
    assert set(SHAPES) == set(Schedule)


@given(schedules, steps, shares, st.integers(0, STEPS), shares, st.none() | st.floats(0.1, 100))
def test_never_above_the_peak_and_never_negative(
    schedule: Schedule, step: int, progress: float, warmup: int, final: float, minutes: float | None
) -> None:
    config = config_of(schedule, warmup_steps=warmup, final_learning_rate=final)
    config.minutes = minutes
    rate = learning_rate(config, step=step, progress=progress)
    assert 0 <= rate <= config.learning_rate * (1 + 1e-12)


@given(schedules, st.integers(1, STEPS))
def test_warm_up_rises_to_the_peak_and_then_the_rate_never_rises(schedule: Schedule, warmup: int) -> None:
    found = rates(config_of(schedule, warmup_steps=warmup))
    assert found[0] == pytest.approx(2e-3 / warmup)  # the first step is not lost
    afterwards = found[warmup - 1 :]
    assert afterwards == sorted(afterwards, reverse=True)


@given(st.integers(2, STEPS))
def test_warm_up_is_a_straight_line(warmup: int) -> None:
    found = rates(config_of(Schedule.constant, warmup_steps=warmup))
    assert found[:warmup] == pytest.approx([2e-3 * step / warmup for step in range(1, warmup + 1)])
    assert set(found[warmup:]) <= {2e-3}


@pytest.mark.parametrize("warmup", [1, 100, 4000])
def test_inverse_square_root_is_the_papers(warmup: int) -> None:
    """Vaswani et al. 2017, equation 3, up to the factor that makes the peak learning_rate."""
    config = config_of(Schedule.inverse_sqrt, warmup_steps=warmup)
    for step in (1, 50, 100, 101, 5000):
        paper = min(step**-0.5, step * warmup**-1.5)
        peak = warmup**-0.5
        assert learning_rate(config, step=step, progress=0.5) == pytest.approx(2e-3 * paper / peak)


@given(shares, shares)
def test_cosine_and_linear_go_from_the_peak_to_the_final_share(progress: float, final: float) -> None:
    for schedule, shape in (
        (Schedule.cosine, (1 + math.cos(math.pi * progress)) / 2),
        (Schedule.linear, 1 - progress),
    ):
        config = config_of(schedule, warmup_steps=0, final_learning_rate=final)
        rate = learning_rate(config, step=1, progress=progress)
        assert rate == pytest.approx(2e-3 * (final + (1 - final) * shape), abs=1e-15)


@given(shares, st.floats(0.01, 1), shares, st.sampled_from(DecayShape))
def test_wsd_stays_and_then_falls_to_the_final_share(
    progress: float, decay: float, final: float, shape: DecayShape
) -> None:
    config = config_of(Schedule.wsd, warmup_steps=0, final_learning_rate=final, decay_share=decay)
    config.decay_shape = shape
    into_the_fall = (progress - (1 - decay)) / decay
    expected = 1.0
    if into_the_fall > 0:
        expected = 1 - (math.sqrt(into_the_fall) if shape is DecayShape.one_minus_sqrt else into_the_fall)
    # the square root magnifies rounding where the fall begins
    rate = learning_rate(config, step=1, progress=progress)
    assert rate == pytest.approx(2e-3 * (final + (1 - final) * expected), abs=1e-9)


def test_wsd_reaches_its_peak_and_stays_there() -> None:
    """Unlike linear and cosine, which have already fallen when warm-up ends."""
    found = rates(config_of(Schedule.wsd, warmup_steps=100, decay_share=0.25))
    assert set(found[99:751]) == {2e-3}
    assert found[751] < 2e-3
    assert found[-1] == pytest.approx(2e-3 * (1 - math.sqrt(0.996)))


@given(schedules, steps, st.floats(1, 5))
def test_beyond_the_end_nothing_changes(schedule: Schedule, step: int, progress: float) -> None:
    config = config_of(schedule)
    assert learning_rate(config, step=step, progress=progress) == learning_rate(config, step=step, progress=1.0)


@given(schedules, steps)
def test_no_warm_up_starts_at_the_peak(schedule: Schedule, step: int) -> None:
    assert learning_rate(config_of(schedule, warmup_steps=0), step=1, progress=0.0) == pytest.approx(2e-3)


def test_with_minutes_the_warm_up_ends_after_its_share() -> None:
    config = config_of(Schedule.constant, warmup_steps=1000)
    config.minutes = 5
    assert learning_rate(config, step=10, progress=MINUTES_WARMUP_SHARE / 2) == pytest.approx(1e-3)
    assert learning_rate(config, step=10, progress=MINUTES_WARMUP_SHARE) == pytest.approx(2e-3)
    assert learning_rate(config, step=1000, progress=0.0) == pytest.approx(2e-3)  # a fast machine gets there by steps
    config.minutes = None
    assert learning_rate(config, step=10, progress=MINUTES_WARMUP_SHARE) == pytest.approx(2e-5)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speed.summary import contestant_figures, fastest, ratio_figures
from speed.turns import Work


def turn(seconds: float, tokens: int = 1000, **others: int) -> Work:
    sizes = {"source_tokens": 900, "source_positions": 1000, "target_positions": 1250, **others}
    return Work(steps=2, seconds=seconds, target_tokens=tokens, peak_mib=100.0, **sizes)


def test_the_figures_of_a_contestant() -> None:
    turns = [turn(seconds, multiply_adds=800, padded_multiply_adds=1000) for seconds in (2.0, 1.0, 4.0)]
    turns[1].peak_mib = 120.0
    assert contestant_figures(turns, [500.0, 1000.0, 400.0]) == {
        "tokens_per_second": 500.0,
        "tokens_per_second_spread": [250.0, 1000.0],
        "step_ms": 1000.0,
        "target_tokens_per_step": 500.0,
        "padding_share": round(1 - 1900 / 2250, 4),
        "gemm_fraction": 0.8,  # of 0.8, 0.8 and 0.5
        "padded_gemm_fraction": 1.0,
        "peak_mib": 120.0,
    }


def test_ratios_are_of_the_same_round() -> None:
    """A machine that is three times slower in one round slows both, and the ratio stays."""
    ours, theirs = [turn(1.0), turn(3.0), turn(1.0)], [turn(2.0), turn(6.0), turn(2.5)]
    assert ratio_figures(ours, theirs) == {"median": 2.0, "spread": [2.0, 2.5], "pairs": [2.0, 2.0, 2.5]}


def test_ratios_are_of_tokens_not_of_steps() -> None:
    assert ratio_figures([turn(1.0, tokens=500)], [turn(1.0, tokens=1000)])["median"] == 0.5


def test_rounds_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError):
        ratio_figures([turn(1.0)], [turn(1.0), turn(1.0)])


def test_the_fastest_is_so_by_its_median() -> None:
    turns = {"steady": [turn(2.0)] * 3, "lucky": [turn(0.1), turn(3.0), turn(3.0)]}
    assert fastest(turns) == "steady"
    assert fastest({}) is None


@given(st.lists(st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)), min_size=1, max_size=7))
def test_swapping_sides_turns_the_ratio_over(seconds: list[tuple[float, float]]) -> None:
    ours, theirs = [turn(a) for a, _ in seconds], [turn(b) for _, b in seconds]
    there, back = ratio_figures(ours, theirs), ratio_figures(theirs, ours)
    assert there["spread"][0] <= there["median"] <= there["spread"][1]
    assert there["spread"][0] == pytest.approx(
        1 / back["spread"][1], rel=0.01
    )  # of figures rounded to 0.001, at least 0.25

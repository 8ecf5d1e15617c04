import pytest
from hypothesis import given
from hypothesis import strategies as st

from speed.decoding import Decoded
from speed.decoding_summary import latency_figures, percentile, ratios, same_share, throughput_figures


def turn(*seconds: float, tokens: int = 100) -> Decoded:
    return Decoded(list(seconds), tokens, 50.0, [])


def test_the_figures_of_a_search_in_batches() -> None:
    assert throughput_figures([turn(1.0, 1.0), turn(0.5, 0.5), turn(4.0)], 20) == {
        "sentences_per_second": 10.0,
        "sentences_per_second_spread": [5.0, 20.0],
        "output_tokens_per_second": 50.0,
        "output_tokens": 100,
    }


def test_the_figures_of_single_sentences() -> None:
    rounds = [turn(*[0.001 * number for number in range(1, 101)]), turn(*[0.5] * 100)]
    assert latency_figures(rounds) == {
        "median_ms": 275.25,
        "median_ms_spread": [50.5, 500.0],
        "p95_ms": 297.5,
        "p95_ms_spread": [95.0, 500.0],
    }


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_smallest_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_ratios_are_of_the_same_round_and_above_1_where_ours_is_faster() -> None:
    """A machine that is three times slower in one round slows both, and the ratio stays."""
    mine = {"greedy": [turn(1.0), turn(3.0)], "beam": [turn(4.0), turn(4.0)], "single": [turn(1.0, 1.0, 2.0)] * 2}
    theirs = {"greedy": [turn(2.0), turn(6.0)], "beam": [turn(2.0), turn(1.0)], "single": [turn(3.0, 3.0, 3.0)] * 2}
    found = ratios(mine, theirs, 10)
    assert found["greedy"] == {"median": 2.0, "spread": [2.0, 2.0], "pairs": [2.0, 2.0]}
    assert found["beam"] == {"median": 0.375, "spread": [0.25, 0.5], "pairs": [0.5, 0.25]}
    assert found["latency_median"]["median"] == 3.0
    assert found["latency_p95"]["median"] == 1.5


def test_rounds_that_do_not_match_are_refused() -> None:
    mine = {"greedy": [turn(1.0)], "beam": [turn(1.0)], "single": [turn(1.0)]}
    with pytest.raises(ValueError):
        ratios(mine, {**mine, "greedy": [turn(1.0)] * 2}, 10)


def test_the_share_of_equal_lines() -> None:
    assert same_share(["a", "b", "c"], ["a", "b", "d"]) == 0.6667

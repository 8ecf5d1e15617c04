import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.errors import ConfigError
from seq2seq.signals.bounds import Bounds, Flag, judged
from seq2seq.signals.signals import Signals, combined

GOOD = Signals(
    source_tokens=10,
    tokens=11,
    log_prob=-1.0,
    confidence=0.9,
    weakest=0.5,
    length_ratio=1.0,
    relative_length=1.0,
    repetition=0.0,
    source_repetition=0.0,
    longest_run=0,
    source_longest_run=0,
    copied=0.1,
    coverage=0.8,
)


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, []),
        ({"finished": False}, [Flag.unfinished]),
        ({"length_ratio": 0.0}, [Flag.empty]),
        ({"relative_length": 0.4}, [Flag.too_short]),
        ({"relative_length": 2.5}, [Flag.too_long]),
        ({"repetition": 0.5}, [Flag.repetition]),
        ({"repetition": 0.5, "source_repetition": 0.4}, []),
        ({"longest_run": 12}, [Flag.repetition]),
        ({"longest_run": 12, "source_longest_run": 10}, []),
        ({"longest_run": 30, "source_longest_run": 12, "length_ratio": 2.0}, []),
        ({"copied": 0.9}, [Flag.copied]),
        ({"copied": None, "coverage": None}, []),
        ({"coverage": 0.3}, [Flag.low_coverage]),
        ({"confidence": 0.1}, [Flag.low_confidence]),
        ({"unknown": 3, "byte_fallback": 3}, [Flag.unreadable]),
        (
            {"finished": False, "repetition": 0.9, "coverage": 0.1},
            [Flag.unfinished, Flag.repetition, Flag.low_coverage],
        ),
    ],
)
def test_flags(changes: dict[str, Any], flags: list[Flag]) -> None:
    judgement = judged(dataclasses.replace(GOOD, **changes), Bounds())
    assert list(judgement.flags) == flags
    mendable = [flag for flag in flags if flag is not Flag.unreadable]
    assert len(mendable) <= judgement.badness <= 2 * len(mendable)
    assert judgement.mendable == bool(mendable)


def test_every_bound_moves_a_flag_and_can_be_turned_off() -> None:
    bad = Signals(
        source_tokens=10, unknown=6, tokens=9, confidence=0.1, length_ratio=1.0, relative_length=0.4, repetition=0.9,
        source_repetition=0.0, longest_run=20, source_longest_run=0, copied=1.0, coverage=0.2,
    )  # fmt: skip
    long = dataclasses.replace(bad, relative_length=3.0)
    off: dict[str, float] = {
        "min_relative_length": 0, "max_repetition": 1, "max_run": 99, "max_copied": 1, "min_coverage": 0,
        "min_confidence": 0, "max_unreadable": 1,
    }  # fmt: skip
    assert judged(bad, Bounds(**off)).flags == ()  # type: ignore[arg-type]
    assert len(judged(bad, Bounds()).flags) == 6
    for name in off:
        rest = {other: value for other, value in off.items() if other != name}
        assert len(judged(bad, Bounds(**rest)).flags) == 1, name  # type: ignore[arg-type]
    assert judged(long, Bounds(**off)).flags == (Flag.too_long,)  # type: ignore[arg-type]
    assert judged(long, Bounds(**off, max_relative_length=4)).flags == ()  # type: ignore[arg-type]


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_signal_further_out_is_worse_and_the_margin_is_the_distance(first: float, second: float) -> None:
    bounds = Bounds(min_coverage=0.5, min_confidence=0)
    one, two = (judged(dataclasses.replace(GOOD, coverage=value), bounds) for value in (first, second))
    if first <= second:
        assert one.badness >= two.badness
    assert one.margin == pytest.approx(abs(first - 0.5))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_coverage": 1.5}, "min_coverage .1.5. must be at least 0 and at most 1"),
        ({"max_relative_length": float("nan")}, "finite"),
        ({"min_relative_length": 3.0}, "min_relative_length .3.0. must be below max_relative_length .2.0."),
        ({"usual_length_ratio": 0.0}, "usual_length_ratio .0.0. must be above 0"),
    ],
)
def test_bounds_that_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Bounds(**given)  # type: ignore[arg-type]


def test_signals_of_a_split_line() -> None:
    assert combined([]) is None and combined([GOOD]) is GOOD
    other = dataclasses.replace(
        GOOD, source_tokens=30, tokens=9, finished=False, log_prob=-3.0, score=-1.0, coverage=0.4, repetition=0.7,
        weakest=0.1, copied=None, unknown=2,
    )  # fmt: skip
    both = combined([GOOD, other])
    assert both is not None
    assert (both.source_tokens, both.tokens, both.unknown, both.finished) == (40, 20, 2, False)
    assert (both.log_prob, both.score, both.repetition, both.weakest, both.copied) == (-4.0, -0.5, 0.7, 0.1, 0.1)
    assert both.confidence == pytest.approx(2.718281828 ** (-4 / 20))
    assert both.coverage == pytest.approx((10 * 0.8 + 30 * 0.4) / 40)
    assert combined([GOOD, dataclasses.replace(GOOD, coverage=None)]).coverage is None  # type: ignore[union-attr]

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.filters import RATIO_SLACK, DropCounts, Filter

LENGTHS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=40)


@given(lengths=LENGTHS, max_length=st.integers(2, 50), ratio=st.none() | st.floats(1, 5))
def test_rules_by_hand(lengths: list[tuple[int, int]], max_length: int, ratio: float | None) -> None:
    sides = np.array(lengths, np.int64).reshape(-1, 2)
    keep, counts = Filter(max_length=max_length, max_length_ratio=ratio).keep(sides[:, 0], sides[:, 1])
    expected = DropCounts()
    for index, (source, target) in enumerate(lengths):
        # With the end token both sides are one longer.
        short, long = min(source, target) + 1, max(source, target) + 1
        empty = short == 1
        too_long = not empty and long > max_length
        unlike = not empty and not too_long and ratio is not None and long > ratio * short + RATIO_SLACK
        expected += DropCounts(1, empty, too_long, unlike)
        assert keep[index] == (not (empty or too_long or unlike))
    assert counts == expected
    assert counts.kept == keep.sum()


@pytest.mark.parametrize(("max_length", "kept"), [(9, 0), (10, 1)])
def test_the_end_token_counts(max_length: int, kept: int) -> None:
    nine = np.array([9])
    assert Filter(max_length=max_length, max_length_ratio=4).keep(nine, nine)[1].kept == kept


def test_table_has_every_rule() -> None:
    table = str(DropCounts(read=12_000, empty=1, too_long=20, length_ratio=300))
    assert [line.split()[-1] for line in table.splitlines()] == ["12,000", "1", "20", "300", "11,679"]
    assert "data.max_length_ratio" in table

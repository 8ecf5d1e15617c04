"""Rows that go on: all of them, and none moves that need not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.decoding.remaining import remaining


@given(going_on=st.lists(st.booleans(), max_size=12))
def test_all_that_go_on_are_there_and_only_the_last_ones_move(going_on: list[bool]) -> None:
    order = remaining(np.array(going_on, dtype=bool)).tolist()
    alive = [row for row, flag in enumerate(going_on) if flag]
    assert sorted(order) == alive
    for place, row in enumerate(order):
        assert row == place or (not going_on[place] and row >= len(alive))

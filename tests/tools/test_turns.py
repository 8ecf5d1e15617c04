import time
from collections.abc import Iterator

import pytest

from speed.shapes import Shape, multiply_adds, pair_sizes
from speed.turns import Finished, HeldLoader, Turns, Work, peak_mib

SHAPE = Shape(1, 1, 8, 16, 2, 2, 20)
SIZES = pair_sizes([3, 2], [4, 1])


def loop(turns: Turns, pause: float = 0.0) -> int:
    """Steps that a loop does before it is stopped."""
    steps = 0
    while True:
        try:
            turns.before_batch()
        except Finished:
            return steps
        turns.saw(lambda: SIZES)
        time.sleep(pause)
        steps += 1


def test_each_turn_is_counted_by_itself() -> None:
    done: list[Work] = []
    assert loop(Turns(SHAPE, orders=iter([2, 3]), report=done.append)) == 5
    assert [work.steps for work in done] == [2, 3]
    assert [work.target_tokens for work in done] == [10, 15]
    assert [work.target_positions for work in done] == [16, 24]
    assert [work.source_tokens for work in done] == [10, 15]
    assert done[1].multiply_adds == 3 * 3 * multiply_adds(SHAPE, SIZES)
    assert done[1].padded_multiply_adds == 3 * 3 * multiply_adds(SHAPE, SIZES.padded())
    assert done[0].peak_mib > 1


def test_a_step_of_two_micro_batches() -> None:
    done: list[Work] = []
    assert loop(Turns(SHAPE, orders=iter([2]), report=done.append, batches_per_step=2)) == 4
    assert [work.steps for work in done] == [2]


def test_waiting_for_an_order_is_not_timed() -> None:
    def orders() -> Iterator[int]:
        yield 3
        time.sleep(0.3)
        yield 3

    done: list[Work] = []
    loop(Turns(SHAPE, orders=orders(), report=done.append), pause=0.01)
    assert len(done) == 2
    assert all(0.03 <= work.seconds < 0.3 for work in done)


def test_an_order_of_no_steps_ends_the_loop() -> None:
    turns = Turns(SHAPE, orders=iter([0]), report=lambda work: None)
    with pytest.raises(Finished):
        turns.before_batch()


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_mib()
    held = bytearray(b"x") * (200 << 20)
    assert peak_mib() > before or before > 200  # an earlier test may have held more
    assert held


def test_an_epoch_s_end_is_no_step() -> None:
    """A loop over epochs asks its loader for a batch in vain at the end of each."""
    done: list[Work] = []
    loader = HeldLoader(["a", "b"], Turns(SHAPE, orders=iter([2, 3]), report=done.append), lambda _: SIZES)
    seen: list[str] = []
    with pytest.raises(Finished):
        while True:
            for batch in loader:
                seen.append(batch)
    assert seen == ["a", "b", "a", "b", "a"]
    assert [(work.steps, work.target_tokens) for work in done] == [(2, 10), (3, 15)]
    assert loader.index("b") == 1  # whatever else the loader can do

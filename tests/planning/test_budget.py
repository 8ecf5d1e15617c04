from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.planning import budget
from seq2seq.planning.budget import FIRST, SMALLEST, End, Survey, Trial, choose, reason, survey
from seq2seq.planning.probe import Speed


def trial(batch_tokens: int, rate: float) -> Trial:
    return Trial(batch_tokens, 10 * batch_tokens, Speed(3, batch_tokens / rate, rate))


class Machine:
    """A made machine: speed and seconds of each size, and memory for some."""

    def __init__(self, rate: Callable[[int], float], *, holds: int = 10**9, seconds: float = 1e-4) -> None:
        self.rate, self.holds, self.seconds = rate, holds, seconds
        self.now = 100.0
        self.ran: list[int] = []
        self.ran_again: list[int] = []
        self.fitted: list[int] = []
        self.order: list[str] = []

    def measure(self, batch_tokens: int) -> Trial:
        self.ran.append(batch_tokens)
        self.now += self.seconds * batch_tokens
        return (
            trial(batch_tokens, self.rate(batch_tokens))
            if batch_tokens <= self.holds
            else Trial(batch_tokens, None, None)
        )

    def fits(self, batch_tokens: int) -> bool:
        self.order.append("fits")
        self.fitted.append(batch_tokens)
        return batch_tokens <= self.holds

    def again(self, batch_tokens: int) -> Speed | None:
        self.now += self.seconds * batch_tokens
        self.order.append("again")
        self.ran_again.append(batch_tokens)
        return trial(batch_tokens, self.rate(batch_tokens)).speed

    def survey(self, *, most: int = 10**9, seconds: float = 1e9, bisect: int = 0) -> Survey:
        return survey(
            self.measure, self.fits, self.again, most=most, seconds=seconds, clock=lambda: self.now, bisect=bisect
        )


@pytest.mark.parametrize(
    ("rates", "size"),
    [
        ({1024: 100}, 1024),
        ({1024: 100, 2048: 103}, 1024),
        ({1024: 100, 2048: 104}, 2048),
        ({1024: 100, 2048: 90, 4096: 80}, 1024),
        ({1024: 50, 2048: 98, 4096: 100, 8192: 99}, 2048),
        ({1024: 50, 2048: 96, 4096: 100, 8192: 101}, 4096),
    ],
)
def test_the_smallest_of_the_fast_sizes(rates: dict[int, float], size: int) -> None:
    assert choose([trial(tokens, rate) for tokens, rate in rates.items()]).batch_tokens == size


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=10))
def test_no_size_that_is_smaller_is_as_fast(rates: list[float]) -> None:
    trials = [trial(FIRST << index, rate) for index, rate in enumerate(rates)]
    chosen = choose(trials)
    assert chosen.rate >= 0.97 * max(rates)
    assert all(other.rate < 0.97 * max(rates) for other in trials if other.batch_tokens < chosen.batch_tokens)


def test_sizes_double_until_two_larger_ones_are_no_faster() -> None:
    machine = Machine(lambda tokens: min(tokens, 5000))
    found = machine.survey()
    assert machine.ran == [1024, 2048, 4096, 8192, 16384, 32768]
    assert (found.end, found.chosen().batch_tokens, found.largest) == (End.no_faster, 8192, 32768)
    machine = Machine(lambda tokens: 100.0)
    assert machine.survey().end is End.no_faster
    assert machine.ran == [1024, 2048, 4096]


def test_memory_ends_it_and_the_gap_is_halved() -> None:
    machine = Machine(lambda tokens: tokens, holds=13_000)
    found = machine.survey()
    assert machine.ran == [1024, 2048, 4096, 8192, 16384]
    assert (found.end, found.chosen().batch_tokens, found.largest) == (End.memory, 8192, 8192)
    assert Machine(lambda tokens: tokens, holds=13_000).survey(bisect=1).largest == 12_288
    assert Machine(lambda tokens: tokens, holds=13_000).survey(bisect=12).largest == pytest.approx(13_000, abs=8)


@given(holds=st.integers(1, 100_000))
def test_nothing_larger_than_memory_is_ever_chosen(holds: int) -> None:
    found = Machine(lambda tokens: tokens, holds=holds).survey(bisect=3)
    if holds < SMALLEST:
        assert (found.largest, found.fitting) == (None, [])
    else:
        assert found.largest is not None
        assert found.chosen().batch_tokens <= found.largest <= holds


def test_small_machines_try_smaller_sizes() -> None:
    machine = Machine(lambda tokens: tokens, holds=200)
    found = machine.survey()
    assert machine.ran == [1024, 512, 256, 128]
    assert (found.chosen().batch_tokens, found.largest, found.end) == (128, 128, End.memory)


def test_the_corpus_and_the_clock_end_it_too() -> None:
    assert Machine(lambda tokens: tokens).survey(most=5000).end is End.corpus
    assert Machine(lambda tokens: tokens).survey(most=5000).chosen().batch_tokens == 4096
    machine = Machine(lambda tokens: tokens, seconds=0.001)  # 1, 2, 4, 8 seconds ...
    found = machine.survey(seconds=16)
    assert machine.ran == [1024, 2048, 4096, 8192]
    assert sum(machine.ran) * 0.001 <= 16
    assert found.end is End.time


def test_the_gap_is_halved_after_speeds_are_certain() -> None:
    """Only the plan asks for it, which would else choose by other measurements than training does."""
    machine = Machine(lambda tokens: tokens, holds=13_000)
    machine.survey(bisect=3)
    assert machine.fitted[-3:] == [12_288, 14_336, 13_312]
    assert machine.ran_again == [1024, 2048, 4096, 8192]
    assert machine.order.index("again") < machine.order.index("fits")


class CompilingProbe:
    """A made process: it starts, which takes long, when it is first needed; its steps take no time."""

    def __init__(self) -> None:
        self.now, self.started, self.ran = 0.0, False, list[int]()

    def model(self) -> None:
        self.now += 0.0 if self.started else 1000.0
        self.started = True

    def epoch(self, batch_tokens: int) -> tuple[None, SimpleNamespace]:
        return None, SimpleNamespace(rows=torch.full((10_000,), 64), longest=torch.full((10_000,), 16))

    def peak_memory(self, batch_tokens: int) -> int:
        self.model()
        self.ran.append(batch_tokens)
        return batch_tokens

    def speed(self, batch_tokens: int, **_: float) -> Speed:
        return Speed(3, 1.0, float(batch_tokens))


def test_compiling_is_not_taken_for_slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the process takes to start, larger sizes are tried."""
    probe = CompilingProbe()
    monkeypatch.setattr(budget, "survey", partial(survey, clock=lambda: probe.now))
    found = budget.survey_of(probe)  # type: ignore[arg-type]
    assert (found.end, found.chosen().batch_tokens) == (End.corpus, 2**20)
    assert probe.ran == [2**power for power in range(10, 21)]


def test_other_work_of_the_machine_is_not_taken_for_a_slow_size() -> None:
    machine = Machine(lambda tokens: 50.0 if tokens == 1024 and 1024 not in machine.ran_again else 100.0)
    found = machine.survey()
    assert machine.ran == machine.ran_again == [1024, 2048, 4096, 8192]
    assert found.chosen().batch_tokens == 1024
    machine = Machine(lambda tokens: 100.0 if not machine.ran_again else 10.0)
    assert {trial.rate for trial in machine.survey().trials} == {100.0}
    machine = Machine(lambda tokens: tokens, seconds=0.001)
    machine.survey(seconds=16)  # 15 of them are gone
    assert machine.ran_again == [1024]


def test_the_reason_says_what_was_measured() -> None:
    assert reason(Machine(lambda tokens: min(tokens, 2000)).survey(), "labels") == "the fastest size (2,000 labels/s)"
    alone = Machine(lambda tokens: tokens, holds=1024).survey()
    assert reason(alone, "labels") == "the only size that was tried and fits (1,024 labels/s)"
    slightly = Machine(lambda tokens: 1000 if tokens == 1024 else 1010)
    assert reason(slightly.survey(), "target tokens") == (
        "the smallest size with 97% of the best throughput (1,000 target tokens/s; 2,048 has 1,010)"
    )

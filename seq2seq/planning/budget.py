"""Which batch_tokens: sizes are really run, each twice the one before, and the smallest of the fast ones is taken.

A larger batch than is fast costs updates and gives nothing: on a CPU speed hardly grows with size, on a GPU it stops
growing once the device is busy.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import torch

from seq2seq.config import Config, Task
from seq2seq.data.prepare import Prepared
from seq2seq.errors import TrainingError
from seq2seq.planning.memory import memory_limit_of
from seq2seq.planning.probe import Probe, Speed
from seq2seq.training.distributed import Ranks

FIRST = 1024
"""Tokens of the first size that is tried."""
SMALLEST = 16
"""Tokens below which nothing is tried when the first sizes do not fit."""
AS_FAST = 0.97
"""Sizes that reach this share of the best throughput count as being as fast."""
BATCHES = 8
"""Micro-batches that an epoch has at the least with any size that is tried."""
SECONDS = 60.0
"""How long sizes are tried for; what is begun is finished."""
STEPS, STEP_SECONDS = 12, 4.0
"""Steps of each size that are timed, fewer once they have taken so many seconds."""
ENOUGH_LARGER = 2
"""Sizes above the chosen one that are no faster, after which no more are tried."""


class End(Enum):
    """Why no larger size was tried."""

    memory = "the next size does not fit"
    no_faster = "larger ones are no faster"
    corpus = "the corpus has too few tokens for larger ones"
    time = "larger ones take too long to try"


@dataclass(frozen=True, slots=True)
class Trial:
    """One size that was run.

    Attributes:
        batch_tokens: the size.
        peak_memory: bytes of its worst batches; None when they did not fit.
        speed: of its steps; None when they did not fit.
    """

    batch_tokens: int
    peak_memory: int | None
    speed: Speed | None

    @property
    def rate(self) -> float:
        """Target tokens a second; 0 when it did not fit."""
        return self.speed.tokens_per_second if self.speed else 0.0


@dataclass(frozen=True, slots=True)
class Survey:
    """What trying sizes has shown.

    Attributes:
        trials: by size.
        end: why there are no larger ones.
        largest: the largest size that was run and fits; None when none does.
    """

    trials: list[Trial] = field(default_factory=list)
    end: End = End.memory
    largest: int | None = None

    @property
    def fitting(self) -> list[Trial]:
        """The sizes that fit."""
        return [trial for trial in self.trials if trial.speed is not None]

    def fastest(self) -> Trial:
        """The size with the best throughput."""
        return max(self.fitting, key=lambda trial: trial.rate)

    def chosen(self) -> Trial:
        """The smallest size that is as fast as the fastest; there must be one that fits."""
        return choose(self.fitting)


def choose(trials: Sequence[Trial]) -> Trial:
    """The smallest size whose throughput is within 3 % of the best; at least one trial, all of which fit."""
    best = max(trial.rate for trial in trials)
    return min((trial for trial in trials if trial.rate >= AS_FAST * best), key=lambda trial: trial.batch_tokens)


def measured_batch_tokens(config: Config, prepared: Prepared, *, dtype: torch.dtype, ranks: Ranks) -> tuple[int, str]:
    """The number for training.batch_tokens=auto, and why; a meeting of the ranks, the first of which measures.

    It measures with the threads and the memory that each rank will have.

    Raises:
        TrainingError: no size fits into memory.
    """
    limit = memory_limit_of(ranks)
    return ranks.broadcast(_measured(config, prepared, ranks.device, dtype, limit) if ranks.first else (0, ""))


def _measured(
    config: Config, prepared: Prepared, device: torch.device, dtype: torch.dtype, memory_limit: int | None
) -> tuple[int, str]:
    with Probe(config, prepared, device=device, dtype=dtype, memory_limit=memory_limit) as probe:
        found = survey_of(probe)
        if found.largest is None:
            raise TrainingError(does_not_fit(probe.memory_limit))
        chosen = found.chosen()
        assert chosen.peak_memory is not None
        limit = "" if probe.memory_limit is None else f" of {probe.memory_limit / 2**30:.2f} GiB"
        memory = f"its worst batch needs {chosen.peak_memory / 2**30:.2f} GiB{limit}"
        return chosen.batch_tokens, f"{reason(found, unit_of(config.task))}; {memory}; {found.end.value}"


def does_not_fit(memory_limit: int | None) -> str:
    """A sentence for when no size does."""
    limit = "the memory" if memory_limit is None else f"{memory_limit / 2**30:.2f} GiB of memory"
    return f"No batch fits into {limit}, not even one of {SMALLEST} tokens; choose a smaller model, or free memory."


def unit_of(task: Task) -> str:
    """What is predicted."""
    return "target tokens" if task in (Task.translation, Task.language_modelling) else "labels"


def reason(found: Survey, unit: str) -> str:
    """Why a size was chosen, as part of a sentence; unit: of what is predicted."""
    chosen, fastest = found.chosen(), found.fastest()
    if len(found.fitting) == 1:
        return f"the only size that was tried and fits ({chosen.rate:,.0f} {unit}/s)"
    if chosen is fastest:
        return f"the fastest size ({chosen.rate:,.0f} {unit}/s)"
    return (
        f"the smallest size with {AS_FAST:.0%} of the best throughput ({chosen.rate:,.0f} {unit}/s; "
        f"{fastest.batch_tokens:,} has {fastest.rate:,.0f})"
    )


def survey_of(probe: Probe, *, bisect: int = 0) -> Survey:
    """`survey` with real steps.

    Raises:
        TrainingError: the model does not fit into memory.
    """

    def speed(batch_tokens: int) -> Speed | None:  # the worst batches were a warm-up already
        return probe.speed(batch_tokens, steps=STEPS, seconds=STEP_SECONDS, warm_up=1)

    def measure(batch_tokens: int) -> Trial:
        peak = probe.peak_memory(batch_tokens)
        measured = speed(batch_tokens) if peak is not None else None
        return Trial(batch_tokens, peak if measured else None, measured)

    def fits(batch_tokens: int) -> bool:
        return probe.peak_memory(batch_tokens) is not None

    _, shape = probe.epoch(FIRST)
    most = int((shape.rows * shape.longest).sum()) // BATCHES
    probe.model()  # what is done once, compiling above all, tells nothing of how long the next size takes
    return survey(measure, fits, speed, most=most, seconds=SECONDS, bisect=bisect)


def survey(
    measure: Callable[[int], Trial],
    fits: Callable[[int], bool],
    again: Callable[[int], Speed | None],
    *,
    most: int,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    bisect: int = 0,
) -> Survey:
    """Try sizes.

    Args:
        measure: runs a size.
        fits: runs a size, for its memory only.
        again: runs a size that fits, for its speed only.
        most: the largest size that the corpus has use for.
        seconds: no larger size is begun that would end after this, as far as can be told from the one before.
        clock: tells seconds.
        bisect: times that the gap between the last size that fits and the first that does not is halved.
    """
    started = clock()
    first = measure(FIRST)
    while first.speed is None and first.batch_tokens // 2 >= SMALLEST:
        too_large, first = first.batch_tokens, measure(first.batch_tokens // 2)
    trials = [first]
    if first.speed is None:
        return Survey(trials)
    end = End.memory
    if first.batch_tokens == FIRST:
        end, too_large = _double(measure, trials, most=most, seconds=seconds, started=started, clock=clock)
    largest = max(trial.batch_tokens for trial in trials if trial.speed is not None)
    if len(trials) > 1:  # a machine may have had other work during one of them
        for index, trial in enumerate(trials):
            if clock() - started < seconds:
                trials[index] = _faster(trial, again(trial.batch_tokens))
    if end is End.memory:  # last, so that it takes no time from what is chosen by
        largest = _bisect(fits, largest, too_large, bisect)
    return Survey(trials, end, largest)


def _faster(trial: Trial, speed: Speed | None) -> Trial:
    """The trial with the better of its own and another measurement."""
    if trial.speed is None or speed is None or speed.tokens_per_second <= trial.rate:
        return trial
    return replace(trial, speed=speed)


def _double(
    measure: Callable[[int], Trial],
    trials: list[Trial],
    *,
    most: int,
    seconds: float,
    started: float,
    clock: Callable[[], float],
) -> tuple[End, int]:
    """Measure larger sizes while that may help; returns why it ended, and the size at which it did."""
    took = clock() - started
    while True:
        size = 2 * trials[-1].batch_tokens
        if sum(trial.batch_tokens > choose(trials).batch_tokens for trial in trials) >= ENOUGH_LARGER:
            return End.no_faster, size
        if size > most:
            return End.corpus, size
        before = clock()
        if before - started + 2 * took > seconds:
            return End.time, size
        trial = measure(size)
        took = clock() - before
        if trial.speed is None:
            return End.memory, size
        trials.append(trial)


def _bisect(fits: Callable[[int], bool], small: int, large: int, times: int) -> int:
    """The largest size found that fits, between one that does and one that does not."""
    for _ in range(times):
        middle = (small + large) // 2
        small, large = (middle, large) if fits(middle) else (small, middle)
    return small

"""A process that does real training steps and tells how long they took and how much memory they needed.

It is started by `probe.Probe`, has a model of its own and ends with it: what it does is felt nowhere else. Requests and
answers are pickles over its stdin and stdout, from and to the process that started it and no other.
"""

import gc
import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import torch

from seq2seq.checkpoint import weights_of
from seq2seq.config import Config
from seq2seq.data.batch import Batch
from seq2seq.device import is_out_of_memory, set_threads
from seq2seq.memory import keep_freed_memory
from seq2seq.model.build import build_model
from seq2seq.planning.memory import peak_memory, start_counting, take_at_most
from seq2seq.planning.parameters import parameters_by_part
from seq2seq.training.averaging import ExponentialMovingAverage
from seq2seq.training.distillation import load_teacher
from seq2seq.training.interval import IntervalSums
from seq2seq.training.schedule import learning_rate
from seq2seq.training.step import build_step

Step = list[Batch]
"""The micro-batches of one step."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the process begins with: the run, its CPU threads, and the most bytes it may take (None: any)."""

    config: Config
    source_vocab_size: int
    target_vocab_size: int
    device: torch.device
    dtype: torch.dtype
    threads: int
    memory_limit: int | None


@dataclass(frozen=True, slots=True)
class Model:
    """What the process has built.

    Attributes:
        parameters: by part.
        weight_bytes: of all weights that a checkpoint holds.
        memory: bytes taken before the first step.
    """

    parameters: dict[str, int]
    weight_bytes: int
    memory: int


@dataclass(frozen=True, slots=True)
class Request:
    """Steps to do: some that are not timed, then others until `seconds` have passed, at least `at_least` of them."""

    warm_up: list[Step]
    timed: list[Step]
    seconds: float
    at_least: int


@dataclass(frozen=True, slots=True)
class Done:
    """What the steps took.

    Attributes:
        seconds: of each timed step.
        peak_memory: bytes at once; see `memory.peak_memory`.
        optimizer_bytes: of the optimiser's state after them.
    """

    seconds: list[float]
    peak_memory: int
    optimizer_bytes: int


class OutOfMemory:
    """The answer when a step needed more memory than there is."""


class Stepper:
    """Trains a new model on given batches.

    Args:
        start: the run.
    """

    def __init__(self, start: Start) -> None:
        self.settings, self.device = start.config.training, start.device
        set_threads(start.threads)
        keep_freed_memory()
        torch.manual_seed(start.config.seed)
        self.model = build_model(
            start.config.model,
            task=start.config.task,
            source_vocab_size=start.source_vocab_size,
            target_vocab_size=start.target_vocab_size,
        ).to(start.device)
        self.model.train()
        teacher = load_teacher(start.config, device=start.device)
        self.step = build_step(self.settings, self.model, dtype=start.dtype, teacher=teacher, may_split=False)
        decay = self.settings.ema_decay
        self.average = None if decay is None else ExponentialMovingAverage(weights_of(self.model), decay=decay)
        self.steps = 0

    def facts(self) -> Model:
        """What has been built."""
        weights = sum(tensor.numel() * tensor.element_size() for tensor in weights_of(self.model).values())
        return Model(parameters_by_part(self.model), weights, peak_memory(self.device))

    def run(self, request: Request) -> Done:
        """Do the steps."""
        gc.collect()
        start_counting(self.device)
        sums = IntervalSums(self.device)
        for micro_batches in request.warm_up:
            self._timed(micro_batches, sums)
        seconds: list[float] = []
        for micro_batches in request.timed:
            if sum(seconds) >= request.seconds and len(seconds) >= request.at_least:
                break
            seconds.append(self._timed(micro_batches, sums))
        state = [value for values in self.step.optimizer.state.values() for value in values.values()]
        size = sum(tensor.numel() * tensor.element_size() for tensor in state if isinstance(tensor, torch.Tensor))
        return Done(seconds, peak_memory(self.device), size)

    def _timed(self, micro_batches: Step, sums: IntervalSums) -> float:
        """One step as the training loop does it, and its seconds."""
        start = time.perf_counter()
        self.steps += 1
        on_device = [batch.to(self.device) for batch in micro_batches]
        rate = learning_rate(self.settings, step=self.steps, progress=0.0)
        result = self.step(on_device, rate=rate, sums=sums)
        if self.average is not None:
            self.average.update(weights_of(self.model), step=self.steps, skipped=result.skipped)
        synchronize(self.device)
        return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more; the process ends after one that did not fit into memory."""

    def answer(action: Callable[[], Model | Done]) -> bool:
        result: Model | Done | OutOfMemory
        try:
            result = action()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            result = OutOfMemory()
        try:
            pickle.dump(result, answers)
            answers.flush()
        except BrokenPipeError:  # nobody is waiting any more
            return False
        return not isinstance(result, OutOfMemory)

    start: Start = pickle.load(requests)
    made: list[Stepper] = []

    def build() -> Model:
        if start.memory_limit is not None:
            take_at_most(start.memory_limit, start.device)
        made.append(Stepper(start))
        return made[0].facts()

    going_on = answer(build)
    while going_on:
        try:
            request: Request = pickle.load(requests)
        except EOFError:
            return
        going_on = answer(lambda request=request: made[0].run(request))  # type: ignore[misc]


def main() -> None:
    """The process: requests on stdin, answers on stdout, everything else on stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between the answers
    serve(sys.stdin.buffer, answers)

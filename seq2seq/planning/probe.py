"""Measuring a run before it starts: its real steps on its real batches, in a process that is then thrown away."""

import contextlib
import os
import pickle
import statistics
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from seq2seq.config import Config
from seq2seq.data.batching import EpochPlan
from seq2seq.data.prepare import Prepared
from seq2seq.errors import TrainingError
from seq2seq.planning.memory import memory_limit_of
from seq2seq.planning.statistics import EpochShape, epoch_shape
from seq2seq.planning.steps import Done, Model, OutOfMemory, Request, Start, Step
from seq2seq.scoring import training_batches
from seq2seq.training.distributed import Ranks

WARM_UP_STEPS = 3


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast steps are.

    Attributes:
        steps: how many were timed.
        step_seconds: median of them, the making of their batches included.
        tokens_per_second: target tokens, by the mean of an epoch.
    """

    steps: int
    step_seconds: float
    tokens_per_second: float


class Probe(AbstractContextManager["Probe"]):
    """Steps of a run in another process, which starts with the first and ends with the block.

    That process uses as many CPU threads as this one.

    Args:
        config: the run; its batch_tokens is not read.
        prepared: its text.
        device: where it trains.
        dtype: of its matrix products.
        memory_limit: bytes it may take; None: those of a run on one process.
    """

    def __init__(
        self,
        config: Config,
        prepared: Prepared,
        *,
        device: torch.device,
        dtype: torch.dtype,
        memory_limit: int | None = None,
    ) -> None:
        self.config, self.prepared, self.device, self.dtype = config, prepared, device, dtype
        self.memory_limit = memory_limit or memory_limit_of(Ranks(device=device))
        self.optimizer_bytes = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._has_stepped = False
        self._model: Model | None = None
        self._shapes: dict[int, tuple[EpochPlan, EpochShape]] = {}

    def model(self) -> Model:
        """What the process has built.

        Raises:
            TrainingError: the model does not fit into memory.
        """
        self._started()
        assert self._model is not None
        return self._model

    def epoch(self, batch_tokens: int) -> tuple[EpochPlan, EpochShape]:
        """The first epoch in batches of this size."""
        if batch_tokens not in self._shapes:
            batches = training_batches(self.config.with_batch_tokens(batch_tokens), self.prepared)
            plan = batches.epoch(0)
            self._shapes[batch_tokens] = plan, epoch_shape(batches, plan)
        return self._shapes[batch_tokens]

    def peak_memory(self, batch_tokens: int) -> int | None:
        """Bytes that the worst batches of this size need at once; None when they need more than the limit."""
        plan, shape = self.epoch(batch_tokens)
        # Gradients of one micro-batch are there while the next one is worked on.
        worst = [[plan[position]] * min(self.config.training.accumulation, 2) for position in shape.worst()]
        if not self._has_stepped:
            worst.append(worst[0])  # a process's first step has no state of the optimiser yet
        done = self._ask(Request(warm_up=worst, timed=[], seconds=0, at_least=0))
        if done is None or (self.memory_limit is not None and done.peak_memory > self.memory_limit):
            return None
        self.optimizer_bytes = done.optimizer_bytes
        return done.peak_memory

    def speed(
        self, batch_tokens: int, *, steps: int = 20, seconds: float, at_least: int = 3, warm_up: int = WARM_UP_STEPS
    ) -> Speed | None:
        """Time steps of the first epoch; None when one did not fit into memory.

        Args:
            batch_tokens: size of the micro-batches.
            steps: to be timed.
            seconds: end sooner when they have taken as long as this.
            at_least: but not before this many.
            warm_up: steps before them that are not timed.
        """
        plan, shape = self.epoch(batch_tokens)
        accumulation = self.config.training.accumulation
        made: list[Step] = []
        making: list[float] = []
        for number in range(warm_up + steps):
            start = time.perf_counter()
            first = number * accumulation
            made.append([plan[position % len(plan)] for position in range(first, first + accumulation)])
            making.append(time.perf_counter() - start)
        done = self._ask(Request(made[:warm_up], made[warm_up:], seconds, at_least))
        if done is None:
            return None
        self.optimizer_bytes = done.optimizer_bytes
        computing, waiting = statistics.median(done.seconds), statistics.median(making)
        # A GPU computes while the next batch is made.
        step_seconds = max(computing, waiting) if self.device.type == "cuda" else computing + waiting
        tokens = shape.target_tokens / shape.batches * accumulation
        return Speed(len(done.seconds), step_seconds, tokens / step_seconds)

    # -------------------------------------------------------------- process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is not None:
            return self._process
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from seq2seq.planning.steps import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for this process, which then ends that one
        )
        tokenizers = self.prepared.tokenizers
        start = Start(
            self.config,
            tokenizers.source.vocab_size,
            tokenizers.target.vocab_size,
            self.device,
            self.dtype,
            torch.get_num_threads(),
            self.memory_limit,
        )
        built = self._exchange(start)
        if not isinstance(built, Model):
            assert self.memory_limit is not None
            raise TrainingError(
                f"The model does not fit into {self.memory_limit / 2**30:.2f} GiB of memory; choose a smaller model, "
                "or free memory."
            )
        self._model = built
        return self._process

    def _ask(self, request: Request) -> Done | None:
        """The answer to a request, in a new process when the last one has ended; None when memory was too small."""
        self._started()
        answer = self._exchange(request)
        if not isinstance(answer, Done):
            return None
        self._has_stepped = True
        return answer

    def _exchange(self, question: Any) -> Any:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            pickle.dump(question, process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = process.wait()
            self._end()
            if code > 0:  # an exception, whose traceback is on stderr
                raise RuntimeError(f"the process that tries steps ended with exit code {code}") from None
            return OutOfMemory()  # by the system, or by a library that cannot do without
        if isinstance(answer, OutOfMemory):
            self._end()
        return answer

    def _end(self) -> None:
        process, self._process, self._has_stepped = self._process, None, False
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.kill()  # it has nothing to put in order
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()

"""The training loop: steps, validations and checkpoints, the same whether or not it was ever interrupted."""

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from seq2seq.checkpoint import TrainingState, load_training_state, load_weights, read_weights, weights_of
from seq2seq.config import Config, Parallel
from seq2seq.errors import TrainingError
from seq2seq.training.averaging import ExponentialMovingAverage, Weights
from seq2seq.training.distillation import Teacher
from seq2seq.training.distributed import Ranks
from seq2seq.training.interrupts import Interrupted, StopSignals
from seq2seq.training.interval import IntervalSums
from seq2seq.training.optimizer import load_optimizer_tensors, optimizer_tensors
from seq2seq.training.parallel import all_finite, gathered, laid_out
from seq2seq.training.report import MetricsLog, Progress, duration
from seq2seq.training.run_folder import RunFolder
from seq2seq.training.schedule import learning_rate
from seq2seq.training.step import build_step

Metrics = dict[str, float]
LOWER_IS_BETTER = ("loss",)
MAX_ROLLBACKS = 3
"""Returns to earlier states, without a good one saved since, after which the run ends."""
SMALLEST_RATE_FACTOR = 2.0**-10
"""A learning rate lowered that far by returns leads nowhere: the run ends."""
MUCH_VALIDATION = 0.3
"""Share of training.minutes for validations from which a sentence says so."""


def is_better(metric: str, metrics: Metrics, best: Metrics | None) -> bool:
    """Whether the watched metric beats the best so far; the loss decides between equals. NaN loses to any number."""
    return best is None or _rank(metric, metrics) > _rank(metric, best)


def _rank(metric: str, metrics: Metrics) -> list[tuple[bool, float]]:
    """What to compare: greater is better."""
    ranks = []
    for name in (metric, "loss"):
        value = -metrics[name] if name in LOWER_IS_BETTER else metrics[name]
        ranks.append((False, 0.0) if math.isnan(value) else (True, value))
    return ranks


class Epoch(Protocol):
    """The batches of one epoch; position k can be made without visiting the ones before it."""

    def __len__(self) -> int:
        """Batches in the epoch."""

    def __getitem__(self, position: int) -> Any:
        """The batch at a position."""


class Batches(Protocol):
    """The order of all batches, a pure function of (seed, epoch)."""

    def epoch(self, number: int) -> Epoch:
        """The batches of epoch 0, 1, 2, ..."""


class SaveCheckpoint(Protocol):
    """How the wiring writes a checkpoint; the loop knows no tokenizers."""

    def __call__(self, folder: Any, **parts: Any) -> None:
        """Write one; parts as in `checkpoint.save_checkpoint`."""


@dataclass(slots=True)
class Position:
    """Where a run stands; plain JSON values, saved with each checkpoint.

    Attributes:
        step: optimiser steps done.
        epoch: epoch of the next micro-batch.
        micro_batch: its position in the epoch, all ranks' counted.
        seconds: wall-clock time of the run so far, over all its processes.
        validations: how many validations were due and done.
        validated_step: the step of the newest validation.
        best: metrics of best/.
        best_step: its step; the newest one of an average.
        averaged: the steps of the checkpoints that best/ is the mean of; none where it is the model of one step.
        without_gain: validations since the newest that was the best so far.
        validation_seconds: how long the newest validation took.
        skipped_in_a_row: steps without an update up to here.
        rollbacks: returns to an earlier state since the newest good one was saved.
        rolled_back_at: the step of the newest return; 0 before any.
        rate_factor: what the schedule's learning rate is multiplied by; each return halves it.
    """

    step: int = 0
    epoch: int = 0
    micro_batch: int = 0
    seconds: float = 0.0
    validations: int = 0
    validated_step: int = 0
    best: Metrics | None = None
    best_step: int = 0
    averaged: list[int] = field(default_factory=list)
    without_gain: int = 0
    validation_seconds: float = 0.0
    skipped_in_a_row: int = 0
    rollbacks: int = 0
    rolled_back_at: int = 0
    rate_factor: float = 1.0


class Trainer:
    """Trains one model, on one process or on one of several ranks.

    Args:
        config: the run.
        model: on its device. While it is trained in shards, it stays whole, on the CPU between validations.
        batches: training batches.
        validate: (model, check) -> metrics of the validation text by name, loss among them; it calls check() now and
            then, which raises when the run was asked to stop.
        watch: the metric that decides what is best.
        folder: the run folder.
        save: writes a checkpoint.
        dtype: of the matrix products.
        text: fingerprints of the training texts, saved: a run does not go on with others.
        teacher: a model to learn from beside the text; nor does a run go on with another one of these.
        ranks: those that train together; None is this process alone.
    """

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        *,
        batches: Batches,
        validate: Callable[[nn.Module, Callable[[], None]], Metrics],
        watch: str,
        folder: RunFolder,
        save: SaveCheckpoint,
        dtype: torch.dtype,
        text: Sequence[str] = (),
        teacher: Teacher | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.text, self.teacher, self.ranks = list(text), teacher, ranks or Ranks()
        self.config, self.settings = config, config.training
        self.batches, self.validate, self.watch = batches, validate, watch
        self.folder, self.save, self.dtype = folder, save, dtype
        self.device = next(model.parameters()).device
        self.whole_model = self.model = model
        if self.ranks.world_size > 1 and self.settings.parallel is Parallel.fsdp:
            self.model = copy.deepcopy(model)
            self.whole_model.to("cpu")
        self.step = build_step(self.settings, self.model, dtype=dtype, teacher=teacher, ranks=self.ranks)
        self.optimizer = self.step.optimizer
        self.average = (
            None
            if self.settings.ema_decay is None
            else ExponentialMovingAverage(weights_of(self.model), decay=self.settings.ema_decay)
        )
        self.position = Position()
        self.progress = Progress()
        self._epoch: tuple[int, Epoch] | None = None
        self._sums = IntervalSums(self.device, self.ranks)
        if not self.ranks.first:
            self._seed()
        self._saved_step: int | None = None
        self._skipped_in_a_row = torch.zeros((), dtype=torch.int64, device=self.device)
        self._split_told = False
        self._clock = time.monotonic()

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a step, over all ranks."""
        return self.settings.accumulation * self.ranks.world_size

    # ---------------------------------------------------------------- state

    def state(self) -> TrainingState:
        """Everything that going on needs, beside the weights; tensors only on the first rank."""
        self._tick()
        self.position.skipped_in_a_row = int(self._skipped_in_a_row)
        tensors = {
            f"optimizer/{name}": tensor for name, tensor in optimizer_tensors(self.optimizer, self.model).items()
        }
        if self.average is not None:
            tensors |= {f"average/{name}": tensor for name, tensor in self.average.weights.items()}
        tensors = gathered(tensors, keep=self.ranks.first)
        for rank, states in enumerate(self.ranks.gather(self._random_states())):
            tensors |= {f"random/{name}/{rank}" if rank else f"random/{name}": state for name, state in states.items()}
        settings = {
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "text": self.text,
            "teacher": self.teacher.fingerprint if self.teacher else None,
            "intervals": {str(rank): sums for rank, sums in enumerate(self._sums.values())},
            "micro_batches": self.micro_batches,
        }
        return TrainingState(tensors, {**asdict(self.position), **settings, "scaler": self.step.scaler.state_dict()})

    def load_state(self, state: TrainingState, weights: dict[str, Tensor], *, origin: str) -> None:
        """Go on from a checkpoint.

        Raises:
            CheckpointError: it belongs to another model.
            TrainingError: it belongs to another teacher.
        """
        if state.values.get("teacher") != (self.teacher.fingerprint if self.teacher else None):
            raise TrainingError(
                f"{origin}: training.teacher ({self.settings.teacher}) is not the model that this run began with; name "
                "that one to go on, or choose another run_dir to start anew."
            )
        self._load_learned(state, weights, origin=origin)
        values = state.values  # a checkpoint of an older version has not all of them
        self.position = Position(**{name: values[name] for name in Position.__dataclass_fields__ if name in values})
        self.ranks.step = self.position.step
        self._set_random_states(state.tensors)
        self._sums.load(list(values.get("intervals", {}).values()))
        self._skipped_in_a_row.fill_(self.position.skipped_in_a_row)
        self._saved_step = self.position.step
        self._clock = time.monotonic()

    def _load_learned(self, state: TrainingState, weights: dict[str, Tensor], *, origin: str) -> None:
        """What the steps have made: weights, optimiser moments, the average, the loss scale of float16."""
        own = weights_of(self.model)
        load_weights(
            self.model,
            {name: laid_out(tensor, own[name]) if name in own else tensor for name, tensor in weights.items()},
            origin=origin,
        )
        self.optimizer.state.clear()
        if moments := state.group("optimizer"):
            for key, tensor in moments.items():
                if (name := key.rpartition("/")[0]) in own:
                    moments[key] = laid_out(tensor, own[name])
            load_optimizer_tensors(self.optimizer, self.model, moments, origin=origin)
        if self.average is not None:
            averages = state.group("average")
            self.average.weights = {name: laid_out(tensor, own[name]) for name, tensor in averages.items()}
        self.step.scaler.load_state_dict(state.values["scaler"])

    def _random_states(self) -> dict[str, Tensor]:
        """This rank's random-number generators, by kind of device."""
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def _set_random_states(self, tensors: dict[str, Tensor]) -> None:
        """Go on with this rank's of all ranks' generators; a rank that was not there begins anew."""
        suffix = "" if self.ranks.first else f"/{self.ranks.rank}"
        if f"random/cpu{suffix}" not in tensors:
            self._seed()
            return
        torch.set_rng_state(tensors[f"random/cpu{suffix}"])
        if self.device.type == "cuda" and f"random/cuda{suffix}" in tensors:
            torch.cuda.set_rng_state(tensors[f"random/cuda{suffix}"], self.device)

    def _seed(self) -> None:
        """Let dropout draw other numbers than on other ranks, and than earlier in the run."""
        key = [self.config.seed, self.ranks.rank, self.position.step]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    # ----------------------------------------------------------------- loop

    def fit(self, log: MetricsLog) -> None:
        """Train to the end of the run.

        Raises:
            Interrupted: some rank was asked to stop by a signal; last/ holds the state.
            TrainingError: losses or gradients are no longer finite, and going back to earlier states did not help.
        """
        self.model.train()
        self._clock = time.monotonic()
        with StopSignals() as signals:

            def check() -> None:
                self.ranks.check(signals)

            try:
                if self._saved_step is None:
                    self._save_last()  # from now on there is always a state to go on from
                while True:
                    if self._validation_is_due():
                        self._run_validation(log, check)
                        self._save_last()
                    if self._is_over():
                        break
                    if self.position.step and self.position.step % self.settings.save_every == 0:
                        self._mend_weights(log)
                        self._save_last()
                    self.ranks.agree_to_stop(signals)
                    self._step(log)
                if self.position.validated_step != self.position.step:
                    self._run_validation(log, check)
                self._save_last(again=True)
                self.ranks.agree_to_stop(signals)
            except Interrupted:
                if self._weights_are_finite():  # else the run goes on from the state before
                    self._save_last()
                self.ranks.barrier()  # a rank that ends takes the others with it
                raise

    def _step(self, log: MetricsLog) -> None:
        """One optimiser step, counted and logged."""
        position, settings = self.position, self.settings
        micro_batches = self._next_batches()
        rate = position.rate_factor * learning_rate(settings, step=position.step + 1, progress=self._share_done())
        result = self.step(micro_batches, rate=rate, sums=self._sums)
        position.step += 1
        self.ranks.step = position.step
        self._skipped_in_a_row = (self._skipped_in_a_row + 1) * result.skipped
        if self.average is not None:
            self.average.update(weights_of(self.model), step=position.step, skipped=result.skipped)
        self._tick()
        if result.splits and not self._split_told:
            self._split_told = True
            self.progress.say(
                f"step {position.step:,}: a batch did not fit into memory and was cut into {1 + result.splits} parts, "
                "which add up to the same gradient; this is said once and counted as splits in metrics.jsonl. Lower "
                f"training.batch_tokens ({settings.batch_tokens}) to save the time of the attempts that fail."
            )
        if position.step % settings.log_every == 0:
            self._log(log, rate, result.norm)
        if self._too_many_skipped():
            self._roll_back(log, f"no finite loss and gradient for {int(self._skipped_in_a_row)} steps in a row")

    def _next_batches(self) -> list[Any]:
        """This rank's micro-batches of a step: all ranks' are the next ones of one order, dealt out in turn.

        So N ranks with accumulation k take the steps of one with accumulation N * k, an epoch ends for all at once
        wherever in a step that is, and any number of ranks goes on at the same place.
        """
        position, batches = self.position, []
        for number in range(self.micro_batches):
            if self._epoch is None or self._epoch[0] != position.epoch:
                self._epoch = (position.epoch, self.batches.epoch(position.epoch))
            epoch = self._epoch[1]
            if number % self.ranks.world_size == self.ranks.rank:
                batches.append(epoch[position.micro_batch].to(self.device))
            position.micro_batch += 1
            if position.micro_batch >= len(epoch):
                position.epoch, position.micro_batch = position.epoch + 1, 0
        return batches

    # ----------------------------------------------------------- validation

    def _run_validation(self, log: MetricsLog, check: Callable[[], None]) -> None:
        position = self.position
        start = time.monotonic()
        self._mend_weights(log)
        self.progress.show(f"step {position.step:,}  validating ...", now=True)
        with self.model_with(None if self.average is None else self.average.weights) as model:
            model.eval()
            try:
                metrics = self.validate(model, check)
            finally:
                model.train()
            position.validation_seconds = self.ranks.broadcast(time.monotonic() - start)
            self._sums.leave_out(position.validation_seconds)
            position.validated_step = position.step
            position.validations += 1
            better = is_better(self.watch, metrics, position.best)
            if better:
                position.best, position.best_step, position.averaged = metrics, position.step, []
                position.without_gain = 0
                if self.ranks.first:
                    self.save(self.folder.best, model=model, metrics={"step": position.step, "valid": metrics})
            else:
                position.without_gain += 1
        self._tick()
        log.write("valid", position.step, **metrics, seconds=round(position.seconds, 3))
        figures = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.progress.say(f"step {position.step:,}  valid: {figures}{'  (best so far)' if better else ''}")
        if self.settings.minutes is not None and position.validations == 1:
            share = self.settings.validations * position.validation_seconds / (60 * self.settings.minutes)
            if share > MUCH_VALIDATION:
                self.progress.say(
                    f"{self.settings.validations} validations like this take {share:.0%} of training.minutes; fewer "
                    "training.validations or training.valid_lines leave more for training"
                )

    @contextlib.contextmanager
    def model_with(self, weights: Weights | None) -> Iterator[nn.Module]:
        """The whole model with some weights, whole or in shards; with those that are trained where None."""
        if self.whole_model is not self.model:
            try:
                found = gathered(weights_of(self.model) if weights is None else weights)
                load_weights(self.whole_model.to(self.device), found, origin="the shards")
                yield self.whole_model
            finally:
                self.whole_model.to("cpu")
        elif weights is None:
            yield self.model
        else:
            trained = {name: tensor.clone() for name, tensor in weights_of(self.model).items()}
            load_weights(self.model, weights, origin="the average")
            try:
                yield self.model
            finally:
                load_weights(self.model, trained, origin="the trained weights")

    def record_average(self, metrics: Metrics, steps: list[int]) -> None:
        """Note in last/ that best/ is the mean of some checkpoints, by step, newest first; a meeting of the ranks."""
        position = self.position
        position.best, position.best_step, position.averaged = metrics, steps[0], steps
        self._save_last(again=True)

    def _validation_is_due(self) -> bool:
        position, settings = self.position, self.settings
        if position.step == 0 or position.validated_step == position.step:
            return False
        if settings.minutes is None:
            return position.step % settings.validate_every == 0
        share = position.seconds / (60 * settings.minutes)
        return (
            position.validations < settings.validations - 1
            and share >= (position.validations + 1) / settings.validations
        )

    # ------------------------------------------------------------- progress

    def _is_over(self) -> bool:
        settings, position = self.settings, self.position
        if settings.patience and position.without_gain >= settings.patience:
            return True
        return self._share_done() >= 1

    def _share_done(self) -> float:
        """Share of the run that is done: of its steps, or of its minutes less those of the last validation."""
        shares = [0.0]
        if self.settings.steps is not None:
            shares.append(self.position.step / self.settings.steps)
        if self.settings.minutes is not None:
            shares.append(
                self.position.seconds / max(60 * self.settings.minutes - self.position.validation_seconds, 1e-9)
            )
        return max(shares)

    def _tick(self) -> None:
        now = time.monotonic()
        self.position.seconds += now - self._clock
        self._clock = now
        if self.settings.minutes is not None:  # the clock decides what comes next, so there is only one
            (self.position.seconds,) = self.ranks.sum(self.position.seconds if self.ranks.first else 0.0)

    def _log(self, log: MetricsLog, rate: float, norm: Tensor) -> None:
        position = self.position
        figures = self._sums.figures()
        log.write(
            "train",
            position.step,
            **figures,
            learning_rate=rate,
            gradient_norm=round(float(norm), 5),
            epoch=position.epoch,
            seconds=round(position.seconds, 3),
        )
        share = max(self._share_done(), 1e-9)
        ends = f"/{self.settings.steps:,}" if self.settings.steps is not None else ""
        skipped = f"  skipped {figures['skipped']} steps, loss not finite" if figures["skipped"] else ""
        self.progress.show(
            f"step {position.step:,}{ends}  epoch {position.epoch + 1}  loss {figures['loss']:.4f}  "
            f"rate {rate:.2e}  {figures['tokens_per_second']:,.0f} tokens/s{skipped}  "
            f"left {duration(position.seconds * (1 - share) / share)}"
        )
        self._sums.clear()

    # --------------------------------------------------------------- saving

    def _save_last(self, *, again: bool = False) -> None:
        """Write last/ unless it already is this step's."""
        position = self.position
        if self._saved_step == position.step and not again:
            return
        regular = self._is_regular(position.step)
        if regular and not self._skipped_in_a_row and position.step > position.rolled_back_at:
            position.rollbacks = 0
        older, saved = None, self._saved_step
        # only those of save_every are kept: what a validation or an interruption left behind is for going on
        if saved is not None and saved != position.step and self._is_regular(saved):
            older = self.folder.name_when_older(saved)
        state, weights = self.state(), gathered(weights_of(self.model), keep=self.ranks.first)
        if self.ranks.first:
            self.save(
                self.folder.last,
                model=self.whole_model,
                weights=weights,
                metrics={"step": position.step},
                training=state,
                displaced=older,
            )
            self.folder.drop_surplus(last_counts=regular)
        self._saved_step = position.step

    def _is_regular(self, step: int) -> bool:
        """Whether a state is saved at this step however the run goes: it may be gone back to."""
        return step % self.settings.save_every == 0

    # --------------------------------------------------------------- trouble

    def _too_many_skipped(self) -> bool:
        """Whether to go back; steps are counted on the device, and a GPU is asked once in max_skipped steps only."""
        most = self.settings.max_skipped
        if self.device.type != "cpu" and self.position.step % most:
            return False
        # a loss scale above 1 (float16) is still on its way down to where nothing overflows
        return int(self._skipped_in_a_row) >= most and self.step.scaler.get_scale() <= 1

    def _weights_are_finite(self) -> bool:
        return all_finite(weights_of(self.model), self.ranks)

    def _mend_weights(self, log: MetricsLog) -> None:
        """Weights that are no numbers must not take the place of good ones."""
        if not self._weights_are_finite():
            self._roll_back(log, "some weights are not numbers")

    def _roll_back(self, log: MetricsLog, why: str) -> None:
        """Take weights, optimiser and average from the newest good state, or from one before it if that was in vain.

        Steps, schedule, random numbers and the order of the data go on from here, past what may have been the cause,
        with half the learning rate.

        Raises:
            TrainingError: there is no such state, or MAX_ROLLBACKS of them did not help.
        """
        position = self.position
        states = self.ranks.broadcast(self.folder.good_states(self._is_regular) if self.ranks.first else [])
        if not states or position.rollbacks >= MAX_ROLLBACKS or position.rate_factor <= SMALLEST_RATE_FACTOR:
            raise self._diverged(why)
        step, origin = states[min(position.rollbacks, len(states) - 1)]
        self._load_learned(load_training_state(origin), read_weights(origin), origin=str(origin))
        self._skipped_in_a_row.zero_()
        position.rollbacks, position.rolled_back_at = position.rollbacks + 1, position.step
        position.rate_factor /= 2
        log.write("rollback", position.step, to_step=step, rate_factor=position.rate_factor)
        self.progress.say(
            f"step {position.step:,}: {why}; going on with the weights of step {step:,}, with the text that comes next "
            f"and {position.rate_factor:g} times the learning rate."
        )

    def _diverged(self, why: str) -> TrainingError:
        best = f" {self.folder.best} holds the best checkpoint so far." if self.position.best is not None else ""
        factor = self.position.rate_factor
        returns = f", also with earlier weights and {factor:g} times the learning rate" if factor < 1 else ""
        return TrainingError(
            f"Training has diverged: at step {self.position.step} {why}{returns}. Lower training.learning_rate "
            f"({self.settings.learning_rate}) or raise training.warmup_steps.{best}"
        )

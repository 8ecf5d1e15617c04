"""The plan of a run: everything that can be known or measured before it starts."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from seq2seq.checkpoint import load_config, load_training_state
from seq2seq.config import AUTO, Config, Resume
from seq2seq.data.prepare import Prepared
from seq2seq.errors import CheckpointError, TrainingError
from seq2seq.planning.budget import Survey, Trial, does_not_fit, survey_of
from seq2seq.planning.forecast import Forecast, Progress, forecast
from seq2seq.planning.probe import Probe, Speed
from seq2seq.planning.statistics import CorpusStatistics, EpochShape, corpus_statistics
from seq2seq.planning.steps import Model
from seq2seq.training.run_folder import RunFolder, changed_settings

STEPS, STEP_SECONDS = 20, 20.0
"""Steps of the run's own size that are timed, fewer once they have taken so many seconds."""
BISECT = 2
"""Times that the gap between the largest size that fits and the first that does not is halved."""


@dataclass(frozen=True, slots=True)
class RunThere:
    """What stands in the run's folder.

    Attributes:
        checkpoint: that training would go on from; None when there is none that it can.
        progress: how far the run there has come.
        hindrance: why training would refuse to go on, as a sentence; None when it would go on.
        batch_tokens: that the run began with.
    """

    checkpoint: str | None
    progress: Progress
    hindrance: str | None
    batch_tokens: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a run before it starts.

    Attributes:
        config: of the run, with a number for batch_tokens.
        asked_batch_tokens: what the configuration said: that number, or auto.
        device: where it trains.
        dtype: of the matrix products.
        threads: of the CPU.
        there: what stands in its folder; None when nothing does.
        corpus_name: where the text comes from.
        model: what is trained.
        optimizer_bytes: of the optimiser's state.
        corpus: the training text.
        epoch: its batches.
        speed: of the steps; None when a batch does not fit into memory.
        peak_memory: bytes of the worst batches; None when they do not fit.
        memory_limit: bytes that they may take; None when nobody knows.
        survey: of other sizes.
        forecast: None when a batch does not fit.
    """

    config: Config
    asked_batch_tokens: int | str
    device: torch.device
    dtype: torch.dtype
    threads: int
    there: RunThere | None
    corpus_name: str
    model: Model
    optimizer_bytes: int
    corpus: CorpusStatistics
    epoch: EpochShape
    speed: Speed | None
    peak_memory: int | None
    memory_limit: int | None
    survey: Survey
    forecast: Forecast | None

    @property
    def sizes(self) -> list[Trial]:
        """All sizes that were measured, the run's own among them, from small to large."""
        tokens = self.config.training.token_budget
        own = {tokens: Trial(tokens, self.peak_memory, self.speed)}
        measured = own | {trial.batch_tokens: trial for trial in self.survey.trials}
        return [measured[size] for size in sorted(measured)]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values: bytes, seconds, tokens; null where something is not known or does not fit."""
        training, there = self.config.training, self.there
        worst = self.epoch.worst()
        return {
            "task": self.config.task.value,
            "run_dir": self.config.run_dir,
            "run_there": None if there is None else {**asdict(there), "would_go_on": there.hindrance is None},
            "device": str(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "threads": self.threads,
            "corpus_name": self.corpus_name,
            "parameters": {**self.model.parameters, "total": sum(self.model.parameters.values())},
            "checkpoint_bytes": {
                "best": self.model.weight_bytes,
                "last": self.model.weight_bytes + self.optimizer_bytes,
            },
            "optimizer_bytes": self.optimizer_bytes,
            "corpus": asdict(self.corpus),
            "epoch": {
                "batches": self.epoch.batches,
                "target_tokens": self.epoch.target_tokens,
                "padding": self.epoch.padding,
                "worst_batches": [
                    {"rows": int(self.epoch.rows[index]), "padded_tokens_of_a_row": int(self.epoch.lengths[index])}
                    for index in worst
                ],
            },
            "batch_tokens": training.token_budget,
            "batch_tokens_asked": self.asked_batch_tokens,
            "accumulation": training.accumulation,
            "speed": None if self.speed is None else asdict(self.speed),
            "peak_memory": self.peak_memory,
            "memory_limit": self.memory_limit,
            "sizes": [asdict(trial) for trial in self.sizes],
            "sizes_end": self.survey.end.value,
            "largest_that_fits": self.survey.largest,
            "auto": self.survey.chosen().batch_tokens if self.survey.largest else None,
            "forecast": None if self.forecast is None else asdict(self.forecast),
        }


def make_plan(
    config: Config,
    prepared: Prepared,
    *,
    there: RunThere | None,
    device: torch.device,
    dtype: torch.dtype,
    threads: int,
    memory_limit: int | None = None,
    price_per_hour: float | None = None,
) -> Plan:
    """Measure a run without training it.

    Args:
        config: of the run.
        prepared: its text.
        there: what stands in its folder.
        device: where it trains.
        dtype: of the matrix products.
        threads: of the CPU.
        memory_limit: bytes that a batch may take; None: most of what is free.
        price_per_hour: of the machine.

    Raises:
        TrainingError: the model or the smallest batch does not fit into memory.
    """
    asked = config.training.batch_tokens
    with Probe(config, prepared, device=device, dtype=dtype, memory_limit=memory_limit) as probe:
        model = probe.model()
        tokens = there.batch_tokens if asked == AUTO and there is not None and there.hindrance is None else asked
        survey = survey_of(probe, bisect=BISECT)  # first, as training would
        if not isinstance(tokens, int):
            if survey.largest is None:
                raise TrainingError(does_not_fit(probe.memory_limit))
            tokens = survey.chosen().batch_tokens
        peak = probe.peak_memory(tokens)
        speed = None if peak is None else probe.speed(tokens, steps=STEPS, seconds=STEP_SECONDS)
        _, epoch = probe.epoch(tokens)
        config = config.with_batch_tokens(tokens)
        progress = there.progress if there is not None and there.hindrance is None else Progress()
        ahead = None
        if speed is not None:
            ahead = forecast(
                config.training,
                step_seconds=speed.step_seconds,
                batches_per_epoch=epoch.batches,
                progress=progress,
                price_per_hour=price_per_hour,
            )
        return Plan(
            config=config,
            asked_batch_tokens=asked,
            device=device,
            dtype=dtype,
            threads=threads,
            there=there,
            corpus_name=prepared.corpus_name,
            model=model,
            optimizer_bytes=probe.optimizer_bytes,
            corpus=corpus_statistics(prepared, task=config.task, epoch=epoch),
            epoch=epoch,
            speed=speed,
            peak_memory=peak,
            memory_limit=probe.memory_limit,
            survey=survey,
            forecast=ahead,
        )


def run_there(config: Config) -> RunThere | None:
    """What stands in a run's folder; nothing is touched."""
    folder = RunFolder(config.run_dir, keep=config.training.keep_checkpoints)
    try:
        newest, _ = folder.newest_good()
    except CheckpointError as error:
        return RunThere(None, Progress(), str(error), None)
    if newest is None:
        if not folder.best.exists():
            return None
        return RunThere(None, Progress(), "It holds a result in best/ but no training state to go on from.", None)
    stored, values = load_config(newest), load_training_state(newest).values
    progress = Progress(
        step=values["step"],
        seconds=values["seconds"],
        validations=values["validations"],
        validation_seconds=values["validation_seconds"] if values["validations"] else None,
    )
    hindrance = None
    if config.training.resume is Resume.never:
        hindrance = "training.resume=never keeps training from going on with it."
    elif different := changed_settings(stored, config):
        hindrance = f"It was begun with other settings: {'; '.join(different[:5])}."
    return RunThere(str(newest), progress, hindrance, stored.training.token_budget)

"""How long a run will take and what it will cost: arithmetic on what was measured."""

import math
from dataclasses import dataclass

from seq2seq.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come; the defaults are a run that has not begun.

    Attributes:
        step: optimiser steps done.
        seconds: of wall-clock time taken.
        validations: done.
        validation_seconds: how long the newest took; None when there was none yet.
    """

    step: int = 0
    seconds: float = 0.0
    validations: int = 0
    validation_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is left of a run.

    Attributes:
        steps: optimiser steps of the whole run.
        epochs: passes over the training text of the whole run.
        seconds: from now to the end; with validations where their time is known.
        validations: still to come.
        cost: from now to the end, in the unit of the price; None without a price.
    """

    steps: int
    epochs: float
    seconds: float
    validations: int
    cost: float | None


def forecast(
    settings: TrainingConfig,
    *,
    step_seconds: float,
    batches_per_epoch: int,
    progress: Progress,
    price_per_hour: float | None = None,
) -> Forecast:
    """Look ahead to the end of a run: its steps or its minutes, whichever come first.

    Args:
        settings: of the run.
        step_seconds: of one optimiser step, as measured.
        batches_per_epoch: micro-batches of an epoch.
        progress: how far it has come.
        price_per_hour: of the machine.
    """
    each = progress.validation_seconds or 0.0
    if settings.minutes is None:
        assert settings.steps is not None
        steps = max(0, settings.steps - progress.step)
        due = _validations(progress.step, steps, settings.validate_every)
        seconds = steps * step_seconds + due * each
    else:
        due = max(0, settings.validations - progress.validations)
        seconds = max(0.0, 60 * settings.minutes - progress.seconds)
        steps = max(0, math.ceil((seconds - due * each) / step_seconds))
        if settings.steps is not None and settings.steps - progress.step < steps:
            steps = max(0, settings.steps - progress.step)
            share = (progress.seconds + steps * step_seconds) / (60 * settings.minutes)
            due = max(0, int(share * settings.validations) - progress.validations) + 1  # evenly spread, and at the end
            seconds = steps * step_seconds + due * each
    total = progress.step + steps
    return Forecast(
        steps=total,
        epochs=total * settings.accumulation / batches_per_epoch,
        seconds=seconds,
        validations=due,
        cost=None if price_per_hour is None else seconds / 3600 * price_per_hour,
    )


def _validations(step: int, steps: int, every: int) -> int:
    """How many validations come in the next steps: every so many, and at the end if none is due just then."""
    last = step + steps
    return last // every - step // every + (1 if steps and last % every else 0)

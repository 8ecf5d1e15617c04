"""The learning rate as a pure function of where the run stands."""

import math
from collections.abc import Callable

from seq2seq.config import DecayShape, Schedule, TrainingConfig

MINUTES_WARMUP_SHARE = 0.1
"""With a wall-clock budget, warm-up ends after this share of it even if warmup_steps were not reached."""


def learning_rate(config: TrainingConfig, *, step: int, progress: float) -> float:
    """The rate for one optimiser step.

    Args:
        config: schedule, peak rate and warm-up.
        step: optimiser steps done, counting this one: 1 for the first.
        progress: share of the run that is done, 0 to 1: of its steps, or of its minutes.

    Returns:
        Linear warm-up (a factor that rises to 1) times one of these shapes. Those of progress fall from the first step
        on, because where warm-up ends is not known beforehand when minutes decide: with a tenth of the run for
        warm-up, linear tops out at nine tenths of the peak.
            inverse_sqrt: falls with 1 / sqrt(step) (Vaswani et al. 2017, section 5.3)
            cosine: half a cosine wave down to final_learning_rate (Loshchilov & Hutter 2017)
            linear: a straight line down to final_learning_rate
            constant: stays
            wsd: stays, and in the last decay_share falls to final_learning_rate (Hägele et al. 2024, "Scaling Laws and
                Compute-Optimal Training Beyond Fixed Training Durations"): by 1 - sqrt(share of the fall) or linearly
    """
    warmup = min(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
    if config.minutes is not None:
        warmup = min(1.0, max(warmup, progress / MINUTES_WARMUP_SHARE))
    shape = SHAPES[config.schedule](config, step, min(1.0, max(0.0, progress)))
    return config.learning_rate * warmup * shape


def _inverse_sqrt(config: TrainingConfig, step: int, progress: float) -> float:
    peak = max(config.warmup_steps, 1)
    return math.sqrt(peak / max(step, peak))


def _cosine(config: TrainingConfig, step: int, progress: float) -> float:
    end = config.final_learning_rate
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * progress))


def _linear(config: TrainingConfig, step: int, progress: float) -> float:
    end = config.final_learning_rate
    return end + (1 - end) * (1 - progress)


def _constant(config: TrainingConfig, step: int, progress: float) -> float:
    return 1.0


def _wsd(config: TrainingConfig, step: int, progress: float) -> float:
    end = config.final_learning_rate
    fall = max(0.0, 1 - (1 - progress) / config.decay_share)
    if config.decay_shape is DecayShape.one_minus_sqrt:
        fall = math.sqrt(fall)
    return end + (1 - end) * (1 - fall)


SHAPES: dict[Schedule, Callable[[TrainingConfig, int, float], float]] = {
    Schedule.inverse_sqrt: _inverse_sqrt,
    Schedule.cosine: _cosine,
    Schedule.linear: _linear,
    Schedule.constant: _constant,
    Schedule.wsd: _wsd,
}

"""Real steps in a real process."""

import os
import signal
from collections.abc import Callable

import pytest
import torch

from seq2seq.config import Config
from seq2seq.configure import run_config
from seq2seq.data.prepare import Prepared, prepare
from seq2seq.errors import TrainingError
from seq2seq.model.build import build_model
from seq2seq.planning.budget import survey_of
from seq2seq.planning.parameters import parameters_by_part
from seq2seq.planning.probe import Probe
from seq2seq.planning.steps import Model, Start, Stepper

CPU, FLOAT32 = torch.device("cpu"), torch.float32


def made(
    tiny_run: Callable[..., list[str]], *more: str, task: str = "translation", lines: int = 600
) -> tuple[Config, Prepared]:
    config = run_config(tiny_run(task, *more, lines=lines), "test")
    return config, prepare(config)


def probe_of(config: Config, prepared: Prepared, memory_limit: int | None = None) -> Probe:
    return Probe(config, prepared, device=CPU, dtype=FLOAT32, memory_limit=memory_limit)


def test_steps_are_real_and_leave_nothing_behind(tiny_run: Callable[..., list[str]]) -> None:
    config, prepared = made(tiny_run, "training.accumulation=2", "training.ema_decay=0.9")
    random_numbers = torch.get_rng_state()
    with probe_of(config, prepared) as probe:
        model = build_model(
            config.model,
            task=config.task,
            source_vocab_size=prepared.tokenizers.source.vocab_size,
            target_vocab_size=prepared.tokenizers.target.vocab_size,
        )
        torch.set_rng_state(random_numbers)
        assert probe.model().parameters == parameters_by_part(model)
        count = sum(parameter.numel() for parameter in model.parameters())
        assert probe.model().weight_bytes == 4 * count
        small, large = probe.peak_memory(64), probe.peak_memory(16384)
        assert small is not None and large is not None
        assert 50 * 2**20 < small < large
        assert probe.optimizer_bytes >= 2 * 4 * count  # two moments of each weight, and counters
        speed = probe.speed(64, steps=6, seconds=60)
        assert speed is not None
        _, shape = probe.epoch(64)
        assert speed.steps == 6
        tokens = 2 * shape.target_tokens / shape.batches
        assert speed.tokens_per_second == pytest.approx(tokens / speed.step_seconds)
        short = probe.speed(64, steps=6, seconds=0, at_least=2)
        assert short is not None and short.steps == 2
        process = probe._process
        assert process is not None
    assert process.poll() is not None
    assert torch.equal(torch.get_rng_state(), random_numbers)


def test_the_process_has_the_threads_of_the_one_that_starts_it(
    tiny_run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank of several has a share of the cores, which training.threads does not tell."""
    config, prepared = made(tiny_run, "training.threads=null")
    sent: list[Start] = []

    def exchange(_: Probe, start: Start) -> Model:
        sent.append(start)
        return Model({}, 0, 0)

    monkeypatch.setattr(Probe, "_exchange", exchange)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with probe_of(config, prepared) as probe:
            probe.model()
        torch.set_num_threads(1)
        Stepper(sent[0])  # what the process does with it
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_limit_is_kept(tiny_run: Callable[..., list[str]]) -> None:
    config, prepared = made(tiny_run, lines=6000)
    with probe_of(config, prepared) as probe:
        small, large = probe.peak_memory(64), probe.peak_memory(50_000)
        assert small is not None and large is not None
        assert large - small > 20 * 2**20
    limit = (small + large) // 2
    with probe_of(config, prepared, memory_limit=limit) as probe:
        assert probe.peak_memory(50_000) is None
        again = probe.peak_memory(64)  # in a new process, as the other is spent
        assert again is not None and again <= limit
        found = survey_of(probe, bisect=2)
        assert found.largest is not None and found.largest < 50_000
        assert all(trial.peak_memory is not None and trial.peak_memory <= limit for trial in found.fitting)


def test_a_model_that_does_not_fit_is_refused(tiny_run: Callable[..., list[str]]) -> None:
    config, prepared = made(tiny_run)
    with probe_of(config, prepared, memory_limit=1) as probe, pytest.raises(TrainingError, match="does not fit into 0"):
        probe.model()


def test_a_process_that_the_system_ends_did_not_fit(
    tiny_run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, prepared = made(tiny_run)
    with probe_of(config, prepared) as probe:
        probe.model()
        assert probe._process is not None
        os.kill(probe._process.pid, signal.SIGKILL)
        probe._process.wait()
        assert probe.peak_memory(64) is None
        assert probe.peak_memory(64) is not None


def test_our_own_mistakes_are_not_called_lack_of_memory(
    tiny_run: Callable[..., list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    config, prepared = made(tiny_run)
    config.training.learning_rate = "fast"  # type: ignore[assignment]
    with probe_of(config, prepared) as probe, pytest.raises(RuntimeError, match="ended with exit code 1"):
        probe.speed(64, seconds=1)
    assert "TypeError" in capfd.readouterr().err

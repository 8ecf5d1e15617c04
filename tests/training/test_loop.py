"""The loop's own promises, on a model of a few numbers, made batches and a made clock."""

import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seq2seq.checkpoint import weights_of
from seq2seq.config import Config, TrainingConfig
from seq2seq.data.batch import IGNORE, Batch
from seq2seq.errors import TrainingError
from seq2seq.training import loop
from seq2seq.training.interrupts import Interrupted
from seq2seq.training.loop import Metrics, Trainer
from seq2seq.training.report import MetricsLog
from seq2seq.training.run_folder import RunFolder

VOCAB, DIM = 7, 4


class Tiny(nn.Module):
    """The smallest thing with features and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, DIM)
        self.head = nn.Linear(DIM, VOCAB)

    def features(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.embedding(tokens)
        return hidden


def batch(rows: Tensor) -> Batch:
    """Rows of tokens that predict their next one; IGNORE after the end."""
    target = rows[:, 1:]
    return Batch(None, None, rows[:, :-1].clamp(min=0), target, int((target != IGNORE).sum()))


class Made:
    """Batches of the same few in turn, as epochs of their own."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def epoch(self, number: int) -> list[Batch]:
        return self.batches


def rows(seed: int, count: int = 8) -> Tensor:
    tokens = torch.randint(VOCAB, (count, 6), generator=torch.Generator().manual_seed(seed))
    tokens[count // 2 :, 3:] = IGNORE  # micro-batches of different numbers of tokens
    return tokens


class Clock:
    """time.monotonic() that goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Run:
    """A trainer with what it wrote."""

    def __init__(
        self,
        folder: Path,
        batches: list[Batch],
        *,
        losses: Iterator[float] | None = None,
        double: bool = False,
        **settings: Any,
    ) -> None:
        torch.manual_seed(3)
        model = Tiny().double() if double else Tiny()
        self.saved: list[tuple[str, int, dict[str, Tensor]]] = []
        self.validated: list[tuple[int, dict[str, Tensor]]] = []
        self.displaced: list[str] = []
        self.losses = losses or itertools.count(100, -1)
        defaults = {"steps": 6, "warmup_steps": 0, "validate_every": 100, "save_every": 100, "log_every": 1}
        self.trainer = Trainer(
            Config(training=TrainingConfig(**{**defaults, **settings})),
            model,
            batches=Made(batches),
            validate=self.validate,
            watch="loss",
            folder=RunFolder(folder, keep=0),
            save=self.save,
            dtype=torch.float32,  # no autocast
        )
        folder.mkdir(exist_ok=True)
        self.lines = folder / "metrics.jsonl"

    def validate(self, model: nn.Module, check: Callable[[], None]) -> Metrics:
        self.validated.append((self.trainer.position.step, self.copy(model)))
        return {"loss": float(next(self.losses))}

    def save(self, folder: Path, *, model: nn.Module, displaced: Path | None = None, **_: Any) -> None:
        self.saved.append((folder.name, self.trainer.position.step, self.copy(model)))
        self.displaced += [displaced.name] if displaced else []

    def copy(self, model: nn.Module) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in weights_of(model).items()}

    def fit(self) -> "Run":
        log = MetricsLog(self.lines, tensorboard=None, step=0)
        try:
            self.trainer.fit(log)
        finally:
            log.close()
        return self

    def records(self, kind: str) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in self.lines.read_text().splitlines()]
        return [record for record in records if record["kind"] == kind]


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor], **tolerance: float) -> None:
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], **(tolerance or {"rtol": 0, "atol": 0}))


def test_accumulated_micro_batches_make_the_step_of_one_large_batch(tmp_path: Path) -> None:
    """Though they hold different numbers of tokens: the loss is divided by all of them, once."""
    tokens = rows(1)
    whole = Run(tmp_path / "whole", [batch(tokens)], steps=5, double=True).fit()
    parts = Run(tmp_path / "parts", [batch(tokens[:4]), batch(tokens[4:])], steps=5, accumulation=2, double=True).fit()
    assert_equal(weights_of(whole.trainer.model), weights_of(parts.trainer.model), rtol=1e-10, atol=1e-12)
    first, second = whole.records("train"), parts.records("train")
    assert [record["tokens"] for record in first] == [record["tokens"] for record in second]
    losses = [[record["loss"] for record in records] for records in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)  # the log adds up in float32


def test_a_step_is_adamw_on_the_smoothed_mean(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"label_smoothing": 0.2, "clip_norm": 0.1, "learning_rate": 0.1, "schedule": "constant"}
    ours = Run(tmp_path / "run", [batch(rows(1))], steps=3, double=True, **settings).fit()
    torch.manual_seed(3)
    model = Tiny().double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0)
    norms = []
    for _ in range(3):
        tokens = rows(1)
        logits = model.head(model.features(tokens[:, :-1].clamp(min=0)))
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:].flatten(), label_smoothing=0.2, ignore_index=IGNORE
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.1)))
        optimizer.step()
    assert min(norms) > 0.1  # clipping had something to do
    assert [record["gradient_norm"] for record in ours.records("train")] == pytest.approx(norms, abs=1e-5)
    assert_equal(weights_of(ours.trainer.model), weights_of(model), rtol=1e-8, atol=1e-10)


def test_the_average_is_validated_and_saved_as_best_and_the_raw_weights_as_last(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", [batch(rows(1))], ema_decay=0.9, validate_every=3, learning_rate=0.05).fit()
    average = run.trainer.average
    assert average is not None
    assert_equal(run.validated[-1][1], average.weights)
    best = [weights for name, _, weights in run.saved if name == "best"]
    last = [weights for name, _, weights in run.saved if name == "last"]
    assert_equal(best[-1], average.weights)
    assert_equal(last[-1], weights_of(run.trainer.model))
    assert not torch.equal(best[-1]["head.weight"], last[-1]["head.weight"])


def test_best_is_the_best_and_patience_counts_from_it(tmp_path: Path) -> None:
    losses = iter([5.0, 3.0, 4.0, 3.5, 1.0, 1.0])
    run = Run(
        tmp_path / "run", [batch(rows(1))], steps=50, validate_every=2, losses=losses,
        early_stopping="loss", patience=2,
    ).fit()  # fmt: skip
    assert [step for step, _ in run.validated] == [2, 4, 6, 8]  # the best at 4, two without gain, the end
    assert [step for name, step, _ in run.saved if name == "best"] == [2, 4]
    assert run.trainer.position.best_step == 4


def test_every_validation_leaves_a_state_to_go_on_from(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", [batch(rows(1))], steps=9, validate_every=4).fit()
    assert [step for name, step, _ in run.saved if name == "last"] == [0, 4, 8, 9]


def test_minutes_spread_the_validations_and_end_within_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(loop.time, "monotonic", clock)
    run = Run(tmp_path / "run", [batch(rows(1))], steps=None, minutes=10, validations=4, schedule="linear").fit()
    seconds = [record["seconds"] for record in run.records("valid")]
    assert len(seconds) == 4
    assert seconds[:3] == pytest.approx([150, 300, 450], abs=30)
    assert 570 <= seconds[3] <= 610  # a step and a validation take some looks at the clock
    assert run.records("train")[-1]["learning_rate"] < 0.05 * run.trainer.settings.learning_rate


def test_a_loss_that_is_no_number_stops_the_run_before_it_is_saved(tmp_path: Path) -> None:
    """Neither as last nor as best, whether or not a line of the log is due at that step."""
    for log_every, due in itertools.product((1, 100), ("save_every", "validate_every")):
        run = Run(tmp_path / f"{log_every} {due}", [batch(rows(1))], log_every=log_every, **{due: 3})
        real, steps = run.trainer._step, itertools.count(1)

        def step(log: MetricsLog, run: Run = run, real: Any = real, steps: Iterator[int] = steps) -> None:
            real(log)
            if next(steps) == 3:
                with torch.no_grad():
                    run.trainer.model.head.weight.fill_(float("nan"))

        run.trainer._step = step  # type: ignore[method-assign]
        with pytest.raises(TrainingError, match="diverged: at step 3 some weights are not numbers"):
            run.fit()
        assert [(name, step) for name, step, _ in run.saved] == [("last", 0)]


def test_older_checkpoints_are_those_of_save_every(tmp_path: Path) -> None:
    """What a validation leaves behind is for going on only."""
    run = Run(tmp_path / "run", [batch(rows(1))], steps=9, validate_every=3, save_every=4)
    run.trainer.folder.keep = 5
    run.fit()
    assert run.displaced == ["step-4", "step-8"]


def test_a_signal_in_the_last_save_is_not_lost(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", [batch(rows(1))], steps=3)
    real = run.save

    def save(folder: Path, **parts: Any) -> None:
        real(folder, **parts)
        if folder.name == "last" and run.trainer.position.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    run.trainer.save = save
    with pytest.raises(Interrupted, match="SIGTERM"):
        run.fit()
    assert run.trainer.position.step == 3

"""The loop's own promises, on a model of a few numbers, made batches and a made clock."""

import contextlib
import itertools
import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from seq2seq.checkpoint import load_training_state, read_weights, save_checkpoint, weights_of
from seq2seq.config import Config, TrainingConfig
from seq2seq.data.batch import IGNORE, Batch
from seq2seq.data.tokenizer import ByteTokenizer, Tokenizers
from seq2seq.errors import TrainingError
from seq2seq.training import loop
from seq2seq.training.interrupts import Interrupted
from seq2seq.training.loop import Metrics, Trainer, is_better
from seq2seq.training.optimizer import optimizer_tensors
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


SCORES = st.sampled_from([math.nan, 0.0, 0.5, 1.0, math.inf])


@pytest.mark.parametrize("metric", ["loss", "bleu"])
@given(results=st.lists(st.fixed_dictionaries({"loss": SCORES, "bleu": SCORES}), min_size=1, max_size=6))
def test_the_best_of_several_is_a_number_where_there_is_one(metric: str, results: list[Metrics]) -> None:
    """In whichever order they come; of equal scores the one with the lower loss, and of those the first."""
    best: Metrics | None = None
    for result in results:
        assert not is_better(metric, result, result)
        best = result if is_better(metric, result, best) else best
    assert best is not None
    numbers = [result for result in results if not math.isnan(result[metric])]
    if not numbers:
        assert math.isnan(best[metric])
        numbers = results
    else:
        top = (min if metric == "loss" else max)(result[metric] for result in numbers)
        assert best[metric] == top
        numbers = [result for result in numbers if result[metric] == top]
    losses = [result["loss"] for result in numbers if not math.isnan(result["loss"])]
    assert best["loss"] == min(losses) if losses else math.isnan(best["loss"])


def test_a_first_validation_that_is_no_number_does_not_stay_the_best(tmp_path: Path) -> None:
    losses = iter([math.nan, math.nan, 4.0, math.nan, 3.0, 5.0])
    run = Run(
        tmp_path / "run", [batch(rows(1))], steps=12, validate_every=2, losses=losses, early_stopping="loss"
    ).fit()
    assert [step for name, step, _ in run.saved if name == "best"] == [2, 6, 10]
    assert (run.trainer.position.best, run.trainer.position.best_step) == ({"loss": 3.0}, 10)


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


@pytest.mark.parametrize(("validations", "said"), [(2, False), (20, True)])
def test_validations_that_eat_the_budget_are_pointed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], validations: int, said: bool
) -> None:
    clock = Clock()
    monkeypatch.setattr(loop.time, "monotonic", clock)
    Run(tmp_path / "run", [batch(rows(1))], steps=None, minutes=1, validations=validations).fit()
    errors = capfd.readouterr().err
    assert errors.count("validations like this take") == said
    assert ("20 validations like this take" in errors) == said


def test_older_checkpoints_are_those_of_save_every(tmp_path: Path) -> None:
    """What a validation leaves behind is for going on only."""
    run = Run(tmp_path / "run", [batch(rows(1))], steps=9, validate_every=3, save_every=4)
    run.trainer.folder.keep = 5
    run.fit()
    assert run.displaced == ["step-0", "step-4", "step-8"]  # the start: at step 3 there was nothing else to go back to


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


# --------------------------------------------------------------- not finite


class Fragile(Tiny):
    """Has no finite features where a row begins with the last token, nor when its weights are too large."""

    largest = math.inf

    def features(self, tokens: Tensor) -> Tensor:
        hidden = super().features(tokens)
        poisoned = (tokens[:, :1, None] == VOCAB - 1) | (self.head.weight.detach().abs().max() > self.largest)
        return hidden.masked_fill(poisoned, math.nan)


def harmless(seed: int) -> Batch:
    tokens = rows(seed)
    tokens[:, 0] = 1
    return batch(tokens)


def poisoned(seed: int) -> Batch:
    tokens = rows(seed)
    tokens[0, 0] = VOCAB - 1
    return batch(tokens)


class RealRun(Run):
    """A run of a fragile model that writes checkpoints; started again in the same folder, it goes on."""

    def __init__(self, folder: Path, batches: list[Batch], *, largest: float = math.inf, keep: int = 1, **more: Any):
        super().__init__(folder, batches, **more)
        torch.manual_seed(3)
        model = Fragile()
        model.largest = largest
        trainer = self.trainer
        self.trainer = Trainer(
            trainer.config, model, batches=trainer.batches, validate=self.validate, watch="loss",
            folder=RunFolder(folder, keep=keep), save=self.save, dtype=torch.float32,
        )  # fmt: skip
        newest, _ = self.trainer.folder.newest_good()
        if newest is not None:
            self.trainer.load_state(load_training_state(newest), read_weights(newest), origin=str(newest))
            self.trainer.folder.truncate_metrics(self.trainer.position.step)

    def validate(self, model: nn.Module, check: Callable[[], None]) -> Metrics:
        super().validate(model, check)
        return {"loss": 100.0 - self.trainer.position.step}  # as much in another process

    def save(self, folder: Path, *, model: nn.Module, **parts: Any) -> None:
        super().save(folder, model=model, displaced=parts.get("displaced"))
        tokenizers = Tokenizers(ByteTokenizer(), ByteTokenizer())
        save_checkpoint(folder, config=self.trainer.config, model=model, tokenizers=tokenizers, **parts)

    def figures(self) -> list[dict[str, Any]]:
        """metrics.jsonl without what depends on the clock."""
        records = [json.loads(line) for line in self.lines.read_text().splitlines()]
        return [{k: v for k, v in record.items() if k not in ("seconds", "tokens_per_second")} for record in records]


def test_a_bad_batch_is_skipped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batches = [harmless(1), poisoned(2), harmless(3)]
    run = RealRun(tmp_path / "run", batches, steps=6, log_every=3, ema_decay=0.9).fit()
    assert [record["skipped"] for record in run.records("train")] == [1, 1]
    assert run.records("train")[-1]["loss"] > 0
    assert run.trainer.position.rate_factor == 1
    assert "skipped 1 steps" in capsys.readouterr().err
    steps = {int(state["step"]) for state in run.trainer.optimizer.state.values()}
    assert steps == {4}


def test_too_many_skipped_steps_bring_back_an_earlier_state_and_half_the_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = [*(harmless(seed) for seed in range(6)), *(poisoned(seed) for seed in range(3))]
    settings: dict[str, Any] = {"save_every": 4, "max_skipped": 3, "schedule": "constant", "ema_decay": 0.9}
    run = RealRun(tmp_path / "run", batches, steps=9, **settings).fit()
    assert run.records("rollback") == [{"kind": "rollback", "step": 9, "to_step": 4, "rate_factor": 0.5}]
    assert capsys.readouterr().err.count("going on with the weights of step 4") == 1
    before = RealRun(tmp_path / "before", batches, steps=4, **settings).fit()
    assert_equal(weights_of(run.trainer.model), weights_of(before.trainer.model))
    assert run.trainer.average is not None and before.trainer.average is not None
    assert_equal(run.trainer.average.weights, before.trainer.average.weights)
    moments = [optimizer_tensors(one.trainer.optimizer, one.trainer.model) for one in (run, before)]
    assert moments[0].keys() == moments[1].keys()
    assert_equal(*moments)
    more = RealRun(tmp_path / "run", batches, steps=12, **settings).fit()
    rates = [record["learning_rate"] for record in more.records("train")]
    assert rates == [1e-3] * 9 + [5e-4] * 3
    assert [record["epoch"] for record in more.records("train")][-3:] == [1, 1, 1]  # past the bad text, not back to it


def test_a_rate_that_is_too_high_is_halved_until_the_weights_stay_small(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"learning_rate": 1.0, "schedule": "constant", "clip_norm": 0.0, "max_skipped": 2}
    run = RealRun(tmp_path / "run", [harmless(1)], steps=60, save_every=5, largest=2.5, **settings).fit()
    assert run.trainer.position.step == 60
    assert 0 < run.trainer.position.rate_factor < 1
    assert run.records("train")[-1]["skipped"] == 0
    assert run.records("train")[-1]["loss"] < run.records("train")[0]["loss"]


def test_a_state_that_only_leads_to_bad_steps_gives_way_to_the_one_before(tmp_path: Path) -> None:
    """Steps 5 and 6 make weights that are finite but too large; step 6's are saved."""
    run = RealRun(tmp_path / "run", [harmless(1)], steps=20, save_every=3, max_skipped=2, keep=2, largest=50)
    real = run.trainer._step

    def step(log: MetricsLog) -> None:
        real(log)
        if run.trainer.position.step == 6:
            with torch.no_grad():
                run.trainer.model.head.weight.fill_(99)

    run.trainer._step = step  # type: ignore[method-assign]
    run.fit()
    assert [record["to_step"] for record in run.records("rollback")] == [6, 3]
    assert run.records("train")[-1]["skipped"] == 0


def test_when_going_back_does_not_help_the_run_ends_with_a_sentence(tmp_path: Path) -> None:
    run = RealRun(tmp_path / "run", [poisoned(1)], steps=100, save_every=3, max_skipped=2)
    with pytest.raises(TrainingError, match=r"at step 8 no finite .* 2 steps in a row, also with .* and 0.125 times"):
        run.fit()


@pytest.mark.parametrize("due", ["save_every", "validate_every"])
def test_weights_that_are_no_numbers_are_neither_saved_nor_validated(tmp_path: Path, due: str) -> None:
    """Whether or not a line of the log is due at that step."""
    for log_every in (1, 100):
        run = RealRun(tmp_path / str(log_every), [harmless(1)], log_every=log_every, **{due: 3})
        real, steps = run.trainer._step, itertools.count(1)

        def step(log: MetricsLog, run: RealRun = run, real: Any = real, steps: Iterator[int] = steps) -> None:
            real(log)
            if next(steps) == 3:
                with torch.no_grad():
                    run.trainer.model.head.weight.fill_(math.nan)

        run.trainer._step = step  # type: ignore[method-assign]
        run.fit()
        assert [record["to_step"] for record in run.records("rollback")] == [0]
        assert all(bool(tensor.isfinite().all()) for _, _, saved in run.saved for tensor in saved.values())
        assert run.trainer.position.step == 6


@mock.patch("os.fsync", lambda _: None)  # thousands of them, and no power cut to come
@settings(max_examples=12)
@given(
    bad=st.sets(st.integers(0, 14), max_size=10),
    stops=st.sets(st.integers(1, 22), max_size=3),
    keep=st.integers(0, 2),
    save_every=st.integers(2, 7),
    validate_every=st.sampled_from([5, 100]),
)
def test_an_interrupted_run_skips_and_goes_back_as_one_that_was_not(
    tmp_path_factory: pytest.TempPathFactory,
    bad: set[int],
    stops: set[int],
    keep: int,
    save_every: int,
    validate_every: int,
) -> None:
    """Half of the stops are signals, which save; the others are power cuts, which do not."""
    folder = tmp_path_factory.mktemp("runs")
    batches = [poisoned(seed) if seed in bad else harmless(seed) for seed in range(15)]
    more: dict[str, Any] = {
        "steps": 24, "save_every": save_every, "max_skipped": 2, "log_every": 3, "keep": keep, "ema_decay": 0.9,
        "validate_every": validate_every,
    }  # fmt: skip

    def outcome(run: RealRun) -> str:
        try:
            run.fit()
        except (TrainingError, Interrupted) as error:
            return str(error).replace(str(run.trainer.folder.path), "")
        return "done"

    whole = RealRun(folder / "whole", batches, **more)
    expected = outcome(whole)
    for stop in sorted(stops):
        cut = RealRun(folder / "cut", batches, **more)
        real = cut.trainer._step

        def step(log: MetricsLog, cut: RealRun = cut, real: Any = real, stop: int = stop) -> None:
            if cut.trainer.position.step == stop:
                if stop % 2:
                    raise Interrupted(signal.SIGTERM)
                raise MemoryError("as good as a power cut")
            real(log)

        cut.trainer._step = step  # type: ignore[method-assign]
        with contextlib.suppress(MemoryError):
            outcome(cut)
    cut = RealRun(folder / "cut", batches, **more)
    assert outcome(cut) == expected
    if expected == "done":
        assert_equal(weights_of(whole.trainer.model), weights_of(cut.trainer.model))
        ours, theirs = ({**asdict(run.trainer.position), **run.trainer._sums.values()[0]} for run in (whole, cut))
        for values in (ours, theirs):
            del values["seconds"], values["validation_seconds"]
        assert ours == theirs
    assert whole.figures() == cut.figures()

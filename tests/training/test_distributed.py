"""Several real processes on the CPU that train real, tiny models by the real `run`: the same numbers as one process."""

import contextlib
import itertools
import json
import math
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.checkpoint import load_config
from seq2seq.config import Config, TrainingConfig
from seq2seq.configure import check, register_schemas
from seq2seq.data.batch import Batch
from seq2seq.errors import ConfigError, TrainingError
from seq2seq.planning.memory import free_memory
from seq2seq.planning.probe import Probe
from seq2seq.planning.steps import Start
from seq2seq.scoring import Scorer
from seq2seq.train import main, run
from seq2seq.training import distributed, loop
from seq2seq.training.averaging import mean_weights
from seq2seq.training.distributed import Place, Ranks, assembled_store, device_of, joined
from seq2seq.training.interrupts import Interrupted, StopSignals
from seq2seq.training.loop import Position, Trainer
from seq2seq.training.r_drop import RDropObjective
from seq2seq.training.step import OptimizerStep

ROOT = Path(__file__).resolve().parents[2]

TINY = [
    "data.source_language=in", "data.target_language=out", "model=small", "model.encoder_layers=1",
    "model.decoder_layers=2", "model.dim=16", "model.num_heads=2", "model.feed_forward_dim=32", "model.dropout=0",
    "model.embedding_dropout=0", "tokenizer.kind=characters", "tokenizer.vocab_size=null", "training.batch_tokens=128",
    "training.threads=1", "training.tensorboard=false", "training.log_every=1", "decoding=greedy", "device=cpu",
    "precision=float32", "training.warmup_steps=5", "training.steps=12", "training.save_every=4",
    "training.validate_every=5", "training.resume=auto",
]  # fmt: skip
PARALLEL = ["ddp", "fsdp"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits and their reversal; so few that 12 steps see more than one epoch of them."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = random.Random(3)
    for split, count in (("train", 400), ("valid", 15), ("test", 14)):
        lines = ["".join(generator.choices("0123456789", k=generator.randint(2, 9))) for _ in range(count)]
        (folder / f"{split}.in").write_text("".join(f"{line}\n" for line in lines))
        (folder / f"{split}.out").write_text("".join(f"{line[::-1]}\n" for line in lines))
    return folder


@pytest.fixture
def train(corpus: Path, tmp_path: Path) -> Callable[..., Path]:
    """train(name, *overrides, ranks=2) -> run folder: the real `run`, on forked processes."""

    def train(name: str, *overrides: str, ranks: int = 1, seconds: float = 240) -> Path:
        words = words_of(corpus, tmp_path / name, *overrides)
        if ranks == 1:
            run(config_of(words))
        else:
            assert exit_codes(ranks, train_rank, words, seconds=seconds) == [0] * ranks
        return tmp_path / name

    return train


def words_of(corpus: Path, run_dir: Path, *overrides: str) -> list[str]:
    texts = [f"data.{split}={corpus}/{split}" for split in ("train", "valid", "test")]
    return [*TINY, *texts, f"data.cache_dir={corpus}/cache", f"run_dir={run_dir}", *overrides]


def config_of(words: list[str]) -> Config:
    register_schemas()
    config = check("train", words)
    assert isinstance(config, Config)
    return config


def train_rank(words: list[str]) -> None:
    run(config_of(words))


def train_command(words: list[str], errors: Path, rank: int, step: int, misfortune: Callable[[], None]) -> None:
    """The command line, with a misfortune of one rank before a step; what each rank says goes to a file."""
    here = int(os.environ["RANK"])
    with (errors / f"rank{here}").open("w") as said:
        os.dup2(said.fileno(), 2)
    sys.stderr = sys.__stderr__ = open(2, "w", closefd=False)  # type: ignore[misc] # noqa: SIM115 - of the process
    real = OptimizerStep.__call__

    def unlucky(self: OptimizerStep, *arguments: Any, **named: Any) -> torch.Tensor:
        if here == rank and self.ranks.step == step - 1:
            misfortune()
        return real(self, *arguments, **named)

    OptimizerStep.__call__ = unlucky  # type: ignore[method-assign]
    sys.argv = ["train", *words]
    main()


def train_with_loss_scale(words: list[str]) -> None:
    """As with float16 on GPUs, but on numbers that do not overflow."""
    real = OptimizerStep.__init__

    def scaled(self: OptimizerStep, *arguments: Any, **named: Any) -> None:
        real(self, *arguments, **named)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    OptimizerStep.__init__ = scaled  # type: ignore[method-assign]
    run(config_of(words))


def train_through_bad_steps(words: list[str]) -> None:
    """Three steps of which the last rank's gradient is no number."""
    real = OptimizerStep._accumulate

    def poisoned(self: OptimizerStep, batches: Any, tokens: float) -> Any:
        bad = 5 <= self.ranks.step < 8 and self.ranks.rank == self.ranks.world_size - 1
        return real(self, batches, math.nan if bad else tokens)

    with mock.patch.object(OptimizerStep, "_accumulate", poisoned):
        run(config_of(words))


def train_with_dropout_of_the_text(words: list[str]) -> None:
    """R-Drop whose masks are the same for a batch whichever rank has it: the generator begins anew with each."""
    real = RDropObjective.forward

    def forward(self: RDropObjective, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(zlib.crc32(batch.target_out.numpy().tobytes()))
        return real(self, batch)

    with mock.patch.object(RDropObjective, "forward", forward):
        run(config_of(words))


def train_by_rank_0s_clock(words: list[str]) -> None:
    """Each rank's clock runs at another speed, and steps may exchange numbers only."""
    rank, start, real_step, real_gather = int(os.environ["RANK"]), time.monotonic(), Trainer._step, Ranks.gather
    in_step = False

    def step(self: Trainer, log: Any) -> None:
        nonlocal in_step
        in_step = True
        real_step(self, log)
        in_step = False

    def gather(self: Ranks, value: Any) -> list[Any]:
        assert not in_step, "a step pickles something"
        return real_gather(self, value)

    def clock() -> float:
        now = time.monotonic()
        return now + 20 * rank * (now - start)

    with (
        mock.patch.object(Trainer, "_step", step),
        mock.patch.object(Ranks, "gather", gather),
        mock.patch.object(loop, "time", SimpleNamespace(monotonic=clock)),
    ):
        run(config_of(words))


def train_and_note_the_probe(words: list[str], notes: Path) -> None:
    """Each start of a probe leaves a note of the bytes and the threads that its process may use."""
    real = Probe._exchange

    def noted(self: Probe, question: Any) -> Any:
        if isinstance(question, Start):
            with (notes / f"rank{os.environ['RANK']}").open("a") as file:
                file.write(f"{question.memory_limit} {question.threads}\n")
        return real(self, question)

    with mock.patch.object(Probe, "_exchange", noted):
        run(config_of(words))


def exit_codes(world_size: int, work: Callable[..., None], *arguments: Any, seconds: float = 240) -> list[int | None]:
    """Fork as many ranks, which know their place as torchrun tells it, and wait for them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        multiprocessing.get_context("fork").Process(target=as_rank, args=(rank, world_size, port, work, arguments))
        for rank in range(world_size)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: the children begin no old work
        for process in processes:
            process.start()
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.1, end - time.monotonic()))
    for process in processes:
        process.kill()
    return [process.exitcode for process in processes]


def as_rank(rank: int, world_size: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    values = (rank, world_size, rank, world_size, "127.0.0.1", port)
    os.environ.update({name: str(value) for name, value in zip(names, values, strict=True)})
    torch.set_num_threads(1)
    work(*arguments)


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in lines if record["kind"] == kind]


def assert_same_run(ours: Path, theirs: Path, *, tolerance: float = 1e-6) -> None:
    """Losses, scores, weights and training state to within a tolerance; names, shapes and counts exactly."""
    for kind in ("train", "valid"):
        first, second = records(ours, kind), records(theirs, kind)
        assert [record["step"] for record in first] == [record["step"] for record in second]
        for one, other in zip(first, second, strict=True):
            assert one.keys() == other.keys()
            for name in one.keys() - {"kind", "seconds", "tokens_per_second"}:
                if one[name] is None or other[name] is None:  # of steps that are skipped
                    assert one[name] is other[name]
                    continue
                assert one[name] == pytest.approx(other[name], rel=tolerance, abs=2e-5 if "norm" in name else 1e-9)
    for name in ("best", "last"):
        one, other = (safetensors.torch.load_file(folder / name / "model.safetensors") for folder in (ours, theirs))
        assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in other.items()}
        for key, value in one.items():
            if key.endswith("key_value.bias"):
                continue  # softmax takes no notice of a bias of keys: Adam makes steps of the rounding of no gradient
            torch.testing.assert_close(value, other[key], rtol=1e-4, atol=2e-5)
    states = [safetensors.torch.load_file(folder / "last/training/state.safetensors") for folder in (ours, theirs)]
    shapes = [
        {name: tensor.shape for name, tensor in state.items() if not name.startswith("random/")} for state in states
    ]
    assert shapes[0] == shapes[1]
    finals = [json.loads((folder / "metrics.json").read_text()) for folder in (ours, theirs)]
    for split in finals[0].keys() & {"valid", "test"}:
        for name, figure in finals[0][split].items():
            expected = finals[1][split][name]
            assert figure == (expected if isinstance(expected, str) else pytest.approx(expected, rel=tolerance))


# ------------------------------------------------------------ the same numbers


@pytest.mark.parametrize("parallel", PARALLEL)
def test_two_ranks_take_the_steps_of_one(train: Callable[..., Path], parallel: str) -> None:
    more = ["training.ema_decay=0.9", "training.keep_checkpoints=2", "training.average_checkpoints=3"]
    one = train("one", "training.accumulation=4", *more)
    two = train("two", "training.accumulation=2", f"training.parallel={parallel}", *more, ranks=2)
    assert max(record["epoch"] for record in records(one, "train")) > 0  # a step across the end of an epoch too
    assert_same_run(one, two)


@pytest.mark.parametrize("parallel", PARALLEL)
def test_an_average_that_is_best_is_on_record(
    train: Callable[..., Path], parallel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each validation finds less loss than the one before, so that the average at the end is the best."""
    real, losses = Scorer.validate, itertools.count(100, -1)

    def validate(self: Scorer, *arguments: Any) -> dict[str, float]:
        return {**real(self, *arguments), "loss": float(next(losses))}

    monkeypatch.setattr(Scorer, "validate", validate)
    more = ["training.keep_checkpoints=2", "training.average_checkpoints=3", "training.early_stopping=loss"]
    run_dir = train("run", f"training.parallel={parallel}", *more, ranks=2)
    assert json.loads((run_dir / "last/training/state.json").read_text())["averaged"] == [12, 8, 4]
    checkpoints = [run_dir / "last", run_dir / "checkpoints" / "step-8", run_dir / "checkpoints" / "step-4"]
    weights = [safetensors.torch.load_file(folder / "model.safetensors") for folder in checkpoints]
    best = safetensors.torch.load_file(run_dir / "best" / "model.safetensors")
    for name, expected in mean_weights(weights).items():
        assert torch.equal(best[name], expected), name


def test_two_ranks_with_muon_take_the_steps_of_one(train: Callable[..., Path]) -> None:
    more = ["training.optimizer=muon", "training.ema_decay=0.9"]
    one = train("one", "training.accumulation=4", *more)
    two = train("two", "training.accumulation=2", *more, ranks=2)
    assert_same_run(one, two)
    adamw = train("adamw", "training.accumulation=4", more[1])
    assert records(adamw, "train")[-1]["nll"] != pytest.approx(records(one, "train")[-1]["nll"], rel=1e-3)


def test_muon_on_cut_matrices_is_refused_once(corpus: Path, tmp_path: Path) -> None:
    words = words_of(corpus, tmp_path / "run", "training.optimizer=muon", "training.parallel=fsdp")
    codes = exit_codes(2, train_command, words, tmp_path, 0, 1, fail)
    assert codes[0] == 2 and 0 not in codes
    errors = said(tmp_path, 2)
    assert errors.count("error:") == 1 and "Traceback" not in errors
    assert "training.parallel=fsdp cuts the matrices that training.optimizer=muon needs whole" in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("parallel", PARALLEL)
def test_two_ranks_learn_from_a_teacher_as_one_does(train: Callable[..., Path], parallel: str) -> None:
    teacher = train("teacher", "model.dim=24", "seed=2")
    more = [
        f"training.teacher={teacher}/best", "training.teacher_weight=0.7", "training.teacher_temperature=2",
        "training.label_smoothing=0",
    ]  # fmt: skip
    one = train("one", "training.accumulation=4", *more)
    two = train("two", "training.accumulation=2", f"training.parallel={parallel}", *more, ranks=2)
    assert_same_run(one, two)
    for record in records(two, "train"):
        assert abs(record["loss"] - record["nll"]) > 1e-3  # the teacher has a say


@pytest.mark.parametrize("parallel", PARALLEL)
def test_two_ranks_with_r_drop_take_the_steps_of_one(corpus: Path, tmp_path: Path, parallel: str) -> None:
    """With dropout, which is the same for a batch wherever it is trained on: so the passes of a batch differ."""
    more = ["training.label_smoothing=0", "model.dropout=0.2", "model.attention_dropout=0.1"]

    def words(name: str, *others: str) -> list[str]:
        return words_of(corpus, tmp_path / name, *more, *others)

    train_with_dropout_of_the_text(words("one", "training.r_drop=3", "training.accumulation=4"))
    two = words("two", "training.r_drop=3", "training.accumulation=2", f"training.parallel={parallel}")
    assert exit_codes(2, train_with_dropout_of_the_text, two) == [0, 0]
    assert_same_run(tmp_path / "one", tmp_path / "two")
    for record in records(tmp_path / "two", "train"):
        assert record["loss"] > record["nll"] + 1e-3  # the two passes of a batch do differ


@pytest.mark.slow
@pytest.mark.parametrize("parallel", PARALLEL)
@pytest.mark.parametrize("more", [["model.tied_embeddings=none"], ["model.positions=learned", "model.norm=rms_norm"]])
def test_four_ranks_take_the_steps_of_one(train: Callable[..., Path], parallel: str, more: list[str]) -> None:
    one = train("one", "training.accumulation=4", *more)
    four = train("four", f"training.parallel={parallel}", *more, ranks=4)
    assert_same_run(one, four)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", PARALLEL)
def test_a_language_model_too(corpus: Path, tmp_path: Path, parallel: str) -> None:
    words = [word for word in TINY if not word.startswith(("model", "data", "decoding"))]
    words += [
        "task=language_modelling", "model=lm_small", "model.decoder_layers=2", "model.dim=16", "model.num_heads=2",
        "model.feed_forward_dim=32", "model.max_length=16", "model.dropout=0", "model.embedding_dropout=0",
        "decoding=sample", f"data.train={corpus}/train.in", f"data.valid={corpus}/valid.in",
        f"data.cache_dir={corpus}/cache", "training.batch_tokens=64",
    ]  # fmt: skip
    run(config_of([*words, f"run_dir={tmp_path}/one", "training.accumulation=2"]))
    more = [f"run_dir={tmp_path}/two", f"training.parallel={parallel}"]
    assert exit_codes(2, train_rank, [*words, *more]) == [0, 0]
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("parallel", PARALLEL)
def test_all_go_back_when_one_rank_has_no_gradient(corpus: Path, tmp_path: Path, parallel: str) -> None:
    more = ["training.max_skipped=3", "training.save_every=4", "training.ema_decay=0.9"]
    one = words_of(corpus, tmp_path / "one", *more, "training.accumulation=4")
    train_through_bad_steps(one)
    two = words_of(corpus, tmp_path / "two", *more, "training.accumulation=2", f"training.parallel={parallel}")
    assert exit_codes(2, train_through_bad_steps, two) == [0, 0]
    for folder in (tmp_path / "one", tmp_path / "two"):
        assert records(folder, "rollback") == [{"kind": "rollback", "step": 8, "to_step": 4, "rate_factor": 0.5}]
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("parallel", PARALLEL)
def test_a_loss_scale_changes_nothing(train: Callable[..., Path], corpus: Path, tmp_path: Path, parallel: str) -> None:
    more = [f"training.parallel={parallel}", "training.clip_norm=0.5"]
    words = words_of(corpus, tmp_path / "scaled", *more)
    assert exit_codes(2, train_with_loss_scale, words) == [0, 0]
    assert json.loads((tmp_path / "scaled/last/training/state.json").read_text())["scaler"]["scale"] == 1024
    assert_same_run(train("plain", *more, ranks=2), tmp_path / "scaled")


@pytest.mark.parametrize("parallel", PARALLEL)
def test_another_number_of_ranks_goes_on_with_the_same_run(train: Callable[..., Path], parallel: str) -> None:
    """One, then two in this way, then two in the other way, then one again: as if one had never stopped."""
    whole = train("whole", "training.accumulation=2", "training.ema_decay=0.9", "training.keep_checkpoints=3")
    other = PARALLEL[1 - PARALLEL.index(parallel)]
    for steps, accumulation, ranks, how in ((3, 2, 1, "ddp"), (6, 1, 2, parallel), (9, 1, 2, other), (12, 2, 1, "ddp")):
        cut = train(
            "cut",
            f"training.steps={steps}",
            f"training.accumulation={accumulation}",
            f"training.parallel={how}",
            "training.ema_decay=0.9",
            "training.keep_checkpoints=3",
            ranks=ranks,
        )
    losses = [[record["loss"] for record in records(folder, "train")] for folder in (whole, cut)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    world_size=st.integers(1, 4),
    accumulation=st.integers(1, 3),
    steps=st.integers(1, 6),
)
def test_ranks_deal_out_one_order(lengths: list[int], world_size: int, accumulation: int, steps: int) -> None:
    """Epochs of any length: all ranks' micro-batches of a step are the next ones, and every example comes once."""

    class Numbered:
        def __init__(self, epoch: int) -> None:
            self.epoch, self.length = epoch, lengths[epoch % len(lengths)]

        def __len__(self) -> int:
            return self.length

        def __getitem__(self, position: int) -> Batch:
            return Batch(None, None, None, torch.tensor([self.epoch, position]), 1)

    class Order:
        def epoch(self, number: int) -> Numbered:
            return Numbered(number)

    def taken(rank: int, world_size: int, accumulation: int) -> list[list[tuple[int, ...]]]:
        trainer = object.__new__(Trainer)
        trainer.ranks, trainer.batches, trainer.device = Ranks(Place(rank, world_size)), Order(), torch.device("cpu")
        trainer.settings = TrainingConfig(accumulation=accumulation)
        trainer.position, trainer._epoch = Position(), None
        return [[tuple(b.target_out.tolist()) for b in trainer._next_batches()] for _ in range(steps)]

    alone = taken(0, 1, accumulation * world_size)
    together = [taken(rank, world_size, accumulation) for rank in range(world_size)]
    for step, expected in enumerate(alone):
        dealt = [mine[step] for mine in together]
        assert [len(mine) for mine in dealt] == [accumulation] * world_size
        assert [dealt[index % world_size][index // world_size] for index in range(len(expected))] == expected
    counts = Counter(batch for step in alone for batch in step)
    assert set(counts.values()) == {1}
    assert sorted(counts) == list(counts)


# ------------------------------------------------------- what goes wrong

SMOOTH = ["training.steps=8", "training.validate_every=100", "model.dropout=0.1", "training.ema_decay=0.9"]


@pytest.fixture(scope="module")
def unstopped(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run folders of two ranks that nothing happened to, by training.parallel."""
    folder = tmp_path_factory.mktemp("unstopped")
    for parallel in PARALLEL:
        words = words_of(corpus, folder / parallel, *SMOOTH, f"training.parallel={parallel}")
        assert exit_codes(2, train_rank, words) == [0, 0]
    return {parallel: folder / parallel for parallel in PARALLEL}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def be_asked_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def fail() -> None:
    raise TrainingError("this rank has a reason.")


def said(folder: Path, ranks: int) -> str:
    return "".join((folder / f"rank{rank}").read_text() for rank in range(ranks))


def assert_equal_run(ours: Path, theirs: Path) -> None:
    """Bit for bit, dropout and averages included: with two ranks there is one way to add up."""
    for name in ("best/model", "last/model", "last/training/state"):
        one, other = (safetensors.torch.load_file(folder / f"{name}.safetensors") for folder in (ours, theirs))
        assert one.keys() == other.keys()
        assert [key for key in one if not torch.equal(one[key], other[key])] == []
    losses = [[record["loss"] for record in records(folder, "train")] for folder in (ours, theirs)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("parallel", "rank"), [("ddp", 0), ("fsdp", 1)])
def test_a_rank_that_dies_stops_the_others_and_is_named(
    train: Callable[..., Path], unstopped: dict[str, Path], corpus: Path, tmp_path: Path, parallel: str, rank: int
) -> None:
    more = [*SMOOTH, f"training.parallel={parallel}"]
    words = words_of(corpus, tmp_path / "cut", *more)
    codes = exit_codes(2, train_command, words, tmp_path, rank, 6, die)
    assert (codes[rank], codes[1 - rank]) == (-signal.SIGKILL, 2)
    errors = said(tmp_path, 2)
    assert f"error: rank {rank} is gone at step 5, so training stops" in errors
    assert "Traceback" not in errors
    assert_equal_run(unstopped[parallel], train("cut", *more, ranks=2))


@pytest.mark.parametrize(("parallel", "rank"), [("ddp", 1), ("fsdp", 0)])
def test_a_signal_to_one_rank_stops_all_at_the_same_step(
    train: Callable[..., Path], unstopped: dict[str, Path], corpus: Path, tmp_path: Path, parallel: str, rank: int
) -> None:
    more = [*SMOOTH, f"training.parallel={parallel}"]
    words = words_of(corpus, tmp_path / "cut", *more)
    assert exit_codes(2, train_command, words, tmp_path, rank, 6, be_asked_to_stop) == [143, 143]
    assert json.loads((tmp_path / "cut/last/training/state.json").read_text())["step"] == 6
    errors = said(tmp_path, 2)
    assert errors.count("stopped by SIGTERM; everything that was finished is saved") == 1
    assert "torchrun --nproc_per_node=2 -m seq2seq.train" in errors and "Traceback" not in errors
    assert_equal_run(unstopped[parallel], train("cut", *more, ranks=2))


def test_an_error_of_one_rank_is_said_once(corpus: Path, tmp_path: Path) -> None:
    words = words_of(corpus, tmp_path / "run", *SMOOTH)
    codes = exit_codes(2, train_command, words, tmp_path, 1, 6, fail)
    assert codes[1] == 2 and codes[0] not in (0, None)
    errors = said(tmp_path, 2)
    assert errors.count("error:") == 1 and "Traceback" not in errors
    assert "rank 1 at step 5: this rank has a reason." in errors


def test_an_error_of_every_rank_is_said_once(corpus: Path, tmp_path: Path) -> None:
    words = words_of(corpus, tmp_path / "run", "data.source_language=xx")
    codes = exit_codes(2, train_command, words, tmp_path, 1, 6, fail)
    assert 2 in codes and 0 not in codes
    errors = said(tmp_path, 2)
    assert errors.count("error:") == 1 and "no source file" in errors and "Traceback" not in errors


def test_a_step_of_another_size_is_pointed_out(train: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    train("run", "training.steps=2")
    assert "warning" not in capfd.readouterr().err
    train("run", "training.steps=3", ranks=2)
    assert "warning: a step is now 2 micro-batches (ranks times training.accumulation) and was 1" in (
        capfd.readouterr().err
    )


def test_a_budget_of_minutes_is_counted_by_one_clock(corpus: Path, tmp_path: Path) -> None:
    """Other clocks would end, and warm up, at other steps; and numbers are all that a step exchanges."""
    more = ["training.steps=null", "training.minutes=0.05", "training.validations=2", "training.validate_every=1000"]
    words = words_of(corpus, tmp_path / "run", *more)
    assert exit_codes(2, train_by_rank_0s_clock, words) == [0, 0]
    assert len(records(tmp_path / "run", "valid")) == 2
    seconds = [record["seconds"] for record in records(tmp_path / "run", "train")]
    assert len(seconds) > 2 and seconds == sorted(seconds) and seconds[-1] < 20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say how much memory is free")
def test_batch_tokens_are_measured_with_what_one_of_the_ranks_will_have(corpus: Path, tmp_path: Path) -> None:
    """Its threads and its share of the machine's memory; by the first, for all."""
    words = words_of(
        corpus, tmp_path / "run", "training.batch_tokens=auto", "training.threads=null", "training.steps=2"
    )
    free = free_memory(torch.device("cpu"))
    assert free is not None
    assert exit_codes(2, train_and_note_the_probe, words, tmp_path) == [0, 0]
    assert not (tmp_path / "rank1").exists()
    limit, threads = map(int, (tmp_path / "rank0").read_text().split())
    assert limit < 0.6 * free  # less than half, if nothing else of this machine has given some back meanwhile
    assert threads == max(1, len(os.sched_getaffinity(0)) // 2)
    assert load_config(tmp_path / "run" / "last").training.batch_tokens == 1024  # the corpus has use for no more


# ----------------------------------------------------------- between the ranks


@pytest.mark.parametrize("rank", [0, 1])
def test_notes_of_a_start_before_are_not_taken_for_those_of_now(rank: int) -> None:
    """Whichever comes first, and though every note of the start before is still there."""
    store = torch.distributed.HashStore()
    for _ in range(3):
        names: dict[int, Any] = {}

        def come(rank: int, names: dict[int, Any] = names) -> None:
            names[rank] = assembled_store(store, Place(rank, 3, rank, 3))

        threads = [threading.Thread(target=come, args=((rank + number) % 3,)) for number in range(3)]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        for thread in threads:
            thread.join(10)
        assert names.keys() == {0, 1, 2}
        names[0].set("note", "from 0")
        assert names[1].get("note") == names[2].get("note") == b"from 0"
        assert not names[1].check(["old"])
        names[2].set("old", "")


def test_ranks_that_do_not_come_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "LONGEST_START", timedelta(seconds=0.1))
    with pytest.raises(TrainingError, match="rank 1: not all of 2 ranks have come within 0:00:00.1"):
        assembled_store(torch.distributed.HashStore(), Place(1, 2, 1, 2))


def test_without_a_place_to_meet_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(TrainingError, match="rank 0: the ranks cannot meet at None:None .*MASTER_ADDR"), joined("cpu"):
        pass


def meet(folder: Path) -> None:
    with joined("cpu") as ranks:
        rank, world_size = ranks.rank, ranks.world_size
        assert ranks.sum(rank + 0.5, 2**40 + rank) == [world_size**2 / 2, world_size * 2**40 + sum(range(world_size))]
        assert ranks.largest(-rank) == 0
        assert ranks.gather({"rank": rank}) == [{"rank": other} for other in range(world_size)]
        assert ranks.broadcast(f"from {rank}") == "from 0"
        for count in (0, 1, 7):
            assert ranks.merge(number * 2 for number in ranks.share(range(count))) == [2 * k for k in range(count)]
        assert ranks.threads() == max(1, len(os.sched_getaffinity(0)) // world_size)
        for turn in range(3):
            with ranks.in_turn():
                time.sleep(0.2 if ranks.first else 0)
                (folder / f"{turn}-{time.monotonic_ns()}-{rank}").touch()
            ranks.barrier()
            assert min(path.name for path in folder.glob(f"{turn}-*")).endswith("-0")

        def interrupted() -> Iterator[int]:
            yield 1
            if rank == 1:
                raise Interrupted(signal.SIGTERM)

        with pytest.raises(Interrupted, match="SIGTERM"):
            ranks.merge(interrupted())
        with StopSignals() as signals:
            if ranks.first:
                signals.received = signal.SIGINT
            with pytest.raises(Interrupted, match="SIGINT"):
                ranks.agree_to_stop(signals)
            with pytest.raises(Interrupted, match="SIGINT"):
                for _ in range(100):
                    ranks.check(signals)
                    time.sleep(0.1)


@pytest.mark.parametrize("world_size", [2, 4])
def test_what_ranks_tell_each_other(world_size: int, tmp_path: Path) -> None:
    assert exit_codes(world_size, meet, tmp_path) == [0] * world_size


# ------------------------------------------------------------------- torchrun

UNLUCKY = """
import os, signal
from seq2seq.train import main
from seq2seq.training.step import OptimizerStep

real = OptimizerStep.__call__

def unlucky(self, *arguments, **named):
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and self.ranks.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *arguments, **named)

OptimizerStep.__call__ = unlucky
main()
"""


@contextlib.contextmanager
def torchrun(*words: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", *words], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()  # killed, it would leave its ranks behind


@pytest.mark.slow
def test_torchrun_restarts_from_the_last_checkpoint(unstopped: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    script = tmp_path / "unlucky.py"
    script.write_text(UNLUCKY)
    with torchrun("--max-restarts=1", str(script), *words_of(corpus, tmp_path / "cut", *SMOOTH)) as process:
        output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert "rank 1 is gone at step 5" in errors and "going on from step 4" in errors
    assert json.loads(output.splitlines()[-1])["ranks"] == 2
    assert_equal_run(unstopped["ddp"], tmp_path / "cut")


ABORTED_AT_EXIT = """
import atexit, os
from seq2seq.train import main

atexit.register(os.abort)  # as a thread of gloo does to an interpreter that it asks for while that is taken down
main()
"""


def test_what_is_done_is_not_aborted_at_the_exit(corpus: Path, tmp_path: Path) -> None:
    script = tmp_path / "aborted.py"
    script.write_text(ABORTED_AT_EXIT)
    with torchrun(str(script), *words_of(corpus, tmp_path / "run", *SMOOTH)) as process:
        output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert json.loads(output.splitlines()[-1])["ranks"] == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("parallel", PARALLEL)
def test_two_ranks_with_compiled_layers_take_the_steps_of_one(
    train: Callable[..., Path], corpus: Path, tmp_path: Path, parallel: str
) -> None:
    """New processes: forked ones would have this one's compiler, but not its threads, and could wait for them."""
    one = train("one", "training.accumulation=4")
    more = ["training.accumulation=2", "training.compile=true", f"training.parallel={parallel}"]
    with torchrun("-m", "seq2seq.train", *words_of(corpus, tmp_path / "two", *more)) as process:
        _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert_same_run(one, tmp_path / "two", tolerance=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_torchrun_is_asked_to_stop(
    train: Callable[..., Path], corpus: Path, tmp_path: Path, number: signal.Signals
) -> None:
    more = ["training.steps=400", "training.validate_every=1000", "training.save_every=1000"]
    with torchrun("-m", "seq2seq.train", *words_of(corpus, tmp_path / "cut", *more)) as process:
        lines = tmp_path / "cut" / "metrics.jsonl"
        while not (lines.exists() and lines.read_text().count("\n") > 20):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert errors.count(f"stopped by {number.name}; everything that was finished is saved") == 1
    assert json.loads((tmp_path / "cut/last/training/state.json").read_text())["step"] >= 20
    assert_equal_run(train("whole", *more, ranks=2), train("cut", *more, ranks=2))


# ----------------------------------------------------------------- one process


def test_one_process_asks_nobody() -> None:
    ranks = Ranks()
    assert ranks.first and ranks.sum(1, 2.5) == [1, 2.5] and ranks.largest(3) == 3
    assert ranks.gather("a") == ["a"] and ranks.broadcast({"b": 1}) == {"b": 1} and ranks.threads() is None
    assert list(ranks.share(range(3))) == [0, 1, 2] == ranks.merge(range(3))
    with ranks.in_turn():
        ranks.barrier()


@pytest.mark.parametrize(
    ("local", "name", "message"),
    [
        (4, "cuda", "4 processes on a machine with 2 GPUs: .* torchrun --nproc_per_node=2"),
        (2, "cuda:1", "device=cuda:1 is one GPU for 2 processes; use device=cuda"),
        (2, "mps", "device=mps takes one process"),
    ],
)
def test_devices_that_cannot_be_shared_out(
    local: int, name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=message):
        device_of(Place(0, local, 0, local), name)

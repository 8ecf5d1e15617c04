"""Several real processes on the CPU that train real, tiny models by the real `run`: the same numbers as one process."""

import json
import multiprocessing
import os
import random
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import Config, TrainingConfig
from seq2seq.configure import check, register_schemas
from seq2seq.data.batch import Batch
from seq2seq.errors import ConfigError
from seq2seq.train import run
from seq2seq.training.distributed import Place, Ranks, device_of
from seq2seq.training.loop import Position, Trainer

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
    """train(name, *overrides, ranks=2, parallel="ddp") -> run folder: the real `run`, on forked processes."""

    def train(name: str, *overrides: str, ranks: int = 1, **how: Any) -> Path:
        texts = [f"data.{split}={corpus}/{split}" for split in ("train", "valid", "test")]
        words = [*TINY, *texts, f"data.cache_dir={corpus}/cache", f"run_dir={tmp_path}/{name}", *overrides]
        if ranks == 1:
            run(config_of(words))
        else:
            assert exit_codes(ranks, train_rank, words, **how) == [0] * ranks
        return tmp_path / name

    return train


def config_of(words: list[str]) -> Config:
    register_schemas()
    config = check("train", words)
    assert isinstance(config, Config)
    return config


def train_rank(words: list[str]) -> None:
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
    for split in ("valid", "test"):
        for name, figure in finals[0][split].items():
            expected = finals[1][split][name]
            assert figure == (expected if isinstance(expected, str) else pytest.approx(expected, rel=tolerance))


# ------------------------------------------------------------ the same numbers


@pytest.mark.parametrize("parallel", PARALLEL)
def test_two_ranks_take_the_steps_of_one(train: Callable[..., Path], parallel: str) -> None:
    one = train("one", "training.accumulation=4", "training.ema_decay=0.9")
    two = train("two", "training.accumulation=2", "training.ema_decay=0.9", f"training.parallel={parallel}", ranks=2)
    assert max(record["epoch"] for record in records(one, "train")) > 0  # a step across the end of an epoch too
    assert_same_run(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", PARALLEL)
@pytest.mark.parametrize("more", [["model.tied_embeddings=none"], ["model.positions=learned", "model.norm=rms_norm"]])
def test_four_ranks_take_the_steps_of_one(train: Callable[..., Path], parallel: str, more: list[str]) -> None:
    one = train("one", "training.accumulation=4", *more)
    four = train("four", f"training.parallel={parallel}", *more, ranks=4)
    assert_same_run(one, four)


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

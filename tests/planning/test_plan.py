import shutil
from collections.abc import Callable
from pathlib import Path

from seq2seq.config import Config
from seq2seq.configure import run_config
from seq2seq.planning.plan import run_there
from seq2seq.train import run as train


def config_of(words: list[str], *more: str) -> Config:
    return run_config([*words, *more], "test")


def test_what_stands_in_a_runs_folder(tiny_run: Callable[..., list[str]]) -> None:
    words = tiny_run("classification", "training.batch_tokens=128", "training.steps=3", "training.validate_every=2")
    config = config_of(words)
    assert run_there(config) is None
    train(config)

    there = run_there(config_of(words, "training.steps=9"))
    assert there is not None
    assert there.hindrance is None
    assert there.checkpoint == f"{config.run_dir}/last"
    assert (there.progress.step, there.progress.validations, there.batch_tokens) == (3, 2, 128)
    assert there.progress.validation_seconds is not None

    other = run_there(config_of(words, "training.learning_rate=0.5"))
    assert other is not None
    assert other.hindrance == "It was begun with other settings: training.learning_rate (0.001 there, 0.5 now)."
    refused = run_there(config_of(words, "training.resume=never"))
    assert refused is not None
    assert refused.hindrance == "training.resume=never keeps training from going on with it."

    file = Path(config.run_dir, "last", "model.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    started = run_there(config)
    assert started is not None and started.progress.step == 0
    shutil.rmtree(Path(config.run_dir, "checkpoints"))
    damaged = run_there(config)
    assert damaged is not None
    assert damaged.hindrance is not None and "no checkpoint here is whole" in damaged.hindrance
    file.parent.rename(Path(config.run_dir, "elsewhere"))
    result = run_there(config)
    assert result is not None
    assert result.hindrance == "It holds a result in best/ but no training state to go on from."

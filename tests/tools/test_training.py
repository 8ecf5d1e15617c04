"""The measuring of training speed from end to end, on made text and tiny models."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from seq2seq.config import Config
from seq2seq.configure import run_config
from seq2seq.data.prepare import prepare
from speed import ours
from speed.channel import Job
from speed.contestant import MODULES, Contestant
from speed.contestants.torch_nn import Translator
from speed.environments import ENVIRONMENTS, PEERS_DIR, PeerError, python_of
from speed.shapes import Shape, multiply_adds, pair_sizes
from speed.workload import export, in_order

VOCAB_SIZE = 30
SHAPE = Shape(2, 1, 16, 32, 2, 2, VOCAB_SIZE)


@pytest.fixture(scope="module")
def tool(load_tool: Callable[[str], ModuleType]) -> ModuleType:
    return load_tool("training")


@pytest.fixture
def job(made_text: Path, tmp_path: Path) -> Job:
    """What is exported of a tiny run on made text."""
    words = [
        *ours.shape_overrides("small", made_text),
        *ours.run_overrides(threads=1),
        *("model.encoder_layers=2", "model.decoder_layers=1", "model.dim=16", "model.feed_forward_dim=32"),
        *(
            "model.num_heads=2",
            f"tokenizer.vocab_size={VOCAB_SIZE}",
            "tokenizer.byte_fallback=false",
            "training.batch_tokens=200",
        ),
        *(f"data.cache_dir={tmp_path / 'cache'}", "training.tensorboard=false"),
    ]
    folder = tmp_path / "work"
    folder.mkdir()
    export(config_of(words), folder, batches=40)
    return Job(SHAPE, 200, 1, folder, tuple(words))


def config_of(words: list[str]) -> Config:
    return run_config(words, "test")


def options(tmp_path: Path, *peers: str) -> argparse.Namespace:
    return argparse.Namespace(
        peers=list(peers), peers_dir=tmp_path / "no peers", warmup=1, pairs=2, steps=2, timeout=120.0
    )


def test_ours_and_torch_train_on_the_same_batches(tool: ModuleType, job: Job, tmp_path: Path) -> None:
    result = tool.measure(options(tmp_path, "torch", "hf"), job)
    mine, torch_peer = result["ours"], result["peers"]["torch"]
    for name in ("target_tokens_per_step", "padding_share"):
        assert mine[name] == torch_peer[name]
    config = config_of(list(job.overrides))
    batches = in_order(config, prepare(config))
    tokens = [next(batches).num_tokens for _ in range(5)]
    assert mine["target_tokens_per_step"] == round(sum(tokens[1:]) / 4, 1)  # the first was for warming up
    assert result["ratio"] == {"to": "torch", **torch_peer["ratio"]}
    assert len(torch_peer["ratio"]["pairs"]) == 2
    assert mine["peak_mib"] > 50 and 0 < mine["gemm_fraction"] <= mine["padded_gemm_fraction"]
    assert "its environment is not in" in result["peers"]["hf"]["unavailable"]


def test_ours_stands_still_between_turns(job: Job) -> None:
    with Contestant("ours", Path(sys.executable), job, timeout=120) as contestant:
        first, second = contestant.turn(2), contestant.turn(3)
    assert (first.steps, second.steps) == (2, 3)
    assert second.target_tokens > first.target_tokens > 0
    assert 0 < second.multiply_adds < second.padded_multiply_adds


def test_a_contestant_that_fails_says_why(job: Job) -> None:
    wrong = replace(job, overrides=(*job.overrides, "model.dim=15"))
    with pytest.raises(PeerError, match=r"^ours: it failed: .*needs an even model\.dim, not 15"):
        Contestant("ours", Path(sys.executable), wrong, timeout=120)


def test_a_peer_that_does_not_answer(job: Job) -> None:
    with pytest.raises(PeerError, match="torch: it did not answer within 0 seconds"):
        Contestant("torch", Path(sys.executable), job, timeout=0.01)


def test_the_exported_text_is_the_vocabulary_s(job: Job) -> None:
    pieces = (job.folder / "vocab.txt").read_text().splitlines()
    assert len(set(pieces)) == len(pieces) == VOCAB_SIZE - 4
    for language in ("en", "de"):
        lines = (job.folder / f"train.{language}").read_text().splitlines()
        assert len(lines) == 300
        assert {piece for line in lines for piece in line.split(" ")} <= set(pieces)


def test_torch_multiplies_what_is_counted() -> None:
    model = Translator(SHAPE).train()
    source, target = torch.randint(4, VOCAB_SIZE, (3, 7)), torch.randint(4, VOCAB_SIZE, (3, 5))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(source, torch.ones(3, 7, dtype=torch.bool), target)
    assert counter.get_total_flops() == 2 * multiply_adds(SHAPE, pair_sizes([7] * 3, [5] * 3))


def test_hugging_face_multiplies_what_is_counted() -> None:
    transformers = pytest.importorskip("transformers")
    from speed.contestants.huggingface import config_of as marian_config

    config = marian_config(Job(SHAPE, 200, 1, Path()))
    config._attn_implementation = "eager"
    model = transformers.MarianMTModel(config).train()
    source, target = torch.randint(4, VOCAB_SIZE, (3, 7)), torch.randint(4, VOCAB_SIZE, (3, 5))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=source, decoder_input_ids=target, labels=target, use_cache=False)
    assert counter.get_total_flops() == 2 * multiply_adds(SHAPE, pair_sizes([7] * 3, [5] * 3))


@pytest.mark.parametrize("peer", sorted(ENVIRONMENTS.keys() & MODULES.keys()))
def test_a_peer_s_turn(peer: str, job: Job) -> None:
    try:
        python = python_of(peer, PEERS_DIR)
    except PeerError as error:
        pytest.skip(str(error))
    with Contestant(peer, python, job, timeout=240) as contestant:
        first, second = contestant.turn(1), contestant.turn(2)
    assert (first.steps, second.steps) == (1, 2)
    assert second.target_tokens > 0 and second.target_positions >= second.target_tokens
    assert contestant.about["parameters"] > VOCAB_SIZE * SHAPE.dim


def test_impossible_values_are_refused(
    tool: ModuleType, made_text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, sentence in (
        (["--peers", "fairseq"], "--peers fairseq: there are hf, torch, joeynmt, eole."),
        (["--batch-tokens", "0"], "--batch-tokens (0) must be at least 1."),
        (["--data", "nowhere"], "there is no train.en or train.en.gz here"),
        (["model.dimm=3"], "the nearest key is model.dim"),
    ):
        monkeypatch.setattr("sys.argv", ["training.py", "--shape", "small", "--data", str(made_text), *words])
        assert tool.main() == 2
        captured = capsys.readouterr()
        assert sentence in captured.err and captured.out == ""

"""The table of options says what the runs' own metrics say."""

import argparse
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.configure import check, register_schemas

TOOL = Path(__file__).resolve().parents[2] / "tools" / "benchmarks" / "options.py"


OPTIONS: dict[str, list[str]] = runpy.run_path(str(TOOL))["OPTIONS"]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_one_of_the_recipe(name: str) -> None:
    register_schemas()
    check("train", ["+recipe=multi30k", "data.dir=data", *OPTIONS[name]])


def finished(folder: Path, bleu: float) -> None:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"test": {"bleu": bleu, "chrf": 2 * bleu}, "steps": 1000}))


def tool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True)


def test_mean_and_spread_of_the_seeds_that_are_finished(tmp_path: Path) -> None:
    finished(tmp_path / "15" / "recipe-1", 30.0)
    finished(tmp_path / "15" / "recipe-3", 33.0)
    finished(tmp_path / "15" / "r-drop-2", 31.5)
    finished(tmp_path / "4" / "r-drop-1", 11.5)  # of another time
    (tmp_path / "15" / "adamw-1").mkdir()  # begun, not finished
    answer = tool("--table", "--output", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[2:] == [
        "| recipe | the recipe's | 2 | 31.50 | 30.00 to 33.00 | 63.00 | 1,000 |",
        "| r-drop | training.r_drop=1.0 | 1 | 31.50 | 31.50 to 31.50 | 63.00 | 1,000 |",
    ]


def test_a_missing_corpus_is_one_sentence(tmp_path: Path) -> None:
    answer = tool("--data", str(tmp_path), "--output", str(tmp_path / "runs"))
    assert answer.returncode == 2
    assert "has no train.en" in answer.stderr and "Traceback" not in answer.stderr


def test_without_speeds_there_is_nothing_to_count_steps_by(tmp_path: Path) -> None:
    (tmp_path / "train.en").touch()
    answer = tool("--data", str(tmp_path), "--output", str(tmp_path / "runs"), "--options", "wsd", "r-drop")
    assert answer.returncode == 2
    assert "has no speed of r-drop, recipe; run with --speeds before" in answer.stderr


def test_equal_time_in_steps(tmp_path: Path) -> None:
    (tmp_path / "speeds.json").write_text(json.dumps({"recipe": 0.5, "r-drop": 0.75}))
    options = argparse.Namespace(output=tmp_path, minutes=2.0)
    steps_of = runpy.run_path(str(TOOL))["steps_of"]
    assert [steps_of(options, name) for name in ("recipe", "r-drop", "wsd")] == [240, 160, 240]


@pytest.mark.slow
def test_speeds_then_runs_then_the_table(corpus: Path, tmp_path: Path) -> None:
    """The whole tool on a tiny corpus; a second call finds nothing left to do."""
    words = ["--data", str(corpus), "--output", str(tmp_path / "runs"), "--options", "recipe", "adamw"]
    tiny = [
        "model.encoder_layers=1", "model.decoder_layers=1", "model.dim=16", "model.num_heads=2",
        "model.feed_forward_dim=16", "tokenizer.vocab_size=280", "data.test=${data.dir}/val",
    ]  # fmt: skip
    answer = tool(*words, "--speeds", "--", *tiny)
    assert answer.returncode == 0, answer.stderr
    speeds = json.loads((tmp_path / "runs/speeds.json").read_text())
    assert set(speeds) == {"recipe", "adamw"} and min(speeds.values()) > 0
    minutes = 20 * speeds["recipe"] / 60
    once = tool(*words, "--seeds", "1", "--minutes", str(minutes), "--jobs", "2", "--", *tiny)
    assert once.returncode == 0, once.stderr
    assert [line.split(" | ")[0] for line in once.stdout.splitlines()[2:]] == ["| recipe", "| adamw"]
    assert once.stdout.splitlines()[2].endswith("| 20 |")
    config = tmp_path / "runs" / f"{minutes:g}" / "recipe-1/best/config.json"
    assert json.loads(config.read_text())["config"]["training"]["warmup_steps"] == 2
    again = tool(*words, "--seeds", "1", "--minutes", str(minutes), "--", *tiny)
    assert again.stdout == once.stdout and not again.stderr


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    sentences = [f"{a} {b} {c}" for a in ("ein", "der", "kein") for b in "abcdefgh" for c in ("Hund", "Baum", "Ball")]
    for split in ("train", "val"):
        for language in ("en", "de"):
            (folder / f"{split}.{language}").write_text("".join(f"{sentence}\n" for sentence in sentences))
    return folder

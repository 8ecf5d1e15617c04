"""The table of options says what the runs' own metrics say."""

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
    finished(tmp_path / "plain-1", 30.0)
    finished(tmp_path / "plain-3", 33.0)
    finished(tmp_path / "r-drop-2", 31.5)
    (tmp_path / "muon-1").mkdir()  # begun, not finished
    answer = tool("--table", "--output", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[2:] == [
        "| plain | the recipe's | 2 | 31.50 | 30.00 to 33.00 | 63.00 | 1,000 |",
        "| r-drop | training.r_drop=1.0 | 1 | 31.50 | 31.50 to 31.50 | 63.00 | 1,000 |",
    ]


def test_a_missing_corpus_is_one_sentence(tmp_path: Path) -> None:
    answer = tool("--data", str(tmp_path), "--output", str(tmp_path / "runs"))
    assert answer.returncode == 2
    assert "has no train.en" in answer.stderr and "Traceback" not in answer.stderr

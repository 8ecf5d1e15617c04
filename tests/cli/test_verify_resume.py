"""The whole command, on text that the tests make; then what it says of two runs that are not the same."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from seq2seq.cli.main import main
from seq2seq.cli.verify_resume import BATCHES, compared
from seq2seq.files import write_json

SETTINGS = {
    "translation": ["training.minutes=5", "training.accumulation=2", "training.ema_decay=0.9"],
    "language_modelling": ["training.optimizer=muon", "training.batch_tokens=64"],
}


@pytest.mark.parametrize("task", SETTINGS)
def test_a_stopped_run_is_found_identical(
    tiny_run: Callable[..., list[str]], task: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tiny_run(task, *SETTINGS[task])
    (run_dir,) = (Path(word.removeprefix("run_dir=")) for word in words if word.startswith("run_dir="))
    monkeypatch.setenv("TMPDIR", str(run_dir.parent))
    assert main(["verify-resume", *words, "--steps", "6"]) == 0
    output, errors = capfd.readouterr()
    (line,) = output.splitlines()
    report = json.loads(line)
    assert report["identical"] is True and report["first_difference"] is None
    assert (report["steps"], report["stopped_after"]) == (6, 3)
    assert report["batches"] == 6 * (2 if task == "translation" else 1)
    assert report["metrics_lines"] == 6 + 3  # and a validation every two steps
    assert report["weights"] > 10 and report["state"] > report["weights"]
    assert "stopped after 3 ended exactly like one that was not" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert not re.search(r"valid: .*(bleu|accuracy)", errors)  # no such score was computed
    assert ("training.minutes=5 is left out" in errors) == (task == "translation")
    left = [name for name in os.listdir(run_dir.parent) if not name.startswith("torch")]
    assert left == []  # neither the run folder nor the temporary one


def test_mistakes_are_one_sentence(tiny_run: Callable[..., list[str]], capfd: pytest.CaptureFixture[str]) -> None:
    words = tiny_run("classification")
    for more, sentence in (
        (["training.batch_token=3"], "the nearest key is training.batch_tokens"),
        (["data.train=/nowhere.tsv"], "no such file, /nowhere.tsv"),
    ):
        assert main(["verify-resume", *words, *more]) == 2
        output, errors = capfd.readouterr()
        assert output == ""
        assert sentence in errors and "Traceback" not in errors
    with pytest.raises(SystemExit):
        main(["verify-resume", *words, "--steps", "1"])
    assert "must be at least 2" in capfd.readouterr().err


# --------------------------------------------------------------- what differs


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two run folders, alike."""
    folder = tmp_path / "one"
    (folder / "last" / "training").mkdir(parents=True)
    (folder / BATCHES).write_text("a\nb\n")
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "seconds": 7}\n{"step": 2, "loss": 1.0}\n')
    safetensors.torch.save_file({"w": torch.tensor([1.0, 0.0])}, folder / "last" / "model.safetensors")
    state = {"optimizer/w/step": torch.tensor(2.0), "random/cpu": torch.zeros(3, dtype=torch.uint8)}
    safetensors.torch.save_file(state, folder / "last" / "training" / "state.safetensors")
    values = {"step": 2, "device": "cpu", "dtype": "float32", "seconds": 1.5, "interval": {"seconds": 3, "tokens": 9}}
    write_json(folder / "last" / "training" / "state.json", values)
    shutil.copytree(folder, tmp_path / "other")
    return folder, tmp_path / "other"


def test_clocks_are_no_difference(two: tuple[Path, Path]) -> None:
    (two[1] / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "seconds": 8}\n{"step": 2, "loss": 1.0}\n')
    assert compared(*two)[0] is None


def change_value(folder: Path, **values: object) -> None:
    path = folder / "last" / "training" / "state.json"
    write_json(path, json.loads(path.read_text()) | values)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "data": (lambda folder: (folder / BATCHES).write_text("a\nc\n"), "micro-batch 2 of the data differs"),
    "less data": (lambda folder: (folder / BATCHES).write_text("a\n"), "micro-batch 2 of the data is there in one run"),
    "figures": (
        lambda folder: (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1.0}\n'),
        "line 1 of metrics.jsonl differs (loss: 2.0, 2.5)",
    ),
    "the sign of a zero": (
        lambda folder: safetensors.torch.save_file(
            {"w": torch.tensor([1.0, -0.0])}, folder / "last" / "model.safetensors"
        ),
        "the weight w differs, by 0 at most",
    ),
    "state": (
        lambda folder: safetensors.torch.save_file(
            {"optimizer/w/step": torch.tensor(2.0)}, folder / "last" / "training" / "state.safetensors"
        ),
        "random/cpu of the training state is there in one run only",
    ),
    "values": (lambda folder: change_value(folder, step=3), "step of the training state differs"),
    "inner values": (
        lambda folder: change_value(folder, interval={"seconds": 4, "tokens": 8}),
        "interval of the training state differs",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_first_difference_is_named(two: tuple[Path, Path], change: str) -> None:
    CHANGES[change][0](two[1])
    difference, _ = compared(*two)
    assert difference is not None and difference.startswith(CHANGES[change][1])

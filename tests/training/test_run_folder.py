import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.errors import CheckpointError, TrainingError
from seq2seq.files import sha256, whole_folder, write_json
from seq2seq.training.run_folder import RunFolder


def save(path: Path, step: int, *, displaced: Path | None = None) -> None:
    """What `newest_good` looks at in a checkpoint: a manifest with checksums and a training state."""
    with whole_folder(path, displaced=displaced) as temporary:
        (temporary / "training").mkdir()
        safetensors.torch.save_file({"x": torch.ones(3)}, temporary / "training" / "state.safetensors")
        write_json(temporary / "training" / "state.json", {"step": step})
        (temporary / "model.safetensors").write_bytes(b"weights")
        files = [file for file in temporary.rglob("*") if file.is_file()]
        write_json(temporary / "manifest.json", {str(file.relative_to(temporary)): sha256(file) for file in files})


def step_of(path: Path | None) -> int:
    assert path is not None
    return int(json.loads((path / "training" / "state.json").read_text())["step"])


def run(folder: RunFolder, steps: range) -> None:
    """Save as the training loop does."""
    previous = None
    for step in steps:
        save(folder.last, step, displaced=folder.name_when_older(previous) if previous and folder.keep else None)
        folder.drop_surplus()
        previous = step


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run", keep=2)


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


# ------------------------------------------------------------------ what is kept


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_the_newest_are_kept(tmp_path: Path, keep: int) -> None:
    folder = RunFolder(tmp_path, keep=keep)
    run(folder, range(8, 13))  # names of different lengths: 10 is newer than 9
    assert step_of(folder.last) == 12
    assert [step_of(path) for path in folder.kept()] == [11, 10, 9][:keep]
    assert folder.kept() == [tmp_path / "checkpoints" / f"step-{step}" for step in (11, 10, 9)][:keep]


def test_what_people_put_beside_checkpoints_is_left_alone(folder: RunFolder) -> None:
    run(folder, range(1, 4))
    mine = folder.path / "checkpoints" / "step-2 (good one)"
    shutil.copytree(folder.kept()[0], mine)
    folder.drop_surplus()
    assert mine.is_dir()
    assert [step_of(path) for path in folder.kept()] == [2, 1]


def test_remains_of_a_crash_are_removed(folder: RunFolder) -> None:
    run(folder, range(1, 2))
    for name in (".last.77.tmp", ".best.77.old"):
        shutil.copytree(folder.last, folder.path / name)
    (folder.path / ".hidden").touch()
    folder.drop_surplus()
    assert sorted(path.name for path in folder.path.iterdir()) == [".hidden", "last"]


def test_files_that_a_crash_left_half_written_are_removed(folder: RunFolder) -> None:
    """Also where nothing is saved any more: the run had ended and drew its curves."""
    run(folder, range(1, 2))
    (folder.path / ".curves.png.77.tmp").touch()
    folder.restore()
    assert [path.name for path in folder.path.iterdir()] == ["last"]


@pytest.mark.parametrize("remains", [[".best.77.old"], [".best.77.old", ".best.77.tmp"]])
def test_a_best_caught_between_two_names_comes_back(folder: RunFolder, remains: list[str]) -> None:
    """The new one where it is whole, else the one before it."""
    for step, name in enumerate(remains, start=1):
        save(folder.path / name, step)
    folder.restore()
    assert step_of(folder.best) == len(remains)
    folder.restore()
    assert step_of(folder.best) == len(remains)
    if len(remains) == 2:
        cut(folder.best / "model.safetensors")
        shutil.move(folder.best, folder.path / ".best.77.tmp")
        folder.restore()
        assert step_of(folder.best) == 1


def test_one_process_at_a_time(folder: RunFolder) -> None:
    other = RunFolder(folder.path, keep=2)
    refused = pytest.raises(TrainingError, match=rf"is in use by process {os.getpid()} on ")
    with folder.reserved(), refused, other.reserved():
        raise AssertionError("both have it")
    with other.reserved():
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = RunFolder(tmp_path / "file" / "run", keep=1)
    with pytest.raises(TrainingError, match=r"run_dir=.*file/run: the folder cannot be written"), inside.reserved():
        pass


# -------------------------------------------------------------- where to go on


def test_a_new_folder_has_nothing_to_go_on_from(folder: RunFolder) -> None:
    assert folder.newest_good() == (None, [])
    folder.path.mkdir()
    (folder.path / "metrics.jsonl").touch()
    assert folder.newest_good() == (None, [])


def test_goes_on_from_last(folder: RunFolder) -> None:
    run(folder, range(1, 5))
    assert folder.newest_good() == (folder.last, [])


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut": lambda path: cut(path / "model.safetensors"),
    "missing": lambda path: (path / "training" / "state.safetensors").unlink(),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "manifest cut": lambda path: cut(path / "manifest.json"),
    "manifest of NULs": lambda path: (path / "manifest.json").write_bytes(bytes(100)),
    "empty": empty,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_refused_by_name_and_an_older_one_taken(folder: RunFolder, damage: str) -> None:
    run(folder, range(1, 5))
    DAMAGES[damage](folder.last)
    newest, refused = folder.newest_good()
    assert step_of(newest) == 3
    (sentence,) = refused
    assert sentence.startswith(f"{folder.last}: ")
    DAMAGES[damage](folder.kept()[0])
    newest, refused = folder.newest_good()
    assert step_of(newest) == 2
    assert len(refused) == 2


def test_nothing_whole_is_an_error_that_names_everything(folder: RunFolder) -> None:
    run(folder, range(1, 3))
    for path in (folder.last, *folder.kept()):
        cut(path / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        folder.newest_good()
    message = str(caught.value)
    assert message.startswith(f"{folder.path}: no checkpoint here is whole. ")
    assert f"{folder.last}: model.safetensors is damaged" in message
    assert "step-1: model.safetensors is damaged" in message
    assert message.endswith("choose another run_dir or remove the folder.")


def test_a_checkpoint_without_training_state_is_not_gone_on_from(folder: RunFolder) -> None:
    run(folder, range(1, 3))
    shutil.rmtree(folder.last / "training")
    write_json(folder.last / "manifest.json", {"model.safetensors": sha256(folder.last / "model.safetensors")})
    newest, refused = folder.newest_good()
    assert step_of(newest) == 1
    assert "holds no training state" in refused[0]


def test_power_loss_between_the_two_renames(folder: RunFolder) -> None:
    """last/ has lost its name, its successor has not got it yet; without kept checkpoints both are hidden."""
    save(folder.path / ".last.9.old", 4)
    save(folder.path / ".last.9.tmp", 5)
    newest, refused = folder.newest_good()
    assert (step_of(newest), refused) == (5, [])
    cut(folder.path / ".last.9.tmp" / "model.safetensors")
    newest, refused = folder.newest_good()
    assert step_of(newest) == 4
    assert len(refused) == 1


def test_power_loss_while_writing(folder: RunFolder) -> None:
    run(folder, range(1, 3))
    (folder.path / ".last.9.tmp").mkdir()
    (folder.path / ".last.9.tmp" / "model.safetensors").write_bytes(b"wei")
    assert folder.newest_good() == (folder.last, [])
    folder.last.rename(folder.path / "elsewhere")
    newest, refused = folder.newest_good()
    assert (step_of(newest), refused) == (1, [])


# ------------------------------------------------------------- metrics.jsonl


def test_truncation_without_a_file(folder: RunFolder) -> None:
    folder.truncate_metrics(3)
    assert not folder.metrics_lines.exists()


RECORDS = [{"kind": "train", "step": step, "text": f"é {step} \u2028 x"} for step in range(1, 6)]
LINES = [(json.dumps(record, ensure_ascii=False) + "\n").encode() for record in RECORDS]


@settings(max_examples=40)  # each forces a file onto the disk
@given(st.integers(0, 6), st.integers(0, len(b"".join(LINES))))
def test_truncation_after_a_crash_anywhere(tmp_path_factory: pytest.TempPathFactory, step: int, size: int) -> None:
    """The log was cut at any byte, inside a character too: whole lines up to the step stay, as they were."""
    folder = RunFolder(tmp_path_factory.mktemp("run"), keep=1)
    data = b"".join(LINES)[:size]
    folder.metrics_lines.write_bytes(data)
    folder.truncate_metrics(step)
    whole = [line for number, line in enumerate(LINES, 1) if number <= step and b"".join(LINES[:number])[:-1] in data]
    assert folder.metrics_lines.read_bytes() == b"".join(whole)


def test_truncation_stops_at_garbage(folder: RunFolder) -> None:
    folder.path.mkdir()
    folder.metrics_lines.write_bytes(LINES[0] + bytes(50) + b"\n" + LINES[1])
    folder.truncate_metrics(9)
    assert folder.metrics_lines.read_bytes() == LINES[0]

import io
import json
import math
import os
import sys
from pathlib import Path

import pytest

from seq2seq.training import report
from seq2seq.training.interrupts import Interrupted
from seq2seq.training.report import MetricsLog, Progress, duration, optional, show_notice


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; a test turns it forward."""
    now = [100.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    return now


# ------------------------------------------------------------- metrics.jsonl


def read(path: Path) -> list[dict[str, object]]:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_bytes().splitlines()]


def test_lines_are_json_and_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, tensorboard=None, step=0)
    log.write("train", 5, loss=1.5, tokens=20, note="é\u2028\n")
    assert read(path) == [{"kind": "train", "step": 5, "loss": 1.5, "tokens": 20, "note": "é\u2028\n"}]
    log.write("valid", 6, bleu=None)
    log.close()
    assert read(path)[1] == {"kind": "valid", "step": 6, "bleu": None}


def test_a_run_that_goes_on_appends(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2):
        log = MetricsLog(path, tensorboard=None, step=step - 1)
        log.write("train", step, loss=0.0)
        log.close()
    assert [line["step"] for line in read(path)] == [1, 2]


def test_no_nan_in_json(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", tensorboard=None, step=0)
    log.write("train", 1, loss=math.nan, norm=math.inf, low=-math.inf, fine=1.0)
    log.close()
    assert read(tmp_path / "metrics.jsonl") == [
        {"kind": "train", "step": 1, "loss": None, "norm": None, "low": None, "fine": 1.0}
    ]


def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    log = MetricsLog(tmp_path / "metrics.jsonl", tensorboard=folder, step=0)
    log.write("train", 7, loss=1.25, name="text", nothing=None)
    log.close()
    (events,) = folder.iterdir()
    data = events.read_bytes()
    assert b"train/loss" in data
    assert b"train/name" not in data and b"train/nothing" not in data


@pytest.mark.timeout(60)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_tensorboard_on_a_full_disk_is_given_up_with_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However much there is to write afterwards, and nothing waits for it."""
    folder = tmp_path / "tensorboard"
    log = MetricsLog(tmp_path / "metrics.jsonl", tensorboard=folder, step=0)
    (events,) = folder.iterdir()
    with open("/dev/full", "wb") as full:
        for name in os.listdir("/proc/self/fd"):
            if Path(f"/proc/self/fd/{name}").resolve() == events:
                os.dup2(full.fileno(), int(name))
    for step in range(1, 101):
        log.write("train", step, loss=1.25, nll=1.0)
    log.close()
    assert [line["step"] for line in read(tmp_path / "metrics.jsonl")] == list(range(1, 101))
    assert capsys.readouterr().err == (
        f"warning: {folder}: TensorBoard files cannot be written (No space left on device); the run goes on without.\n"
    )


def test_a_folder_for_tensorboard_that_cannot_be_made_is_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tensorboard").touch()
    log = MetricsLog(tmp_path / "metrics.jsonl", tensorboard=tmp_path / "tensorboard", step=0)
    for step in (1, 2):
        log.write("train", step, loss=1.25)
    log.close()
    assert len(read(tmp_path / "metrics.jsonl")) == 2
    assert capsys.readouterr().err.count("TensorBoard files cannot be written (File exists)") == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("no font"), RuntimeError()])
def test_what_a_run_can_do_without_ends_no_run(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with optional("a picture"):
        raise error
    reason = "No space left on device" if isinstance(error, OSError) else str(error) or "RuntimeError"
    assert capsys.readouterr().err == f"warning: a picture cannot be written ({reason}); the run goes on without.\n"


def test_a_signal_is_no_failure_of_a_picture() -> None:
    with pytest.raises(Interrupted), optional("a picture"):
        raise Interrupted(2)


# ------------------------------------------------------------------ progress


def test_elsewhere_than_on_a_terminal_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    progress = Progress(every=10)
    for text, seconds in (("one", 0), ("two", 9), ("three", 2), ("four", 9)):
        clock[0] += seconds
        progress.show(text)
    progress.show("five", now=True)
    progress.say("six")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["one", "three", "five", "six"]
    assert captured.out == ""


def test_on_a_terminal_one_line_is_rewritten(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "20")
    progress = Progress()
    progress.show("step 1")
    clock[0] += 1
    progress.show("step 2" + "." * 100)
    progress.say("a line that stays, however long it is")
    erase = "\r\x1b[2K"
    shown = f"{erase}step 1{erase}step 2{'.' * 13}{erase}"  # 19 columns: a full line would wrap
    assert terminal.getvalue() == shown + "a line that stays, however long it is\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_notice_is_boxed_word_for_word(capsys: pytest.CaptureFixture[str]) -> None:
    show_notice(None)
    assert capsys.readouterr().err == ""
    words = [f"word{number}" for number in range(60)]
    show_notice(" ".join(words))
    box = capsys.readouterr().err
    assert "NOT THE CORPUS THAT WAS ASKED FOR" in box
    assert box.replace("│", " ").split()[-len(words) - 1 : -1] == words

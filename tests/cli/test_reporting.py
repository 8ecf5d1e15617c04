import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.answering import Answer
from seq2seq.cli.main import main, translate
from seq2seq.cli.reporting import Reports
from seq2seq.signals.bounds import Bounds, Flag
from seq2seq.signals.report import LineReport
from seq2seq.signals.signals import Signals

Make = Callable[..., Path]
PROGRAM = [sys.executable, "-c", "import sys; from seq2seq.cli.main import translate; sys.exit(translate())"]
DATA = b"the dog\n\r\n" + b"a" * 60 + b"\nc\xffat \x07\nx\xe2\x80\xa8y"


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Make) -> Path:
    return tiny_checkpoint()


def call(*arguments: str | Path) -> int:
    return translate(["--threads", "1", *map(str, arguments)])


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_record_for_each_line(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_bytes(DATA)
    common = ["--ckpt", checkpoint, "--input", tmp_path / "in", "--output"]
    assert call(*common, tmp_path / "plain") == 0
    capfd.readouterr()
    assert call(*common, tmp_path / "out", "--report", tmp_path / "report", "--min-confidence", "0.9") == 0
    assert (tmp_path / "out").read_bytes() == (tmp_path / "plain").read_bytes()
    records = read(tmp_path / "report")
    assert [record["line"] for record in records] == list(range(5))
    assert [set(record) for record in records] == [{field.name for field in dataclasses.fields(LineReport)}] * 5
    assert records[1]["signals"] is None and set(records[1]["notes"]) == {"carriage_return", "blank"}
    assert {"split"} <= set(records[2]["notes"]) and records[2]["parts"] == 4
    assert {"invalid_utf8", "control", "unread"} <= set(records[3]["notes"])
    assert {"separator", "no_newline"} <= set(records[4]["notes"])
    for record in records:
        if record["signals"] is not None:
            assert set(record["signals"]) == {field.name for field in dataclasses.fields(Signals)}
            assert "low_confidence" in record["flags"]
    errors = capfd.readouterr().err
    assert "flagged lines: 4, by kind" in errors and Flag.low_confidence.value in errors


def test_records_come_as_lines_do(checkpoint: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    command = [*PROGRAM, "--ckpt", str(checkpoint), "--threads", "1", "--quiet", "--report", str(report)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        for number in range(3):
            process.stdin.write(b"the dog\n")
            process.stdin.flush()
            process.stdout.readline()
            if number:  # that of the line before was written before this one's output
                assert len(read(Path(f"{report}.partial"))) >= number
        process.stdin.close()
        assert process.wait(60) == 0
    assert len(read(report)) == 3 and not Path(f"{report}.partial").exists()


def test_labels_have_reports(tiny_checkpoint: Make, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    checkpoint = tiny_checkpoint("classification")
    assert main(["predict", "--ckpt", str(checkpoint), "--input", str(tmp_path / "in"), "--output",
                 str(tmp_path / "out"), "--report", str(tmp_path / "report"), "--quiet"]) == 0  # fmt: skip
    assert [record["line"] for record in read(tmp_path / "report")] == list(range(5))


def test_what_is_refused(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_bytes(DATA)
    good = ["--ckpt", checkpoint, "--input", tmp_path / "in"]
    for arguments, message in [
        (["--min-coverage", "0.5"], "--min-coverage has no effect without --report"),
        (["--report", "-"], "--report (stdout) would mix with the output"),
        (["--output", tmp_path / "out", "--report", tmp_path / "out"], "are the same file; name two"),
        (["--output", tmp_path / "out", "--report", tmp_path / "out.partial"], "would mix with the output"),
        (["--report", tmp_path / "in"], "is also an input, which it would replace"),
        (["--report", tmp_path / "no" / "report"], "make it, or name another file"),
        (["--report", tmp_path / "report", "--min-coverage", "2"], "--min-coverage (2.0) must be at least 0"),
        (["--report", tmp_path / "report", "--min-relative-length", "3"], "must be below --max-relative-length"),
    ]:
        assert call(*good, *arguments) == 2, arguments
        captured = capfd.readouterr()
        assert captured.out == "" and captured.err.count("\n") == 1
        assert captured.err.startswith("seq2seq-translate: error: ") and message in captured.err
    assert not (tmp_path / "report").exists()
    assert (tmp_path / "in").read_bytes() == DATA


def test_help_names_every_bound(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        translate(["--help"])
    text = capfd.readouterr().out
    for field in dataclasses.fields(Bounds):
        assert f"--{field.name.replace('_', '-')}" in text


def test_a_report_goes_on_where_it_stopped(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_bytes(DATA)

    def arguments(name: str) -> list[str | Path]:
        return ["--ckpt", checkpoint, "--input", tmp_path / "in", "--output", tmp_path / name,
                "--report", tmp_path / f"{name}.report"]  # fmt: skip

    assert call(*arguments("whole")) == 0
    real = Reports.add

    def add(self: Reports, answer: Answer) -> None:
        if answer.report.line == 2:
            raise KeyboardInterrupt
        real(self, answer)

    with monkeypatch.context() as patch:
        patch.setattr(Reports, "add", add)
        assert call(*arguments("stopped")) == 130
    assert len(read(tmp_path / "stopped.report.partial")) == 2
    assert call(*arguments("stopped"), "--resume") == 0
    for suffix in ("", ".report"):
        assert (tmp_path / f"stopped{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert capfd.readouterr().err

"""`seq2seq export`, and the commands that take an engine, on tiny untrained models."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from seq2seq.checkpoint import load_checkpoint
from seq2seq.cli.main import main, translate
from seq2seq.config import Positions
from seq2seq.engines.exported import load_exported

pytest.importorskip("ctranslate2", reason="the engine is not installed: pip install 'seq2seq[ctranslate2]'")

Make = Callable[..., Path]
TEXT = b"the dog\n\nword word word.\n" + b"x" * 200 + b"\n\xff\n"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def call(*arguments: str | Path) -> int:
    return translate(["--threads", "1", "--device", "cpu", *map(str, arguments)])


def test_from_checkpoint_to_lines(tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, text = tiny_checkpoint(), tmp_path / "in.txt"
    text.write_bytes(TEXT)
    assert main(["export", "--ckpt", str(folder), "--output", str(tmp_path / "out"), "--quantization", "int8"]) == 0
    assert "holds the model in int8" in capfd.readouterr().err
    assert load_exported(tmp_path / "out").config == load_checkpoint(folder).config
    assert call("--ckpt", tmp_path / "out", "--engine", "ctranslate2", "--input", text) == 0
    streams = capfd.readouterr()
    assert streams.out.count("\n") == 5 and streams.out.split("\n")[1] == ""
    assert "longer than the model takes" in streams.err and "invalid UTF-8" in streams.err


def test_a_checkpoint_needs_no_export(tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, text = tiny_checkpoint(), tmp_path / "in.txt"
    text.write_bytes(TEXT)
    options = ["--ckpt", folder, "--input", text, "--n-best", "2", "--json", "--engine", "ctranslate2"]
    assert call(*options) == 0
    rows = [json.loads(row) for row in capfd.readouterr().out.splitlines()]
    assert [row["line"] for row in rows] == list(range(5))
    assert all(len(row["n_best"]) == 2 for row in rows) and "invalid_utf8" in rows[4]["notes"]
    assert call(*options, "--quantization", "int8") == 0
    assert [json.loads(row)["source"] for row in capfd.readouterr().out.splitlines()] == [row["source"] for row in rows]


def test_what_is_refused(tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = str(tiny_checkpoint())
    (tmp_path / "there").mkdir()
    for arguments, message in [
        (["--ckpt", folder, "--output", str(tmp_path / "there")], "exists already"),
        (["--ckpt", str(tmp_path), "--output", str(tmp_path / "new")], "this is not a checkpoint folder"),
        (
            ["--ckpt", str(tiny_checkpoint(positions=Positions.alibi)), "--output", str(tmp_path / "new")],
            "model.positions=alibi has no counterpart in CTranslate2",
        ),
        (
            ["--ckpt", str(tiny_checkpoint("tagging")), "--output", str(tmp_path / "new")],
            "Only encoder-decoders of task=translation",
        ),
    ]:
        assert main(["export", *arguments]) == 2
        streams = capfd.readouterr()
        assert message in streams.err and streams.err.count("\n") == 1 and not streams.out
    assert not (tmp_path / "new").exists()
    for arguments, message in [
        (["--engine", "ctranslate2", "--patience", "0"], "--patience 0 has no equivalent"),
        (["--engine", "ctranslate2", "--quantization", "int8", "--precision", "float32"], "has no effect beside"),
        (["--engine", "ctranslate2", "--quantization", "float16"], "cannot compute in float16"),
        (["--quantization", "int8"], "has no effect with --engine torch"),
    ]:
        assert call("--ckpt", folder, *arguments) == 2
        streams = capfd.readouterr()
        assert message in streams.err and streams.err.count("\n") == 1 and not streams.out

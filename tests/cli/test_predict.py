from collections.abc import Callable
from pathlib import Path

import pytest

from seq2seq.cli.main import main

Make = Callable[..., Path]


@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_labels_line_by_line(
    tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str], task: str
) -> None:
    checkpoint = tiny_checkpoint(task)
    lines = ["the dog", "", "a cat is here.", "x" * 100, "one two three four five six seven"]
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in lines))
    command = ["predict", "--ckpt", str(checkpoint), "--input", str(tmp_path / "in"), "--threads", "1"]
    assert main(command) == 0
    captured = capfd.readouterr()
    labels = captured.out.split("\n")[:-1]
    assert len(labels) == len(lines) and labels[1] == ""
    assert "1  empty or blank" in captured.err
    if task == "tagging":
        assert [len(label.split()) for label in labels] == [len(line.split()) for line in lines]
    else:
        assert set(labels) <= {"A", "B", "long label", ""}
    assert main([*command, "--scores", "--batch-tokens", "1", "--quiet"]) == 0
    scored = [line.split("\t") for line in capfd.readouterr().out.split("\n")[:-1]]
    assert [fields[0] for fields in scored] == labels
    assert all(float(fields[1]) <= 0 for fields in scored)


def test_a_translation_model_is_refused(
    tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("the dog\n")
    assert main(["predict", "--ckpt", str(tiny_checkpoint()), "--input", str(tmp_path / "in")]) == 2
    assert "error: This model translates: use translate, or seq2seq-translate" in capfd.readouterr().err

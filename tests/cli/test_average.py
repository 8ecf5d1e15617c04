from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import seq2seq
from seq2seq.checkpoint import load_checkpoint, read_weights
from seq2seq.cli.main import main

Make = Callable[..., Path]


def test_the_mean_of_checkpoints(tiny_checkpoint: Make, tmp_path: Path) -> None:
    folders = [tiny_checkpoint(seed=seed) for seed in (1, 2, 3)]
    assert main(["average", "--output", str(tmp_path / "mean"), *map(str, folders)]) == 0
    mean = read_weights(tmp_path / "mean")
    weights = [read_weights(folder) for folder in folders]
    for name, tensor in mean.items():
        expected = torch.stack([each[name].double() for each in weights]).mean(dim=0)
        torch.testing.assert_close(tensor.double(), expected, atol=1e-7, rtol=1e-6)
        assert tensor.dtype == weights[0][name].dtype
    assert load_checkpoint(tmp_path / "mean").metrics == {"average_of": [str(folder) for folder in folders]}
    assert len(seq2seq.load(tmp_path / "mean", device="cpu").translate(["the dog", ""])) == 2


def test_the_mean_of_one_and_the_same_is_itself(tiny_checkpoint: Make, tmp_path: Path) -> None:
    folder = str(tiny_checkpoint())
    assert main(["average", "--output", str(tmp_path / "mean"), folder, folder, folder]) == 0
    one, mean = read_weights(Path(folder)), read_weights(tmp_path / "mean")
    assert all(torch.equal(one[name], mean[name]) for name in one)


def test_what_is_refused(tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = str(tiny_checkpoint())
    (tmp_path / "there").mkdir()
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    for arguments, message in [
        (["--output", str(tmp_path / "new"), folder], "name two or more"),
        (["--output", str(tmp_path / "there"), folder, folder], "exists already"),
        (["--output", str(tmp_path / "new"), folder, str(tmp_path)], "this is not a checkpoint folder"),
        (["--output", str(tmp_path / "new"), folder, str(tiny_checkpoint(dim=32))], "its model.dim is 32, not 16"),
        (
            ["--output", str(tmp_path / "new"), folder, str(tiny_checkpoint(tokenizer="bytes"))],
            "its source vocabulary is another one",
        ),
        (
            ["--output", str(tmp_path / "new"), folder, str(tiny_checkpoint("language_modelling"))],
            "its task is language_modelling, not translation",
        ),
        (["--output", str(blocked / "new"), folder, folder], "could not be written"),
    ]:
        assert main(["average", *arguments]) == 2
        error = capfd.readouterr().err
        assert error.startswith("seq2seq average: error: ") and message in error and error.count("\n") == 1
        assert not (tmp_path / "new").exists()

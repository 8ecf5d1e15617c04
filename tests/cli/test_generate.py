import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seq2seq.cli.main import main

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Make) -> Path:
    return tiny_checkpoint("language_modelling", max_length=16, documents="file")


@pytest.fixture
def written(checkpoint: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., str]:
    def run(*options: str, prompt: str = "the dog", code: int = 0) -> str:
        arguments = ["generate", "--ckpt", str(checkpoint), "--prompt", prompt, "--threads", "1", *options]
        assert main(arguments) == code
        captured = capfdbinary.readouterr()
        return (captured.out if code == 0 else captured.err).decode()

    return run


def test_the_prompt_goes_on(written: Callable[..., str]) -> None:
    text = written("--search", "greedy", "--max-new-tokens", "30")
    assert text.startswith("the dog") and text.endswith("\n") and len(text) == len("the dog") + 30 + 1
    assert written("--search", "greedy", "--max-new-tokens", "30", "--no-prompt") == text.removeprefix("the dog")
    assert len(written("--search", "beam", "--beam-size", "2", "--max-new-tokens", "30")) == len(text)


def test_a_prompt_that_the_model_cannot_read_whole_is_told(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", "--ckpt", str(checkpoint), "--threads", "1", "--max-new-tokens", "3", "--prompt"]
    told = "seq2seq generate: prompt with characters outside the vocabulary, read as the unknown token\n"
    assert main([*arguments, "the dog"]) == 0 and told not in capfd.readouterr().err
    assert main([*arguments, "the d\N{SNOWMAN}g", "--quiet"]) == 0 and told not in capfd.readouterr().err
    assert main([*arguments, "the d\N{SNOWMAN}g"]) == 0
    captured = capfd.readouterr()
    assert told in captured.err and captured.out.startswith("the d\N{SNOWMAN}g")


def test_samples(written: Callable[..., str]) -> None:
    options = ["--search", "sample", "--temperature", "5", "--max-new-tokens", "12"]
    text = written(*options, "--samples", "3", "--seed", "2")
    assert text == written(*options, "--num-samples", "3", "--seed", "2")
    samples = [sample.strip("\n") for sample in text.split("\n---\n")]
    assert len(set(samples)) == 3 and all(sample.startswith("the dog") for sample in samples)
    assert written(*options, "--seed", "2").strip("\n") == samples[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--search", "greedy", "--num-samples", "2"], "--samples has no effect without --search sample"),
        (["--search", "greedy", "--top-k", "2"], "--top-k has no effect with --search greedy"),
        (["--min-length", "5"], "--min-length has no effect: this model was trained on whole files"),
        (["--draft-tokens", "3"], "--draft-tokens has no effect without --draft"),
        (["--max-new-tokens", "0"], "--max-new-tokens (0) must be at least 1"),
    ],
)
def test_what_is_refused(written: Callable[..., str], options: list[str], message: str) -> None:
    text = written(*options, code=2)
    assert text.startswith("seq2seq generate: error: ") and message in text and text.count("\n") == 1


def test_text_ends_before_a_stop_text(written: Callable[..., str]) -> None:
    options = ["--search", "greedy", "--max-new-tokens", "30", "--no-prompt"]
    text = written(*options)
    assert written(*options, "--stop", text[9:11], "--stop", r"\n") == text[: text.find(text[9:11])] + "\n"
    assert written(*options, "--stop", "not in it") == text
    assert "empty stop text" in written(*options, "--stop", "", code=2)


def test_a_draft_changes_no_greedy_text_and_tells_how_often_it_was_right(
    checkpoint: Path, tiny_checkpoint: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    draft = str(tiny_checkpoint("language_modelling", max_length=16, documents="file", seed=2))
    arguments = ["generate", "--ckpt", str(checkpoint), "--prompt", "the dog", "--threads", "1"]
    arguments += ["--search", "greedy", "--max-new-tokens", "30"]
    assert main(arguments) == 0
    text = capfd.readouterr().out
    for name in (draft, str(checkpoint)):
        assert main([*arguments, "--draft-tokens", "3", "--draft", name]) == 0
        captured = capfd.readouterr()
        assert captured.out == text
        assert re.search(r"the model kept [\d.]+% of \d+ proposed tokens of the draft\n$", captured.err)
    assert "kept 100.0%" in captured.err  # of its own
    assert main([*arguments, "--draft", draft, "--quiet"]) == 0
    assert capfd.readouterr().err == ""


def test_an_empty_prompt_cannot_be_left_out(written: Callable[..., str]) -> None:
    assert "--no-prompt has no effect without --prompt" in written("--no-prompt", prompt="", code=2)


def test_a_translation_model_is_refused(tiny_checkpoint: Make, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--ckpt", str(tiny_checkpoint()), "--prompt", "x"]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "seq2seq generate: error: This model translates: use translate, or seq2seq-translate" in captured.err


def test_text_is_written_as_it_is_made_and_stops_at_ctrl_c(checkpoint: Path) -> None:
    command = [sys.executable, "-m", "seq2seq.cli.main", "generate", "--ckpt", str(checkpoint), "--prompt", "the dog",
               "--search", "sample", "--max-new-tokens", "100000000", "--threads", "1"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        assert process.stdout.read(20).startswith(b"the dog")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 130
        assert process.stderr.read() == b"seq2seq generate: stopped.\n"

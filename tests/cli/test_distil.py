"""`seq2seq distil` on tiny untrained models: which lines come out, what survives a stop, and what is refused."""

import json
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

import seq2seq
from seq2seq.checkpoint import load_checkpoint, save_checkpoint
from seq2seq.cli.main import main
from seq2seq.cli.pair_output import PairOutput
from seq2seq.config import Config
from seq2seq.configure import check, register_schemas
from seq2seq.train import run as train

Make = Callable[..., Path]
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "slow", "grey", "cat", "sleeps"]


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that knows what text it is said to be trained on."""
    checkpoint = load_checkpoint(tiny_checkpoint())
    config = checkpoint.config
    config.run_dir, config.model.max_length = "runs/big", Config().model.max_length
    config.data.train, config.data.valid, config.data.max_pairs = ["old/a", "old/b"], "old/valid", 3
    config.data.weights = [1.0, 2.0]
    config.data.source_language, config.data.target_language = "en", "de"
    config.training.teacher, config.training.teacher_weight = "runs/bigger/best", 0.7
    folder = tmp_path_factory.mktemp("distil") / "best"
    save_checkpoint(folder, config=config, model=checkpoint.model, tokenizers=checkpoint.tokenizers, metrics={})
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    chance = random.Random(3)
    for language in ("en", "de"):
        lines = [" ".join(chance.choices(WORDS, k=chance.randint(1, 4))) for _ in range(150)]
        lines[10] = ""
        lines[11] = "ünknown \u2028 \x07 characters"
        lines[12] = " ".join(WORDS * 3)
        (folder / f"train.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / "train"


def call(*arguments: str | Path) -> int:
    return main(["distil", *map(str, arguments)])


def lines_of(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text.split("\n")[:-1]


def test_sources_stay_and_targets_are_the_models_own(
    checkpoint: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "train"
    assert call("--ckpt", checkpoint, "--data", corpus, "--output", output, "--beam-size", 2) == 0
    assert Path(f"{output}.en").read_bytes() == Path(f"{corpus}.en").read_bytes()
    sources = lines_of(Path(f"{corpus}.en"))
    assert lines_of(Path(f"{output}.de")) == seq2seq.load(checkpoint).translate(sources, beam_size=2)
    assert sorted(path.name for path in output.parent.iterdir()) == ["train.de", "train.en"]

    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert summary["pairs"] == 150 and summary["output"] == [f"{output}.en", f"{output}.de"]
    old, new = lines_of(Path(f"{corpus}.de")), lines_of(Path(f"{output}.de"))
    assert summary["unchanged"] == sum(one == other for one, other in zip(old, new, strict=True))
    assert summary["unfinished"] > 0  # untrained models do not end
    assert summary["train"] in captured.err


def test_the_command_that_is_shown_trains_a_student(
    checkpoint: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--ckpt", checkpoint, "--data", corpus, "--output", tmp_path / "new", "--search", "greedy") == 0
    words = shlex.split(json.loads(capsys.readouterr().out)["train"])
    assert words[:3] == ["python", "-m", "seq2seq.train"]
    register_schemas()
    config = check("train", words[3:])
    assert config.data.train == str(tmp_path / "new") and config.data.weights is config.data.max_pairs is None
    assert config.run_dir == "runs/big_student" and config.training.teacher is None
    teacher = load_checkpoint(checkpoint).config
    assert (config.model, config.tokenizer, config.decoding) == (teacher.model, teacher.tokenizer, teacher.decoding)
    more = [
        f"run_dir={tmp_path}/run", f"data.valid={corpus}", f"data.cache_dir={tmp_path}/cache", "training.steps=2",
        "tokenizer.kind=characters", "tokenizer.vocab_size=null", "model.dim=8", "training.threads=1",
    ]  # fmt: skip
    assert train(check("train", [*words[3:], *more]))["steps"] == 2


def test_interpolation_takes_the_output_most_like_the_reference(checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    sources = lines_of(Path(f"{corpus}.en"))
    answers = list(seq2seq.load(checkpoint).translate_stream(sources, n_best=3))
    # references of which some are like the second or third output, as those of an untrained model are like no text
    references = [answer.candidates[number % 3].text[:-1] + "the" for number, answer in enumerate(answers)]
    (tmp_path / "old.en").write_bytes(Path(f"{corpus}.en").read_bytes())
    (tmp_path / "old.de").write_text("".join(f"{line}\n" for line in references), encoding="utf-8")
    more = ["--data", tmp_path / "old", "--output", tmp_path / "new", "--interpolate", 3, "--quiet"]
    assert call("--ckpt", checkpoint, *more) == 0
    expected, moved = [], 0
    for answer, reference in zip(answers, references, strict=True):
        texts = [candidate.text for candidate in answer.candidates]
        scores = [sacrebleu.sentence_bleu(text, [reference]).score for text in texts]
        expected.append(texts[scores.index(max(scores))])
        moved += expected[-1] != texts[0]
    assert lines_of(tmp_path / "new.de") == expected
    assert moved > 2  # the choice had something to do


@pytest.mark.parametrize("search", ["beam", "sample"])
def test_stopped_and_gone_on_is_never_stopped(
    checkpoint: Path, corpus: Path, tmp_path: Path, search: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    more = ["--ckpt", checkpoint, "--data", corpus, "--search", search, "--output"]
    assert call(*more, tmp_path / "whole") == 0
    real = PairOutput.add
    for stop in (1, 40, 130):

        def add(self: PairOutput, record: dict[str, Any], stop: int = stop) -> None:
            if self.done == stop:
                raise KeyboardInterrupt
            real(self, record)

        with monkeypatch.context() as patch:
            patch.setattr(PairOutput, "add", add)
            capsys.readouterr()
            assert call(*more, tmp_path / "cut") == 130
            errors = capsys.readouterr().err
            assert f"stopped; {stop} of 150 lines are done and kept in {tmp_path}/cut.partial" in errors
    # another batch size changes nothing that is written, so it may change on the way
    assert call(*more, tmp_path / "cut", "--batch-tokens", 300) == 0
    assert "going on after 130 of 150 lines" in capsys.readouterr().err
    for language in ("en", "de"):
        assert (tmp_path / f"cut.{language}").read_bytes() == (tmp_path / f"whole.{language}").read_bytes()
    if search == "beam":
        assert call(*more, tmp_path / "begun", "--length-penalty", "0.5") == 0


@pytest.mark.slow
def test_a_killed_command_goes_on(checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    more = ["--ckpt", str(checkpoint), "--data", *[str(corpus)] * 4, "--threads", "1", "--quiet", "--output"]
    assert call(*more, tmp_path / "whole") == 0
    command = [sys.executable, "-m", "seq2seq.cli.main", "distil", *more, str(tmp_path / "cut")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    partial, deadline = tmp_path / "cut.partial", time.monotonic() + 60
    while not (partial.exists() and partial.read_bytes().count(b"\n") > 20):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert not (tmp_path / "cut.en").exists() and partial.exists()
    assert call(*more, tmp_path / "cut") == 0
    for language in ("en", "de"):
        assert (tmp_path / f"cut.{language}").read_bytes() == (tmp_path / f"whole.{language}").read_bytes()


REFUSED = {
    "one output": (["--interpolate", "1"], "--interpolate 1 leaves nothing to choose"),
    "no output": (["--interpolate", "0"], "0 is below 1"),
    "greedy": (["--interpolate", "2", "--search", "greedy"], "--interpolate has no effect with --search greedy"),
    "narrow": (["--interpolate", "9"], r"--interpolate (9) is more than --beam-size (3)"),
    "same": (["--source-language", "de"], "both sides would be"),
    "text": (["--data", "nowhere"], "--data=nowhere: no source file"),
    "setting": (["--top-k", "3"], "--top-k has no effect with --search beam"),
}


@pytest.mark.parametrize(("more", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(
    checkpoint: Path, corpus: Path, tmp_path: Path, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for language in ("en", "de"):
        (tmp_path / f"same.{language}").write_bytes(Path(f"{corpus}.{language}").read_bytes())
    arguments = ["--ckpt", checkpoint, "--data", tmp_path / "same", "--output", tmp_path / "new", *more]
    try:
        code = call(*arguments)
    except SystemExit as stop:
        code = stop.code  # type: ignore[assignment]
    assert code == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("new*"))


def test_models_that_do_not_translate_and_languages_that_nobody_named(
    tiny_checkpoint: Make, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--data", corpus, "--output", tmp_path / "new", "--quiet"]
    assert call("--ckpt", tiny_checkpoint("language_modelling"), *more) == 2
    assert "task=language_modelling; a translator is needed" in capsys.readouterr().err
    plain = tiny_checkpoint()
    assert call("--ckpt", plain, *more) == 2
    assert "no data.source_language; name the file's ending: --source-language" in capsys.readouterr().err
    assert call("--ckpt", plain, *more, "--source-language", "en", "--target-language", "de") == 0

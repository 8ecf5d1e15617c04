"""Stopped at any moment, by anything: the same command with --resume ends as if it had never been stopped."""

import argparse
import contextlib
import gzip
import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seq2seq
from seq2seq.cli import predict, score, translate
from seq2seq.cli.main import main
from seq2seq.cli.resuming import FOLDERS, READ, WRITTEN
from seq2seq.cli.streams import Output
from seq2seq.errors import DataError

Make = Callable[..., Path]

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and"]


def text(folder: Path, name: str = "in.txt", *, lines: int = 90, seed: int = 1) -> Path:
    chance = random.Random(seed)
    rows = [" ".join(chance.choices(WORDS, k=chance.randint(0, 5))) for _ in range(lines)]
    rows[7] = "is it so? " * 6  # in pieces
    path = folder / name
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def stopped_process(chance: random.Random, output: Path, number: signal.Signals, words: list[str]) -> int:
    """Run the command in a process of its own and end it after it has written a little; its exit code."""
    partial = Path(f"{output}.partial")

    def written() -> int:
        return partial.stat().st_size if partial.exists() else 0

    enough = written() + chance.randint(1, 900)
    if not (child := os.fork()):  # not a new interpreter, which spends seconds on importing torch
        code = 1
        with contextlib.suppress(BaseException):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            code = main(words)
        os._exit(code)
    ended, status = os.waitpid(child, os.WNOHANG)
    while not ended and (written() < enough or not Path(f"{partial}.json").exists()):
        time.sleep(0.0005)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, number)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


CASES = {
    "beam": ["translate", "--input", "IN", "--batch-tokens", "150"],
    "n-best": ["translate", "--input", "IN", "--n-best", "3", "--alignments", "LINKS", "--search", "sample"],
    "json": ["translate", "--input", "IN", "--json", "--n-best", "2", "--alignments", "LINKS", "--batch-tokens", "150"],
    "scores": ["translate", "--input", "IN", "--search", "greedy", "--scores", "--batch-tokens", "100"],
    "report": ["translate", "--input", "IN", "--prefix", "PREFIX", "--report", "REPORT", "--search", "greedy"],
    "predict": ["predict", "--input", "IN", "--json", "--batch-tokens", "20"],
    "score": ["score", "--source", "IN", "--target", "IN", "--per-token", "--batch-tokens", "40"],
}


@pytest.mark.parametrize("case", CASES)
def test_killed_at_random_moments_it_ends_the_same(
    tiny_checkpoint: Make, tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(case)
    checkpoint = tiny_checkpoint("classification" if case == "predict" else "translation")
    lines = text(tmp_path, lines=400 if case in ("predict", "score") else 90)
    words = [str(lines) if word == "IN" else word for word in CASES[case]]
    beside = {"LINKS": tmp_path / "links.txt", "REPORT": tmp_path / "links.txt", "PREFIX": tmp_path / "prefix.txt"}
    words = [str(beside.get(word, word)) for word in words]
    beside["PREFIX"].write_text("".join(f"{'a' * (number % 3)}\n" for number in range(90)))
    words += ["--ckpt", str(checkpoint), "--threads", "1", "--output"]
    whole, output, links = tmp_path / "whole.txt", tmp_path / "out.txt", tmp_path / "links.txt"
    assert main([*words, str(whole)]) == 0
    whole_links = links.read_bytes() if links.exists() else b""
    told = capfd.readouterr().err
    codes = []
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        codes.append(stopped_process(chance, output, number, [*words, str(output), "--resume"]))
        if codes[-1] == 0:
            break
        assert codes[-1] in (-number, 128 + number)
    assert codes[0] != 0, "it was done before it could be stopped; give it more to do"
    if codes[-1] != 0:
        assert main([*words, str(output), "--resume"]) == 0
        errors = capfd.readouterr().err
        assert "going on after" in errors
        if case == "score":  # the figures are those of the whole text
            assert errors.splitlines()[-2].split(" nats")[0] == told.splitlines()[-2].split(" nats")[0] != ""
    assert output.read_bytes() == whole.read_bytes()
    assert (links.read_bytes() if links.exists() else b"") == whole_links
    assert {path.name for path in tmp_path.iterdir()} - {"links.txt", "prefix.txt"} == {
        "in.txt",
        "out.txt",
        "whole.txt",
    }


def stopped(checkpoint: Path, source: Path, output: Path, *more: str, lines: int = 70) -> list[str]:
    """A command's words, stopped after so many lines (in this process, which is quick)."""
    words = ["--ckpt", str(checkpoint), "--input", str(source), "--output", str(output), "--threads", "1", *more]
    real, count = Output.write, itertools.count()

    def write(self: Output, content: str, **rest: int) -> None:
        if next(count) == lines:
            raise KeyboardInterrupt
        real(self, content, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Output, "write", write)
        assert main(["translate", *words]) == 130
    return ["translate", *words]


@pytest.fixture(scope="module")
def crashed(tiny_checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path, bytes, bytes]:
    """A stopped command's words, its output, what it left of it and what it would have become."""
    folder = tmp_path_factory.mktemp("crash")
    checkpoint, source, output = tiny_checkpoint(), text(folder), folder / "out.txt"
    words = stopped(checkpoint, source, output, "--json")
    left = Path(f"{output}.partial").read_bytes()
    assert main([*words, "--resume", "--quiet"]) == 0
    return words, output, left, output.read_bytes()


@settings(max_examples=12)
@given(cut=st.integers(0, 12000), junk=st.sampled_from([b"", b"half a line", b"\0\0\0\0\n\0", b"\xff\xfe"]))
def test_whatever_a_crash_leaves(crashed: tuple[list[str], Path, bytes, bytes], cut: int, junk: bytes) -> None:
    words, output, left, whole = crashed
    stopped_words = stopped_again(words)
    Path(f"{output}.partial").write_bytes(left[:cut] + junk)
    assert main([*stopped_words, "--resume", "--quiet"]) == 0
    assert output.read_bytes() == whole
    assert not Path(f"{output}.partial").exists() and not Path(f"{output}.partial.json").exists()


def stopped_again(words: list[str]) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Output, "write", interrupted)
        assert main(words) == 130
    return words


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_gzip_goes_on_with_the_same_lines(tiny_checkpoint: Make, tmp_path: Path) -> None:
    checkpoint, source = tiny_checkpoint(), text(tmp_path)
    plain, output = tmp_path / "out.txt", tmp_path / "out.txt.gz"
    assert main(["translate", "--ckpt", str(checkpoint), "--input", str(source), "--output", str(plain)]) == 0
    words = stopped(checkpoint, source, output)
    partial = Path(f"{output}.partial")
    content = partial.read_bytes()
    with gzip.open(partial) as file:
        assert len(file.read().splitlines()) == 70  # stopped by Ctrl-C it is whole
    partial.write_bytes(content[:-30])  # killed it is not
    assert main([*words, "--resume"]) == 0
    with gzip.open(output) as file:
        assert file.read() == plain.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.txt", "out.txt.gz"]


def test_what_changed_is_named(tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint, source, output = tiny_checkpoint(), text(tmp_path), tmp_path / "out.txt"
    words = [*stopped(checkpoint, source, output, "--beam-size", "2"), "--resume"]
    message = capfd.readouterr().err.splitlines()[-1]
    assert (
        message == f"seq2seq translate: stopped; 70 lines are written to {output}.partial; --resume goes on from there."
    )
    kept = Path(f"{output}.partial").read_bytes()

    def refused(given: list[str], message: str) -> None:
        assert main(given) == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1 and message in error, error
        assert Path(f"{output}.partial").read_bytes() == kept

    def swapped(old: str, new: str) -> list[str]:
        return [new if word == old else word for word in words]

    refused(swapped("2", "3"), "--beam-size is not what it was when this was begun (2 and 3 now); give the same, or")
    refused([*words, "--json"], "--json is not what it was when this was begun (not given and given now)")
    refused([*words, "--min-length", "2"], "--min-length is not what it was")
    other = tiny_checkpoint(seed=2)
    refused(swapped(str(checkpoint), str(other)), "--ckpt is not what it was when this was begun")
    original = source.read_bytes()
    source.write_bytes(original.replace(b"fox", b"cat", 1))
    refused(words, "the input is not what it was when this was begun")
    source.write_bytes(original + b"one more\n")
    refused(words, "the input is not what it was")
    source.write_bytes(original)
    record = Path(f"{output}.partial.json")
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "versions": {**content["versions"], "torch": "1.0"}}))
    refused(words, "the version of torch is not what it was when this was begun (1.0 and ")
    record.write_text("{")
    refused(words, "out.txt.partial.json, which says what it was made of, is missing or damaged; leave --resume out")
    record.write_text(json.dumps(content))
    # what changes nothing may change: where files are, threads, batches
    moved = tmp_path / "elsewhere.txt"
    source.rename(moved)
    assert main([*swapped(str(source), str(moved)), "--batch-tokens", "77", "--quiet"]) == 0
    assert main(["translate", "--ckpt", str(checkpoint), "--input", str(moved), "--beam-size", "2", "--quiet"]) == 0
    assert output.read_text() == capfd.readouterr().out


def test_what_changed_is_named_before_the_first_line_too(
    tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint, source, output = tiny_checkpoint(), text(tmp_path), tmp_path / "out.txt"
    report = ["--report", str(tmp_path / "report.jsonl")]
    words = stopped(checkpoint, source, output, "--beam-size", "2", *report, lines=0)
    partial = Path(f"{output}.partial")
    assert partial.read_bytes() == b""
    for changed, message in [
        ([*words, "--length-penalty", "2"], "--length-penalty is not what it was when this was begun (not given and 2"),
        ([word for word in words if word not in report], "--report is not what it was when this was begun (given and"),
    ]:
        capfd.readouterr()
        assert main([*changed, "--resume"]) == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1 and message in error, error
    assert main([*words, "--resume", "--quiet"]) == 0
    assert len(output.read_text().splitlines()) == 90 and not list(tmp_path.glob("*.partial*"))
    # without --resume, or without FILE.partial, anything goes
    stopped(checkpoint, source, output, "--beam-size", "2", lines=0)
    stopped_again([*words, "--min-length", "1"])
    assert main([*words, "--min-length", "1", "--resume", "--quiet"]) == 0
    stopped(checkpoint, source, output, "--beam-size", "2", lines=0)
    partial.unlink()
    assert main([*words, "--resume", "--quiet"]) == 0


def test_batches_count_where_the_output_has_numbers(
    tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = stopped(tiny_checkpoint(), text(tmp_path), tmp_path / "out.txt", "--scores")
    assert main([*words, "--resume", "--batch-tokens", "77"]) == 2
    assert "--batch-tokens is not what it was" in capfd.readouterr().err


@pytest.mark.parametrize("more", [["--report", "report.jsonl"], ["--json"], ["--scores"], ["--n-best", "2"]])
def test_what_makes_batches_count_is_named_before_them(
    tiny_checkpoint: Make,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = stopped(tiny_checkpoint(), text(tmp_path), tmp_path / "out.txt", "--batch-tokens", "77")
    assert main([*words, *more, "--resume"]) == 2
    assert f"{more[0]} is not what it was when this was begun (not given and" in capfd.readouterr().err


def test_where_there_is_nothing_to_go_on_with(
    tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint, source, output = tiny_checkpoint(), text(tmp_path, lines=20), tmp_path / "out.txt"
    good = ["translate", "--ckpt", str(checkpoint), "--resume", "--quiet"]
    for more, message in [
        (["--input", str(source)], "--resume goes on with a file; name one by --output"),
        (["--input", str(source), "--output", os.devnull], "--resume goes on with a file"),
        (
            ["--output", str(output), "--input", os.devnull],
            "--resume reads the input from its beginning, so it must be",
        ),
    ]:
        assert main([*good, *more]) == 2
        assert message in capfd.readouterr().err
    assert not Path(f"{output}.partial").exists()
    assert main([*good, "--input", str(source), "--output", str(output)]) == 0  # nothing yet: from the first line
    assert len(output.read_text().splitlines()) == 20


def test_two_commands_do_not_write_to_one_file(tmp_path: Path) -> None:
    name = str(tmp_path / "out.txt")
    with Output(name, keep=True) as output:
        output.go_on(0)
        with pytest.raises(DataError, match="another command is writing to it"):
            Output(name, keep=True)
        output.write("one\n")
    assert Path(name).read_text() == "one\n"


def test_a_failing_start_keeps_what_an_earlier_command_left(
    tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.txt"
    words = stopped(tiny_checkpoint(), text(tmp_path), output)
    kept = Path(f"{output}.partial").read_bytes()
    assert main([*words, "--beam-size", "0"]) == 2
    assert main([*words[:2], str(tmp_path / "none"), *words[3:]]) == 2
    assert Path(f"{output}.partial").read_bytes() == kept
    capfd.readouterr()


def test_answers_that_are_given_are_left_out(tiny_checkpoint: Make, tmp_path: Path) -> None:
    model = seq2seq.load(tiny_checkpoint(), device="cpu")
    lines = text(tmp_path).read_text().splitlines()
    whole = list(model.translate_stream(iter(lines), done=0, batch_tokens=200))
    for done in (1, 63, 64, 65, 90):
        assert list(model.translate_stream(iter(lines), done=done, batch_tokens=200)) == whole[done:]
    with pytest.raises(DataError, match="ends after 90 lines, but 91 have answers"):
        list(model.translate_stream(iter(lines), done=91))


@pytest.mark.parametrize("command", [translate, predict, score])
def test_every_option_that_names_files_is_known(command: object) -> None:
    """An option that names a file must be compared by what is in it (or not at all), not by its name."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)  # type: ignore[attr-defined]
    files = {action.dest for action in parser._actions if action.metavar in ("FILE", "FOLDER", "PREFIX")}
    not_of_lines = {"reference", "hypothesis", "baseline"} if command is score else set()
    assert files - not_of_lines <= FOLDERS | READ | WRITTEN | {"input"}


@pytest.mark.parametrize(
    ("reads", "writes"), [("prefix", "report"), ("constraints", "report"), ("glossary", "alignments")]
)
def test_no_file_that_is_read_is_written_over(
    tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str], reads: str, writes: str
) -> None:
    source, used = text(tmp_path), tmp_path / "used.txt"
    used.write_text("a\tb\nc\td\n")
    (tmp_path / "link.txt").symlink_to(used)
    words = ["--ckpt", tiny_checkpoint(), "--input", source, "--output", tmp_path / "out", f"--{reads}", used]
    assert main(["translate", "--threads", "1", *map(str, (*words, f"--{writes}", tmp_path / "link.txt"))]) == 2
    assert f"--{writes} is also an input, --{reads}, which it would replace" in capfd.readouterr().err
    assert used.read_text() == "a\tb\nc\td\n"


def test_two_outputs_need_two_files(tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--ckpt", tiny_checkpoint(), "--input", text(tmp_path), "--output", tmp_path / "out"]
    assert (
        main(
            [
                "translate",
                "--threads",
                "1",
                *map(str, (*words, "--alignments", tmp_path / "two", "--report", tmp_path / "two")),
            ]
        )
        == 2
    )
    assert "are the same file; name two" in capfd.readouterr().err

"""The real commands on tiny untrained models: what counts here is lines, files, pipes and exit codes."""

import gzip
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.cli.main import main, translate
from seq2seq.cli.wording import some_lines

Make = Callable[..., Path]

PROGRAM = [sys.executable, "-c", "import sys; from seq2seq.cli.main import translate; sys.exit(translate())"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Make) -> Path:
    return tiny_checkpoint()


def start(checkpoint: Path, *arguments: str, **streams: Any) -> "subprocess.Popen[bytes]":
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    command = [*PROGRAM, "--ckpt", str(checkpoint), "--threads", "1", *arguments]
    return subprocess.Popen(command, env=ENVIRONMENT, **streams)


def run(checkpoint: Path, *arguments: str, data: bytes = b"", **streams: Any) -> tuple[int, bytes, str]:
    process = start(checkpoint, *arguments, **streams)
    out, errors = process.communicate(data, timeout=100)
    return process.returncode, out, errors.decode()


def call(*arguments: str | Path) -> int:
    """The command in this process, which spares the time of starting one."""
    return translate(["--threads", "1", *map(str, arguments)])


def hostile_lines(count: int, *, seed: int) -> list[bytes]:
    """Lines of everything that a file may hold, without the newline."""
    chance = random.Random(seed)
    separators = [
        "\u2028",
        "\u2029",
        "\x85",
        "\v",
        "\f",
        "\r",
        "\x1c",
        "\0",
        "\x07",
        "\ufeff",
        "\t",
        "\u3000",
        "\u200b",
    ]
    words = ["the", "dog", "is.", "Here!", "東京。", "ünïcode", "\U0001f600", "ﷺ", "e\u0301", "</s>", "<pad>", "|||"]
    kinds: list[Callable[[], bytes]] = [
        lambda: chance.randbytes(chance.randint(0, 60)).replace(b"\n", b""),
        lambda: b"",
        lambda: b" \t ",
        lambda: "".join(chance.choices([*words, *separators, " "], k=12)).encode(),
        lambda: " ".join(chance.choices(words, k=chance.randint(1, 9))).encode() + b"\r",
        lambda: " ".join(chance.choices(words[:4], k=20)).encode(),
        lambda: b"x" * chance.randint(1, 60),
        lambda: b"\xed\xa0\x80\xc0\xaf\xf5" + b"cut \xe6\x9d",
    ]
    return [chance.choice(kinds)() for _ in range(count)]


def check_lines(data: bytes, count: int) -> list[str]:
    text = data.decode()
    assert text.endswith("\n") or not count
    lines = text.split("\n")[:-1]
    assert len(lines) == count == len(text.splitlines())
    return lines


def test_stdin_to_stdout_and_only_text_on_stdout(checkpoint: Path) -> None:
    code, out, errors = run(checkpoint, data=b"the dog\n\r\n\nthe c\xffat")
    assert code == 0
    lines = check_lines(out, 4)
    assert lines[0] and lines[3] and not lines[1] and not lines[2]
    assert "4 lines" in errors and "lines/s" in errors
    assert re.search(r"\b2  empty or blank", errors) and re.search(r"\b1  invalid UTF-8", errors)
    assert re.search(r"\b1  carriage return", errors) and re.search(r"\b1  last line without a newline", errors)


def test_no_input_gives_no_output(checkpoint: Path) -> None:
    assert run(checkpoint, "--quiet", "--search", "greedy", data=b"") == (0, b"", "")


@pytest.mark.parametrize("tokenizer", ["characters", "bytes", "unigram"])
def test_hostile_lines_keep_their_number_and_their_translation(
    tiny_checkpoint: Make, tmp_path: Path, tokenizer: str, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tiny_checkpoint(tokenizer=tokenizer)
    lines = hostile_lines(200, seed=7)
    lines[5] = b"is it so? the dog " * 30
    order = random.Random(1).sample([index for index in range(len(lines)) if index != 5], len(lines) - 1)
    order.append(5)  # at the end of `two` a blank line without newline would be no line at all
    (tmp_path / "one").write_bytes(b"".join(line + b"\n" for line in lines))
    (tmp_path / "two").write_bytes(b"\n".join(lines[index] for index in order))
    for name, tokens in (("one", "4000"), ("two", "300")):
        assert call("--ckpt", checkpoint, "--input", tmp_path / name, "--output", tmp_path / f"{name}.out",
                    "--batch-tokens", tokens) == 0  # fmt: skip
    one = check_lines((tmp_path / "one.out").read_bytes(), len(lines))
    two = check_lines((tmp_path / "two.out").read_bytes(), len(lines))
    assert two == [one[index] for index in order]
    report = capfd.readouterr().err
    for kind in ("invalid UTF-8", "control characters", "line separators", "empty or blank", "longer than the model"):
        assert kind in report


def test_files_and_gzip(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfthe dog\nthe cat")
    with gzip.open(tmp_path / "b.txt.gz", "wb") as file:
        file.write(b"\xef\xbb\xbfthe cow\n")
    files = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    assert call("--ckpt", checkpoint, "--input", *files, "--output", tmp_path / "out.txt") == 0
    assert call("--ckpt", checkpoint, "--input", *files, "--output", tmp_path / "out.txt.gz", "--quiet") == 0
    plain = (tmp_path / "out.txt").read_bytes()
    check_lines(plain, 3)
    with gzip.open(tmp_path / "out.txt.gz") as file:
        assert file.read() == plain
    _, out, _ = run(checkpoint, data=b"the dog\nthe cat\nthe cow\n")
    assert out == plain
    _, out, _ = run(checkpoint, "--input", str(files[1]), "-", data=b"the dog")
    assert check_lines(out, 2) == [check_lines(plain, 3)[index] for index in (2, 0)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt.gz", "out.txt", "out.txt.gz"]


def test_scores_json_and_n_best(checkpoint: Path, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    (tmp_path / "in").write_text("the dog\n\nthe cat\n")

    def lines(*options: str, count: int) -> list[str]:
        assert call("--ckpt", checkpoint, "--input", tmp_path / "in", "--quiet", *options) == 0
        return check_lines(capfdbinary.readouterr().out, count)

    plain = lines(count=3)
    assert [line.rsplit("\t", 1)[0] for line in lines("--scores", count=3)] == plain
    assert all(float(line.rsplit("\t", 1)[1]) <= 0 for line in lines("--scores", count=3))
    best = [line.split(" ||| ") for line in lines("--n-best", "3", count=9)]
    assert [fields[0] for fields in best] == list("000111222")
    assert [fields[1] for fields in best[::3]] == plain
    objects = [json.loads(line) for line in lines("--json", "--n-best", "2", count=3)]
    assert [item["text"] for item in objects] == plain
    assert [item["line"] for item in objects] == [0, 1, 2]
    assert objects[1]["notes"] == ["blank"] and objects[0]["source"] == "the dog"
    assert [len(item["n_best"]) for item in objects] == [2, 2, 2]
    assert "n_best" not in json.loads(lines("--json", count=3)[0])
    sampled = [lines("--search", "sample", "--seed", seed, "--top-k", "5", count=3) for seed in "112"]
    assert sampled[0] == sampled[1] != sampled[2]


def test_a_line_comes_out_while_the_input_pauses(checkpoint: Path) -> None:
    with start(checkpoint, "--quiet") as process:
        assert process.stdin and process.stdout
        for number in range(3):
            process.stdin.write(f"the dog {number}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n")  # waits until the test's time is out if it waits
        process.stdin.write(b"no newline")
        process.stdin.close()
        assert process.stdout.read().endswith(b"\n")
        assert process.wait(20) == 0


def test_a_reader_that_goes_away_ends_it_quietly(checkpoint: Path) -> None:
    with subprocess.Popen(["yes", "the dog"], stdout=subprocess.PIPE) as endless:
        with start(checkpoint, "--search", "greedy", "--quiet", stdin=endless.stdout) as process:
            assert process.stdout and process.stderr
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(60) == 141
            assert process.stderr.read() == b""
        endless.kill()


def test_of_files_beside_stdout_it_says_what_they_have(checkpoint: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    with subprocess.Popen(["yes", "the dog"], stdout=subprocess.PIPE) as endless:
        with start(checkpoint, "--search", "greedy", "--report", str(report), stdin=endless.stdout) as process:
            assert process.stdout and process.stderr
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(60) == 141
            message = process.stderr.read().decode().splitlines()[-1]
        endless.kill()
    lines = len(Path(f"{report}.partial").read_bytes().splitlines())
    kept = f"{report}.partial has {some_lines(lines)}"
    assert lines and message == f"seq2seq-translate: the reader of a pipe went away; {kept}"


def test_ctrl_c_leaves_what_is_finished(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    with subprocess.Popen(["yes", "the dog"], stdout=subprocess.PIPE) as endless:
        process = start(checkpoint, "--search", "greedy", "--output", str(output), stdin=endless.stdout)
        partial = Path(f"{output}.partial")
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        endless.kill()
    assert process.returncode == 130
    message = errors.decode().splitlines()[-1]
    assert message.startswith("seq2seq-translate: stopped; ") and message.endswith(f"{partial}.")
    written = check_lines(partial.read_bytes(), partial.read_bytes().count(b"\n"))
    assert f"{len(written):,} lines are written" in message and all(written)
    assert not output.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk(checkpoint: Path) -> None:
    with open("/dev/full", "wb") as full:
        code, _, errors = run(checkpoint, data=b"the dog\n", stdout=full)
    assert (code, errors) == (2, "seq2seq-translate: error: stdout: cannot be written (the disk is full).\n")
    code, _, errors = run(checkpoint, "--output", "/dev/full", data=b"the dog\n")
    assert code == 2 and "/dev/full: cannot be written (the disk is full)." in errors
    assert os.path.exists("/dev/full")


def test_what_is_no_ordinary_file_is_written_directly(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("the dog\n")
    assert call("--ckpt", checkpoint, "--input", tmp_path / "in", "--output", os.devnull) == 0
    assert not os.path.isfile(os.devnull)


def test_the_old_output_stays_when_it_fails(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    output.write_text("precious\n")
    damaged = tmp_path / "in.gz"
    damaged.write_bytes(gzip.compress(random.Random(1).randbytes(300_000))[:200_000])
    arguments = ["--ckpt", checkpoint, "--input", damaged, "--output", output, "--search", "greedy"]
    assert call(*arguments) == 2
    assert output.read_text() == "precious\n"


def test_errors_are_one_sentence(
    checkpoint: Path, tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "in.txt"
    lines.write_text("the dog\n")
    broken = tiny_checkpoint()
    weights = bytearray((broken / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (broken / "model.safetensors").write_bytes(weights)
    (tmp_path / "broken.gz").write_bytes(b"not gzip")
    writer = tiny_checkpoint("language_modelling")
    good = ["--ckpt", checkpoint, "--input", lines]
    (tmp_path / "link.txt").symlink_to(lines)
    (tmp_path / "new.partial").write_text("the dog\n")
    for arguments, message in [
        (["--ckpt", tmp_path / "nothing", "--input", lines], "there is no such folder"),
        (["--ckpt", tmp_path, "--input", lines], "no manifest.json in it, in best/ or in last/"),
        (["--ckpt", broken, "--input", lines], "model.safetensors is damaged"),
        (["--ckpt", writer, "--input", lines], "This model is a language model: use generate, or seq2seq generate."),
        (["--ckpt", checkpoint, "--input", tmp_path / "none.txt"], "none.txt: cannot be read (No such file"),
        (["--ckpt", checkpoint, "--input", tmp_path], "this is a folder; name the files in it"),
        (["--ckpt", checkpoint, "--input", tmp_path / "broken.gz"], "this gzip file is damaged"),
        ([*good, "--output", tmp_path / "no" / "out.txt"], f"the folder {tmp_path / 'no'} does not exist; make it"),
        ([*good, "--output", lines], "this output is also an input, which it would replace"),
        ([*good, "--output", tmp_path / "link.txt"], "this output is also an input"),
        (["--ckpt", checkpoint, "--input", tmp_path / "new.partial", "--output", tmp_path / "new"], "is also an input"),
        ([*good, "--output", tmp_path], "cannot be written (Is a directory)"),
        ([*good, "--beam-size", "4", "--search", "greedy"], "--beam-size has no effect with --search greedy"),
        ([*good, "--seed", "4"], "--seed has no effect with --search beam"),
        ([*good, "--n-best", "50"], "--n-best (50) is more than --search beam keeps"),
        ([*good, "--scores", "--json"], "--scores has no effect with --json"),
        ([*good, "--scores", "--n-best", "2"], "--scores has no effect with --n-best"),
        ([*good, "--device", "toaster"], "--device (toaster) must be auto, cpu"),
        ([*good, "--precision", "float16", "--device", "cpu"], "float16 is for GPUs"),
    ]:
        assert call(*arguments) == 2, arguments
        captured = capfd.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("seq2seq-translate: error: ") and captured.err.count("\n") == 1
        assert message in captured.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == []
    assert lines.read_text() == "the dog\n"


@pytest.mark.parametrize("arguments", [["--ckpt", "x", "--beam-sise", "4"], [], ["--ckpt", "x", "--threads", "0"]])
def test_wrong_options(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        translate(arguments)
    assert end.value.code == 2
    assert re.fullmatch(r"seq2seq-translate: error: .*; see seq2seq-translate --help\.\n", capfd.readouterr().err)


def test_help_says_defaults_and_formulas(capfd: pytest.CaptureFixture[str]) -> None:
    for command in (lambda: translate(["--help"]), lambda: main(["translate", "--help"])):
        with pytest.raises(SystemExit) as end:
            command()
        assert end.value.code == 0
        text = capfd.readouterr().out
        assert "((5 + length) / 6) ** alpha" in text and "log_prob / length ** alpha" in text
        assert "(default: 5)" in text and ".partial" in text and "|||" in text


def test_the_subcommand_is_the_same(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_text("the dog\n")
    assert call("--ckpt", checkpoint, "--input", tmp_path / "in", "--quiet") == 0
    alone = capfd.readouterr().out
    assert main(["translate", "--ckpt", str(checkpoint), "--input", str(tmp_path / "in"), "--quiet"]) == 0
    assert capfd.readouterr().out == alone != ""

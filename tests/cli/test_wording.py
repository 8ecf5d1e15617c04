"""Messages of the Python API in the words of the command line."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from seq2seq.cli.main import COMMANDS, main
from seq2seq.cli.wording import OPTIONS, as_options, some_lines

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "n_best (7) is more than search=beam keeps; use beam search with beam_size of at least 7.",
            "--n-best (7) is more than --search beam keeps; use beam search with --beam-size of at least 7.",
        ),
        (
            "constraints, glossary and keep_placeholders need search=beam with a beam_size of at least 2.",
            "--constraints, --glossary and --keep-placeholders need --search beam with a --beam-size of at least 2.",
        ),
        (
            "retry does not go with mbr=chrf, whose scores are utilities; leave one of them out.",
            "--retry does not go with --mbr chrf, whose scores are utilities; leave one of them out.",
        ),
        (
            "split=sentences does not go with prefixes or alternatives; use split=long.",
            "--split sentences does not go with --prefix or --alternatives; use --split long.",
        ),
        (
            "temperature has no effect with search=beam; use it with search=sample.",
            "--temperature has no effect with --search beam; use it with --search sample.",
        ),
        (
            "precision=int8 is for CPUs; with device=cuda:0 use precision=float16 or bfloat16.",
            "--precision int8 is for CPUs; with --device cuda:0 use --precision float16 or bfloat16.",
        ),
        (
            "lm=/tmp/n_best/seed has no effect: it is no translator; leave it out.",
            "--lm /tmp/n_best/seed has no effect: it is no translator; leave it out.",
        ),
        (
            "/tmp/beam_size/best: set data.max_length or decoding.n_best; see --n-best.",
            "/tmp/beam_size/best: set data.max_length or decoding.n_best; see --n-best.",
        ),
        (
            "alignment layer -1 is none; alignment threshold (2.0) must be above 0.",
            "--alignment-layers -1 is none; --alignment-threshold (2.0) must be above 0.",
        ),
        ("bounds have no effect without retry=True here.", "bounds have no effect without --retry here."),
    ],
)
def test_settings_are_called_as_options(message: str, expected: str) -> None:
    assert as_options(message) == expected
    assert as_options(expected) == expected


def test_every_option_is_there(capfd: pytest.CaptureFixture[str]) -> None:
    helps = ""
    for name in ("translate", "generate"):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        helps += capfd.readouterr().out
    assert set(OPTIONS.values()) <= set(re.findall(r"--[a-z][a-z-]*", helps))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_points_to_what_is_there(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    words = " ".join(capfd.readouterr().out.split())
    assert "see below" not in words
    if "see the end of this help" in words:
        assert "--length-normalisation, with alpha = --length-penalty" in words.split("see the end of this help")[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--n-best", "7", "--beam-size", "3"], "--n-best (7) is more than --search beam keeps"),
        (["--mbr", "chrf", "--retry"], "--retry does not go with --mbr chrf"),
        (
            ["--glossary", "TERMS", "--search", "greedy"],
            "need --search beam with a --beam-size of at least 2; set these",
        ),
        (["--prefix", "THREE"], "three.txt: --prefix has 3 lines, the input (TEXT) has 4; give a line for each"),
        (["--constraints", "THREE.gz"], "three.txt.gz: --constraints has 3 lines, the input (TEXT) has 4; give"),
    ],
)
def test_what_the_command_says(
    tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    files = {name: str(tmp_path / name.lower().replace(".", ".txt.")) for name in ("TERMS", "TEXT", "THREE.gz")}
    files["THREE"] = str(tmp_path / "three.txt")
    Path(files["TERMS"]).write_text("dog\tHund\n")
    Path(files["TEXT"]).write_text("the dog\n\na\nthe end")
    Path(files["THREE"]).write_text("a\n\nb")
    with gzip.open(files["THREE.gz"], "wb") as file:
        file.write(b"a\n\nb\n")
    common = ["--ckpt", str(tiny_checkpoint()), "--threads", "1", "--input", files["TEXT"]]
    assert main(["translate", *common, *(files.get(word, word) for word in words)]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and message.replace("TEXT", files["TEXT"]) in error, error


@pytest.mark.parametrize(
    "message",
    ["suppress_tokens has 'n_best', which is no token.", "n_best/best: not a checkpoint.", "a/n_best.txt, n_best-2/x"],
)
def test_what_users_wrote_stays(message: str) -> None:
    assert as_options(message).removeprefix("--").replace("suppress-tokens", "suppress_tokens") == message


def test_one_line_and_more() -> None:
    assert [some_lines(number) for number in (0, 1, 2, 1234)] == ["0 lines", "1 line", "2 lines", "1,234 lines"]

"""`seq2seq score`, both uses of it, by its command line."""

import gzip
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seq2seq
from seq2seq.cli.main import main

Make = Callable[..., Path]
Capture = pytest.CaptureFixture[str]
REFERENCE = [
    "Der Hund schläft unter dem Tisch.",
    "Ein Mann liest ein Buch.",
    "Es regnet.",
    "Zwei Kinder spielen im Park.",
]
OUTPUT = ["Der Hund schläft auf dem Tisch.", "Ein Mann liest das Buch.", "Es regnet.", "Kinder spielen im Garten."]
OTHER = ["Der Hund liegt unter dem Tisch.", "Ein Mann liest ein Heft.", "Regen.", "Zwei Kinder im Park."]


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, Path]:
    for name, lines in {"ref": REFERENCE * 9, "out": OUTPUT * 9, "other": OTHER * 9}.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {name: tmp_path / name for name in ("ref", "out", "other")}


def sacrebleu(*arguments: str | Path) -> Any:
    command = [sys.executable, "-m", "sacrebleu", *map(str, arguments), "--quiet", "-w", "8"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def test_scores_are_those_of_sacrebleus_command_line(texts: dict[str, Path], capfd: Capture) -> None:
    ref, out, other = (str(texts[name]) for name in ("ref", "out", "other"))
    names = ["bleu", "chrf", "ter"]
    command = ["score", "--reference", ref, "--reference", other, "--hypothesis", out, "--metrics", *names]
    assert main(command) == 0
    shown = capfd.readouterr()
    theirs = sacrebleu(ref, other, "-i", out, "-m", *names, "-ci")
    for entry, name in zip(theirs, ("BLEU", "chrF", "TER"), strict=True):
        assert f"  {name} {entry['score']:.2f} ± {entry['confidence_var']:.2f}  {entry['signature']}\n" in shown.out
    assert shown.err == ""
    assert main([*command, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["lines"] == 36
    for entry, name in zip(theirs, names, strict=True):
        assert found["scores"][name]["signature"] == entry["signature"]
        assert found["scores"][name]["score"] == pytest.approx(entry["score"], abs=1e-7)


def test_baselines_have_the_p_values_of_sacrebleus_command_line(texts: dict[str, Path], capfd: Capture) -> None:
    ref, out, other = (str(texts[name]) for name in ("ref", "out", "other"))
    command = ["score", "--reference", ref, "--hypothesis", out, "--baseline", other, out, "--metrics", "chrf", "ter"]
    _, theirs = sacrebleu(ref, "-i", other, out, "-m", "chrf", "ter", "-par", "--paired-ar-n", "2000")
    assert main([*command, "--paired", "randomisation", "--samples", "2000", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["paired"] == "randomisation"
    beside, itself = found["baselines"]
    for name, key in (("chrf", "chrF2"), ("ter", "TER")):
        assert beside["metrics"][name]["p_value"] == theirs[key]["p_value"]
        assert beside["metrics"][name]["score"] == pytest.approx(theirs[key]["score"])
        assert itself["metrics"][name]["p_value"] == 1 and itself["metrics"][name]["difference"] == 0
    assert main(command) == 0
    shown = capfd.readouterr().out
    assert f"beside {other} (paired bootstrap)\n  chrF " in shown and "|bs:1000|seed:12345|" in shown
    assert "  chrF +0.00 (equal; baseline " in shown


def test_odd_bytes_are_read_and_told(texts: dict[str, Path], tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "odd.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfDer Hund\r\n\n\xff\xfe\na\xe2\x80\xa8b\x00"))
    (tmp_path / "four").write_text("Der Hund\nx\ny\na b\n")
    command = ["score", "--reference", str(tmp_path / "four"), "--hypothesis", str(tmp_path / "odd.gz"), "--json"]
    assert main(command) == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out)["lines"] == 4
    for reason in ("byte order mark removed", "1 of 4 lines: empty or blank", "invalid UTF-8", "line separators"):
        assert reason in shown.err
    assert main([*command, "--quiet"]) == 0
    assert capfd.readouterr().err == ""


def test_output_goes_to_a_file(texts: dict[str, Path], tmp_path: Path, capfd: Capture) -> None:
    command = ["score", "--reference", str(texts["ref"]), "--hypothesis", str(texts["out"])]
    assert main([*command, "--output", str(tmp_path / "scores")]) == 0
    assert "chrF" in (tmp_path / "scores").read_text()
    assert capfd.readouterr().out == ""
    assert main([*command, "--output", str(texts["ref"])]) == 2
    assert "would be written over" in capfd.readouterr().err
    assert texts["ref"].read_text().count("\n") == 36


def refused(capfd: Capture, *arguments: str | Path) -> str:
    assert main(["score", *map(str, arguments)]) == 2
    shown = capfd.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and "Traceback" not in shown.err
    return shown.err


def test_mistakes_are_one_sentence(
    texts: dict[str, Path], tmp_path: Path, capfd: Capture, tiny_checkpoint: Make
) -> None:
    files = ["--reference", texts["ref"], "--hypothesis", texts["out"]]
    (tmp_path / "short").write_text("one\n")
    (tmp_path / "empty").write_text("")
    assert "--reference is missing" in refused(capfd)
    assert "--hypothesis is missing" in refused(capfd, *files[:2])
    assert "short has 1 line; one for each" in refused(capfd, *files[:3], tmp_path / "short")
    assert "there is no line in it" in refused(capfd, *files[:3], tmp_path / "empty")
    assert "cannot be read" in refused(capfd, *files[:3], tmp_path / "nowhere")
    assert "no translations are kept" in refused(capfd, *files[:3], tmp_path)
    assert "--paired has no effect without --baseline" in refused(capfd, *files, "--paired", "bootstrap")
    assert "--target has no effect without --ckpt" in refused(capfd, *files, "--target", texts["ref"])
    assert "--source has no effect without --metrics comet" in refused(capfd, *files, "--source", texts["ref"])
    assert "--comet-model NAME and --source" in refused(capfd, *files, "--metrics", "comet")
    checkpoint = tiny_checkpoint()
    assert "--metrics has no effect with --ckpt" in refused(capfd, "--ckpt", checkpoint, "--metrics", "bleu")
    assert "--target is missing" in refused(capfd, "--ckpt", checkpoint)
    target = ["--ckpt", checkpoint, "--target", texts["ref"], "--threads", "1"]
    assert "Name its source too" in refused(capfd, *target)
    assert "cannot be read" in refused(capfd, *target, "--source", tmp_path / "nowhere")
    assert "cannot both be stdin" in refused(capfd, "--ckpt", checkpoint, "--target", "-", "--source", "-")
    assert "this output is also an input" in refused(capfd, *target, "--source", texts["out"], "--output", texts["ref"])


SOURCES = [b"the dog", b"", b"a cat is here.", b"\xff\xfe", b"x" * 9000, b"over\r", b"a\xe2\x80\xa8b"]
TARGETS = [b"a dog", b"b", b"", b"fox", b"jumps", b"\x00", b"c d"]


def test_lines_under_a_model_keep_their_places(tiny_checkpoint: Make, tmp_path: Path, capfd: Capture) -> None:
    checkpoint = tiny_checkpoint(max_length=24)
    (tmp_path / "source").write_bytes(b"\n".join(SOURCES) + b"\n")
    (tmp_path / "target.gz").write_bytes(gzip.compress(b"\n".join(TARGETS) + b"\n"))
    command = ["score", "--ckpt", str(checkpoint), "--source", str(tmp_path / "source"), "--threads", "1"]
    command += ["--target", str(tmp_path / "target.gz"), "--device", "cpu"]
    assert main([*command, "--per-token", "--json"]) == 0
    shown = capfd.readouterr()
    rows = [json.loads(line) for line in shown.out.split("\n")[:-1]]
    assert [row["line"] for row in rows] == list(range(len(TARGETS)))
    assert [row["notes"] for row in rows] == [
        [], ["no_source"], ["nothing"], ["invalid_utf8", "unknown"], ["too_long"],
        ["carriage_return", "control"], ["separator"],
    ]  # fmt: skip
    assert rows[4]["log_prob"] is None and rows[4]["tokens"] == 0
    for row in rows[:4] + rows[5:]:
        assert row["log_prob"] == pytest.approx(sum(row["log_probs"])) and len(row["pieces"]) == row["tokens"]
    assert rows[0]["pieces"] == ["a", " ", "d", "o", "g", "</s>"]
    scored = [row for row in rows if row["log_prob"] is not None]
    nats, tokens = -sum(row["log_prob"] for row in scored), sum(row["tokens"] for row in scored)
    assert f"perplexity {math.exp(nats / tokens):.4f}, loss {nats / tokens:.6f} nats a token" in shown.err
    assert f"over {tokens} tokens of 6 lines" in shown.err
    assert "1  longer than the model takes, not scored" in shown.err
    # The same with tabs, and from Python.
    assert main([*command, "--per-token", "--batch-tokens", "30", "--quiet"]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    table = [line.split("\t") for line in shown.out.split("\n")[:-1]]
    assert [float(columns[0]) for columns in table] == pytest.approx(
        [math.nan if row["log_prob"] is None else row["log_prob"] for row in rows], abs=1e-4, nan_ok=True
    )
    assert [columns[1:3] for columns in table] == [[str(row["tokens"]), ",".join(row["notes"])] for row in rows]
    for columns, row in zip(table, rows, strict=True):
        pieces = [piece.rpartition("=") for piece in columns[3].split(" ")] if row["tokens"] else []
        assert [piece for piece, _, _ in pieces] == [piece.replace(" ", "▁") for piece in row.get("pieces", [])]
        assert [float(value) for _, _, value in pieces] == pytest.approx(row["log_probs"], abs=1e-4)
    (score,) = seq2seq.load(checkpoint, device="cpu").score(["a dog"], ["the dog"])
    assert score.log_prob == pytest.approx(rows[0]["log_prob"], abs=1e-4)


def test_a_language_model_reads_stdin(
    tiny_checkpoint: Make, capfd: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkpoint = tiny_checkpoint("language_modelling")
    (tmp_path / "text").write_bytes(b"the dog\n\nover a lazy fox, and a cat and a dog")
    command = [sys.executable, "-m", "seq2seq.cli.main", "score", "--ckpt", str(checkpoint), "--threads", "1"]
    with open(tmp_path / "text", "rb") as text:
        done = subprocess.run(
            [*command, "--target", "-", "--output", str(tmp_path / "scores.gz")],
            stdin=text, capture_output=True, check=True, cwd=Path(seq2seq.__file__).parents[1], text=True,
        )  # fmt: skip
    assert done.stdout == ""
    rows = gzip.decompress((tmp_path / "scores.gz").read_bytes()).decode().split("\n")
    assert len(rows) == 4 and [row.split("\t")[2] for row in rows[:3]] == ["", "nothing", "no_newline,stretches"]
    assert "perplexity " in done.stderr


def test_unequal_sides_and_wrong_models_are_one_sentence(tiny_checkpoint: Make, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "one").write_text("a\n")
    (tmp_path / "two").write_text("a\nb\n")
    sides = ["--source", tmp_path / "one", "--target", tmp_path / "two", "--threads", "1"]
    assert "The source ends after 1 lines, but the target goes on" in refused(
        capfd, "--ckpt", tiny_checkpoint(), *sides
    )
    model = tiny_checkpoint("language_modelling")
    assert "a source has no effect" in refused(capfd, "--ckpt", model, *sides)
    assert "gives labels" in refused(capfd, "--ckpt", tiny_checkpoint("classification"), *sides)


def test_comet_without_its_package_is_one_sentence(
    texts: dict[str, Path], capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "comet", None)
    files = ["--reference", texts["ref"], "--hypothesis", texts["out"], "--source", texts["other"]]
    error = refused(capfd, *files, "--metrics", "bleu", "comet", "--comet-model", "Unbabel/wmt22-comet-da")
    assert "pip install 'seq2seq[comet]'" in error
    files += ["--reference", texts["other"]]
    assert "reads one reference" in refused(capfd, *files, "--metrics", "comet", "--comet-model", "x")


def test_translations_from_stdin(texts: dict[str, Path], capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(texts["out"].read_bytes())))
    assert main(["score", "--reference", str(texts["ref"]), "--hypothesis", "-", "--json"]) == 0
    piped = json.loads(capfd.readouterr().out)
    assert main(["score", "--reference", str(texts["ref"]), "--hypothesis", str(texts["out"]), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["scores"] == piped["scores"]

"""`seq2seq compare` by its command line."""

from pathlib import Path

import pytest

from seq2seq.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for name, lines in {
        "ref": ["the cat sat on the mat", "a dog sleeps", "<b>bold</b>", "nothing"],
        "a": ["the cat sat on the mat", "a dog barks", "<b>old</b>", "nothing"],
        "b": ["the cat is on a mat", "a dog sleeps", "<i>bold</i>", "nothing"],
        "source": ["<script>", "zwei", "drei", "vier"],
    }.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def test_the_text_and_the_page(texts: Path, capfd: Capture) -> None:
    command = ["compare", str(texts / "a"), str(texts / "b"), "--reference", str(texts / "ref"), "--show", "1"]
    assert (
        main([*command, "--source", str(texts / "source"), "--html", str(texts / "page.html"), "--samples", "99"]) == 0
    )
    shown = capfd.readouterr()
    assert "A is better in 2, worse in 1, the same in 1" in shown.out
    assert "   source     <script>" in shown.out
    assert "|bs:99|" in shown.out and "|ar:99|" in shown.out and shown.out.count("|bs:1000|") == 4
    assert f"all 4 sentences are in {texts}/page.html" in shown.err
    page = (texts / "page.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in page and page.count("<script>") == 1
    assert "<del>&lt;b&gt;old&lt;/b&gt;</del>" in page
    assert main([*command, "--quiet", "--metrics", "ter"]) == 0
    shown = capfd.readouterr()
    assert shown.err == "" and "TER" in shown.out and "BLEU" not in shown.out


def test_folders_of_runs(texts: Path, capfd: Capture) -> None:
    run = texts / "run"
    (run / "evaluation").mkdir(parents=True)
    (run / "evaluation" / "translations.txt").write_bytes((texts / "a").read_bytes())
    command = ["compare", str(run), str(texts / "a"), "--reference", str(texts / "ref"), "--samples", "9"]
    assert main(command) == 0
    shown = capfd.readouterr().out
    assert f"A  {run}\n" in shown and "A is better in 0, worse in 0, the same in 4" in shown
    assert shown.count("p = 1.0000") == 4


def refused(capfd: Capture, *arguments: str | Path) -> str:
    assert main(["compare", *map(str, arguments)]) == 2
    shown = capfd.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    return shown.err


def test_mistakes_are_one_sentence(texts: Path, capfd: Capture) -> None:
    reference = ["--reference", texts / "ref"]
    (texts / "short").write_text("one\n")
    assert "short has 1 line" in refused(capfd, texts / "a", texts / "short", *reference)
    assert "no translations are kept" in refused(capfd, texts, texts / "b", *reference)
    assert "would be written over" in refused(capfd, texts / "a", texts / "b", *reference, "--html", texts / "b")
    assert "--comet-model has no effect" in refused(capfd, texts / "a", texts / "b", *reference, "--comet-model", "x")
    assert main(["compare", *map(str, (texts / "a", texts / "b", *reference, "--html", texts / "no" / "page"))]) == 2
    assert "cannot be written" in capfd.readouterr().err

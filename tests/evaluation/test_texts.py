import gzip
import json
from pathlib import Path

import pytest

from seq2seq.data.lines import Note
from seq2seq.errors import DataError
from seq2seq.evaluation.texts import read_text, references_of, same_length, translations_of


def test_lines_end_at_newlines_only_and_are_repaired(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfone\r\n\nt\xe2\x80\xa8wo\n\xff\nlast"
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(content))
    found = read_text(str(tmp_path / "plain"))
    assert [line.text for line in found] == ["one", "", "t wo", "\ufffd", "last"]
    assert found[0].notes == (Note.byte_order_mark, Note.carriage_return)
    assert read_text(str(tmp_path / "packed.gz")) == found


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "damaged.gz").write_bytes(gzip.compress(b"one\n" * 99)[:-9])
    (tmp_path / "none.gz").write_bytes(b"text")
    for name, reason in (
        ("empty", "no line in it"),
        ("damaged.gz", "damaged"),
        ("none.gz", "damaged"),
        ("missing", "cannot be read"),
        (".", "cannot be read"),
    ):
        with pytest.raises(DataError, match=reason):
            read_text(str(tmp_path / name))


def test_texts_of_different_length_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n2\n")
    lines = read_text(str(tmp_path / "a"))
    same_length({"a": lines, "b": lines})
    with pytest.raises(DataError, match="b has 1 line, a has 2 lines"):
        same_length({"a": lines, "b": lines[:1]})


def test_folders_of_runs_mean_their_translations(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "best").mkdir(parents=True)
    (run / "best" / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match=r"no translations are kept in this folder .* seq2seq.evaluate ckpt="):
        translations_of(str(run))
    (run / "evaluation").mkdir()
    kept = run / "evaluation" / "translations.txt"
    kept.write_text("1\n")
    for name in (run, run / "best", run / "evaluation"):
        assert translations_of(str(name)) == str(kept)
    assert translations_of(str(kept)) == str(kept)
    (run / "logs").mkdir()  # beside them, but no checkpoint
    with pytest.raises(DataError, match="no translations"):
        translations_of(str(run / "logs"))


def test_what_translations_were_scored_on(tmp_path: Path) -> None:
    path = tmp_path / "translations.txt"
    assert references_of(str(path)) is None
    for content in ("[]", "{", "{}", '{"references_sha256": 3}'):
        (tmp_path / "scores.json").write_text(content)
        assert references_of(str(path)) is None
    (tmp_path / "scores.json").write_text(json.dumps({"references_sha256": "abc"}))
    assert references_of(str(path)) == "abc"

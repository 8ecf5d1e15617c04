from collections.abc import Iterator
from pathlib import Path

import pytest

from seq2seq.data import text_cache
from seq2seq.data.text_cache import kept

PAIRS = [(f"source {index}\u2028", f"Ziel {index}") for index in range(25)]


def test_text_is_got_once_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_cache, "ROWS", 10)
    got = []

    def pairs() -> Iterator[tuple[str, str]]:
        got.append(1)
        yield from PAIRS

    path = tmp_path / "deep" / "text.arrow"
    text = kept(path, pairs, name="text", total=None)
    assert list(text) == list(text) == PAIRS
    again = kept(path, pairs, name="text", total=None)
    assert (again.fingerprint, again.rows, len(got)) == (text.fingerprint, 25, 1)
    assert text.where(3) == "text, row 4"
    reading = iter(again)
    for _ in range(11):
        next(reading)
    assert again.fraction() == 10 / 25


def test_damage_is_got_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text.arrow"
    kept(path, lambda: PAIRS, name="text", total=None)
    path.write_bytes(path.read_bytes()[:-9])
    assert list(kept(path, lambda: PAIRS, name="text", total=None)) == PAIRS
    assert "text.arrow is damaged; getting text again" in capsys.readouterr().err


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def pairs() -> Iterator[tuple[str, str]]:
        yield "a", "b"
        raise KeyError

    with pytest.raises(KeyError):
        kept(tmp_path / "text.arrow", pairs, name="text", total=None)
    assert list(tmp_path.iterdir()) == []
    assert list(kept(tmp_path / "empty.arrow", lambda: [], name="text", total=None)) == []

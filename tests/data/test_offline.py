import sys
from pathlib import Path

import pytest

from seq2seq.data import offline, sample_corpus
from seq2seq.data.offline import ENGLISH_CHARACTERS, english_text, offline_english, sample_text


def test_english_is_large_and_plain() -> None:
    text = offline_english()
    assert 0.9 * ENGLISH_CHARACTERS < len(text) <= ENGLISH_CHARACTERS
    assert text.count(" the ") > 3000
    assert all(character == "\n" or character.isprintable() for character in set(text))


def test_english_without_the_help_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)  # an import of None fails
    monkeypatch.setattr(offline, "ENGLISH_CHARACTERS", 50_000)
    assert len(offline_english()) == 50_000


def test_english_as_lines_and_as_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "offline_english", lambda: "one\n\ntwo")
    lines, whole = (english_text(whole=whole, cache=tmp_path) for whole in (False, True))
    assert list(lines) == [("", "one"), ("", ""), ("", "two")]
    assert "".join(text for _, text in whole) == "one\n\ntwo\n"
    assert lines.fingerprint != whole.fingerprint
    monkeypatch.setattr(offline, "offline_english", lambda: "collected again")
    assert list(english_text(whole=False, cache=tmp_path)) == list(lines)


def test_sample_in_both_directions_is_generated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [("a cat", "eine Katze"), ("a dog", "ein Hund")]
    asked = []

    def generate(split: str) -> list[tuple[str, str]]:
        asked.append(split)
        return pairs

    monkeypatch.setattr(sample_corpus, "sample_pairs", generate)
    for _ in range(2):
        assert list(sample_text("valid", cache=tmp_path)) == pairs
        assert list(sample_text("valid", reverse=True, cache=tmp_path)) == [pair[::-1] for pair in pairs]
    assert asked == ["valid", "valid"]

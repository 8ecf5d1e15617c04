from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data import text_cache
from seq2seq.data.text_cache import KeptText, Made, kept

PAIRS = [(f"source {index}\u2028", f"Ziel {index}") for index in range(25)]


def keep(folder: Path, pairs: Callable[[], Iterable[tuple[str, str]]]) -> KeptText:
    return kept(folder, Made(pairs), name="text", total=None)


def test_text_is_got_once_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_cache, "ROWS", 10)
    got = []

    def pairs() -> Iterator[tuple[str, str]]:
        got.append(1)
        yield from PAIRS

    path = tmp_path / "deep" / "text"
    text = keep(path, pairs)
    assert list(text) == list(text) == PAIRS
    again = keep(path, pairs)
    assert (again.fingerprint, again.rows, len(got)) == (text.fingerprint, 25, 1)
    assert text.where(3) == "text, row 4"
    reading = iter(again)
    for _ in range(11):
        next(reading)
    assert again.fraction() == 10 / 25


def test_damage_is_got_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path, lambda: PAIRS)
    path = tmp_path / "00000.arrow"
    path.write_bytes(path.read_bytes()[:-9])
    assert list(keep(tmp_path, lambda: PAIRS)) == PAIRS
    assert "00000.arrow is damaged; getting text again" in capsys.readouterr().err


class Counted:
    """Pairs that break off at one of them; remembers what was read, and marks its place in its own way."""

    def __init__(self, pairs: list[tuple[str, str]], stop: int | None = None) -> None:
        self.pairs, self.stop, self.read = pairs, stop, list[int]()

    def behind(self, done: int, mark: Any) -> Iterator[tuple[str, str]]:
        assert mark == (None if done == 0 else f"behind {done}")
        for index in range(done, len(self.pairs)):
            if index == self.stop:
                raise KeyboardInterrupt
            self.read.append(index)
            yield self.pairs[index]

    def mark(self) -> str:
        return f"behind {self.read[-1] + 1 if self.read else 0}"


@given(count=st.integers(0, 25), stop=st.integers(0, 25), shard=st.integers(1, 9), batch=st.integers(1, 5))
def test_what_was_interrupted_goes_on_where_it_stopped(
    count: int, stop: int, shard: int, batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pairs, folder = PAIRS[:count], tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_cache, "ROWS", batch)
        patch.setattr(text_cache, "SHARD_ROWS", shard)
        whole = kept(folder / "whole", Counted(pairs), name="text", total=None)
        if stop < count:
            with pytest.raises(KeyboardInterrupt):
                kept(folder / "broken", Counted(pairs, stop), name="text", total=None)
        again = Counted(pairs)
        resumed = kept(folder / "broken", again, name="text", total=None)
    done = max(stop - 1, 0) // shard * shard if stop < count else 0  # a shard is written when the next pair is there
    assert again.read == list(range(done, count))
    assert list(resumed) == list(whole) == pairs
    assert resumed.fingerprint == whole.fingerprint
    assert [path.read_bytes() for path in sorted((folder / "broken").iterdir())] == [
        path.read_bytes() for path in sorted((folder / "whole").iterdir())
    ]


@pytest.mark.parametrize("changed", [PAIRS[:7], [("other", pair[1]) for pair in PAIRS]], ids=["shorter", "other"])
def test_text_that_changed_in_between_is_got_from_the_start(
    changed: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(text_cache, "SHARD_ROWS", 4)
    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path, Counted(PAIRS, 19), name="text", total=None)
    with pytest.raises(KeyboardInterrupt):  # and again, when some of the new text is there
        kept(tmp_path, Counted(changed, 6), name="text", total=None)
    assert list(kept(tmp_path, Counted(changed), name="text", total=None)) == changed
    assert "text has changed since the first 16 rows were fetched" in capsys.readouterr().err


def test_long_documents_make_small_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_cache, "SHARD_CHARACTERS", 100)
    text = keep(tmp_path, lambda: [("", "a" * 60)] * 5)
    assert [shard.facts["rows"] for shard in text.shards] == [2, 2, 1]
    assert len(list(text)) == text.rows == 5


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def pairs() -> Iterator[tuple[str, str]]:
        yield "a", "b"
        raise KeyError

    with pytest.raises(KeyError):
        keep(tmp_path / "text", pairs)
    assert list(tmp_path.iterdir()) == []
    assert list(keep(tmp_path / "empty", lambda: [])) == []

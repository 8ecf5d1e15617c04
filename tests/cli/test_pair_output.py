import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.cli.pair_output import PairOutput
from seq2seq.errors import DataError

ENDINGS = ("en", "de")


def opened(folder: Path, *, key: str = "one") -> PairOutput:
    return PairOutput(str(folder / "new" / "train"), ENDINGS, key=key)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "new").iterdir())


def test_both_files_or_none(tmp_path: Path) -> None:
    with opened(tmp_path) as output:
        output.add({"text": "a"})
        assert names(tmp_path) == ["train.partial"]
        assert output.write([("x", "a"), ("y ü", "b")]) == 2
    assert names(tmp_path) == ["train.de", "train.en"]
    assert (tmp_path / "new" / "train.en").read_text(encoding="utf-8") == "x\ny ü\n"
    assert (tmp_path / "new" / "train.de").read_text() == "a\nb\n"


@given(cut=st.integers(min_value=0, max_value=200), rest=st.binary(max_size=9))
def test_whatever_a_crash_leaves_at_the_end_is_forgotten(
    tmp_path_factory: pytest.TempPathFactory, cut: int, rest: bytes
) -> None:
    folder = tmp_path_factory.mktemp("crash")
    records = [{"text": f"über {number}"} for number in range(5)]
    with opened(folder) as output:
        for record in records:
            output.add(record)
    content = output.partial.read_bytes()
    output.partial.write_bytes(content[: max(cut, content.index(b"\n") + 1)] + rest.replace(b"\n", b""))
    with opened(folder) as output:
        done = output.done
        assert list(output.records()) == records[:done]
        for record in records[done:]:
            output.add(record)
        assert list(output.records()) == records
    assert output.partial.read_bytes() == content


def test_a_stop_between_the_two_names_is_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = os.replace, 0

    def replace(*paths: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        real(*paths)

    with monkeypatch.context() as patch, opened(tmp_path) as output:
        output.add({"text": "a"})
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            output.write([("x", "a")])
    assert names(tmp_path) == ["train.en", "train.partial"]
    with opened(tmp_path) as output:
        assert output.done == 1
        output.write([("x", "a")])
    assert names(tmp_path) == ["train.de", "train.en"]


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "train.de").write_text("precious\n")
    with pytest.raises(DataError, match=r"train.de: exists already"):
        opened(tmp_path)
    assert names(tmp_path) == ["train.de"]


def test_another_command_s_answers_are_not_gone_on_with(tmp_path: Path) -> None:
    with opened(tmp_path) as output:
        output.add({"text": "a"})
    with pytest.raises(DataError, match=r"train.partial was begun with another model, text or search"):
        opened(tmp_path, key="two")
    output.partial.write_text("my own notes\n")
    with pytest.raises(DataError, match="was begun with another"):
        opened(tmp_path)
    assert output.partial.read_text() == "my own notes\n"


def test_two_commands_at_once_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(DataError, match="another command is writing to it"):
        opened(tmp_path)


def test_one_language_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="both sides would be"):
        PairOutput(str(tmp_path / "train"), ("en", "en"), key="one")


def test_a_full_disk_is_a_sentence_and_keeps_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(tmp_path) as output:
        output.add({"text": "a"})
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(DataError, match="No space left on device.*1 answers so far are kept"):
                output.write([("x", "a")])
    assert names(tmp_path) == ["train.partial"]
    assert [json.loads(line) for line in output.partial.read_text().splitlines()] == [{"key": "one"}, {"text": "a"}]

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.files import sha256, whole_folder, write_bytes, write_json, write_text

pytestmark = pytest.mark.usefixtures("real_fsync")


class Fault:
    """The n-th call among some system calls fails as on a full disk, or is cut short as by Ctrl-C."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, names: list[str], error: BaseException) -> None:
        self.calls: list[str] = []
        self.fail_at: int | None = None
        self.error = error
        for name in names:
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self.fail_at == len(self.calls) - 1:
                raise self.error
            return real(*args, **kwargs)

        return call


ERRORS = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()]


def fill(folder: Path, text: str) -> None:
    write_text(folder / "one.txt", text)
    (folder / "inner").mkdir()
    (folder / "inner" / "two.txt").write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


# --------------------------------------------------------------------- files


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_write_replaces_what_stood_there(first: bytes, second: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        for data in (first, second):
            write_bytes(path, data)
            assert path.read_bytes() == data
        assert os.listdir(folder) == ["file"]


def test_text_is_utf8_and_keeps_its_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "é\r\n\u2028x\n")
    assert (tmp_path / "text").read_bytes() == "é\r\n\u2028x\n".encode()


def test_json_is_readable_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"größe": [1, None]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"größe": [1, None]}
    assert "größe" in text and text.endswith("}\n")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("fail_at", range(2))
def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, fail_at: int
) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    fault = Fault(monkeypatch, ["fsync", "replace"], error)
    fault.fail_at = fail_at
    with pytest.raises(type(error)):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_error() -> None:
    with pytest.raises(OSError, match="No space"), open("/dev/full", "wb") as file:
        file.write(b"x")


# ------------------------------------------------------------------- folders


@pytest.mark.parametrize("stands_there", [False, True])
def test_a_folder_arrives_whole(tmp_path: Path, stands_there: bool) -> None:
    path = tmp_path / "runs" / "last"
    if stands_there:
        path.mkdir(parents=True)
        (path / "stale").touch()
    with whole_folder(path) as temporary:
        assert temporary.parent == path.parent
        fill(temporary, "new")
        assert (path / "stale").exists() == stands_there
    assert content(path) == {"one.txt": "new", "inner/two.txt": "new"}
    assert os.listdir(path.parent) == ["last"]


def test_a_displaced_folder_gets_its_new_name(tmp_path: Path) -> None:
    path, displaced = tmp_path / "last", tmp_path / "checkpoints" / "step-7"
    for text in ("old", "new"):
        with whole_folder(path, displaced=displaced) as temporary:
            fill(temporary, text)
    assert content(path)["one.txt"] == "new"
    assert content(displaced)["one.txt"] == "old"
    with whole_folder(path, displaced=displaced) as temporary:  # a run that goes on may reach step 7 again
        fill(temporary, "newest")
    assert content(displaced)["one.txt"] == "new"


@pytest.mark.parametrize(
    "error", [ValueError("in the block"), KeyboardInterrupt()], ids=lambda error: type(error).__name__
)
def test_a_block_that_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "last"
    with whole_folder(path) as temporary:
        fill(temporary, "old")
    with pytest.raises(type(error)), whole_folder(path) as temporary:
        fill(temporary, "new")
        raise error
    assert content(path)["one.txt"] == "old"
    assert os.listdir(tmp_path) == ["last"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("keep_old", [False, True])
def test_a_folder_is_whole_whatever_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, keep_old: bool
) -> None:
    """Every system call of the move fails once: what stands at the path is the old folder or the new one, whole."""
    fault = Fault(monkeypatch, ["fsync", "rename"], error)
    fail_at, failures = 0, 0
    while True:
        path = tmp_path / str(fail_at) / "last"
        displaced = path.parent / "checkpoints" / "step-1" if keep_old else None
        with whole_folder(path) as temporary:
            fill(temporary, "old")
        fault.calls, fault.fail_at = [], fail_at
        try:
            with whole_folder(path, displaced=displaced) as temporary:
                (temporary / "one.txt").write_text("new")
                (temporary / "inner").mkdir()
                (temporary / "inner" / "two.txt").write_text("new")
            failed = False
        except type(error):
            failed = True
        fault.fail_at = None
        texts = set(content(path).values())
        assert len(content(path)) == 2 and len(texts) == 1
        if not failed:
            assert texts == {"new"}
            break
        arrived = fault.calls.count("rename") == 2 and fault.calls[-1] == "fsync"
        assert texts == ({"new"} if arrived else {"old"})
        assert not list(path.parent.glob(".*.tmp"))
        fail_at, failures = fail_at + 1, failures + 1
    assert failures == 7  # three entries, the folder, two renames, the parent


def test_remains_of_a_crash_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "last"
    remains = tmp_path / f".last.{os.getpid()}.tmp"
    remains.mkdir()
    (remains / "half").touch()
    with whole_folder(path) as temporary:
        fill(temporary, "new")
    assert content(path) == {"one.txt": "new", "inner/two.txt": "new"}


def test_checksum(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

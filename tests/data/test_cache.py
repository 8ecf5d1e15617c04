import fcntl
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from seq2seq.config import DataConfig
from seq2seq.data.cache import cache_folder, key_of, read_label, sweep, whole_file, write_label
from seq2seq.data.shards import read_shards
from seq2seq.errors import DataError


def test_folder() -> None:
    assert cache_folder(DataConfig(cache_dir="~/x")) == Path.home() / "x"
    assert cache_folder(DataConfig()) == Path.home() / ".cache" / "seq2seq"


def test_keys_tell_values_apart() -> None:
    assert key_of(a=1, b=[2]) == key_of(b=[2], a=1)
    assert len({key_of(a=1), key_of(a=2), key_of(b=1), key_of(a="1")}) == 4


def test_half_a_file_is_never_seen(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.arrow"
    with pytest.raises(KeyError), whole_file(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert list(path.parent.iterdir()) == []
    with whole_file(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert [file.name for file in path.parent.iterdir()] == ["file.arrow"]
    assert path.read_text() == "whole"


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with whole_file(path) as first, whole_file(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() in ("first", "second")


def test_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"cannot write there \(.*\)\. Make room, .*data\.cache_dir"),
        whole_file(tmp_path / "file" / "below" / "x"),
    ):
        pass


KILLED = """
import os, signal, sys
from pathlib import Path
from seq2seq.data.cache import whole_file
with whole_file(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    path = tmp_path / "00000.arrow"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    (left,) = tmp_path.iterdir()
    assert killed.returncode == -9 and left.name.startswith(".00000-")
    with whole_file(tmp_path / "00001.arrow") as ours:
        ours.write_text("of a process that lives")
        assert read_shards(tmp_path) == ([], None)
        assert not left.exists() and ours.exists()
    assert (tmp_path / "00001.arrow").read_text() == "of a process that lives"


def test_a_file_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, swept = fcntl.flock, []

    def after_a_sweep(file: Any, operation: int) -> None:
        if operation == fcntl.LOCK_EX and len(swept) < 2:
            swept.extend(tmp_path.iterdir())
            sweep(tmp_path)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", after_a_sweep)
    with whole_file(tmp_path / "written") as temporary:
        temporary.write_text("whole")
        sweep(tmp_path)
        assert list(tmp_path.iterdir()) == [temporary]
    assert len(swept) == 2 and (tmp_path / "written").read_text() == "whole"


def test_what_another_machine_writes_is_left_for_a_day(tmp_path: Path) -> None:
    theirs, others = tmp_path / ".00000-0123abcd-89abcdef.arrow", tmp_path / ".keep-this"
    theirs.write_text("half")
    others.write_text("")
    sweep(tmp_path)
    assert theirs.exists()
    for file in (theirs, others):
        os.utime(file, (0, time.time() - 25 * 3600))
    with theirs.open("rb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        sweep(tmp_path)
        assert theirs.exists()
    sweep(tmp_path)
    assert not theirs.exists() and others.exists()


FULL_DISK = """
import resource, sys
from pathlib import Path
from seq2seq.data.cache import whole_file
from seq2seq.errors import DataError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with whole_file(Path(sys.argv[1])) as temporary, temporary.open("wb") as file:
        file.write(b"x" * 5000)
except DataError as error:
    print(error)
"""


def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "file"
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert re.search("cannot write there .* Make room", done.stdout)
    assert list(path.parent.iterdir()) == []


def test_label_finds_damage(tmp_path: Path) -> None:
    path = tmp_path / "file.arrow"
    assert read_label(path) == (None, False)
    path.write_bytes(os.urandom(10_000))
    assert read_label(path) == (None, False)
    write_label(path, rows=3)
    facts, damaged = read_label(path)
    assert facts is not None and facts["rows"] == 3 and not damaged
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    for bad in (bytes(content), bytes(content[:-1]), b""):
        path.write_bytes(bad)
        assert read_label(path) == (None, True)
    path.unlink()
    assert read_label(path) == (None, True)
    (tmp_path / "file.arrow.label").write_text("{")
    assert read_label(path) == (None, True)

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.config import DataConfig
from seq2seq.data.cache import cache_folder, key_of, read_label, whole_file, write_label
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

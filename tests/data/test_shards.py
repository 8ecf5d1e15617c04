from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.shards import discard, in_groups, read_shards, write_shard

SCHEMA = pa.schema([("number", pa.int32())])


@given(count=st.integers(0, 30), size=st.integers(1, 7))
def test_groups(count: int, size: int) -> None:
    groups = list(in_groups(range(count), size))
    assert [item for group, _ in groups for item in group] == list(range(count))
    assert [last for _, last in groups] == [False] * (len(groups) - 1) + [True]
    assert all(len(group) == size for group, _ in groups[:-1])
    assert len(groups[-1][0]) > 0 or count == 0


def write(folder: Path, number: int, *, last: bool) -> None:
    batch = pa.record_batch([pa.array([number], pa.int32())], schema=SCHEMA)
    write_shard(folder, number, [batch], SCHEMA, last=last, facts={"number": number})


def test_shards_count_up_to_the_last(tmp_path: Path) -> None:
    assert read_shards(tmp_path / "none") == ([], None)
    for number in range(3):
        write(tmp_path, number, last=number == 2)
    shards, damaged = read_shards(tmp_path)
    assert damaged is None
    assert [(shard.last, shard.facts["number"]) for shard in shards] == [(False, 0), (False, 1), (True, 2)]
    assert pa.ipc.open_file(shards[1].path).read_all().to_pydict() == {"number": [1]}


@pytest.mark.parametrize("damage", ["cut", "no label", "no file"])
def test_nothing_counts_behind_a_missing_or_damaged_shard(damage: str, tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, number, last=number == 2)
    path = tmp_path / "00001.arrow"
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-9])
        case "no label":  # as an interruption leaves it
            Path(f"{path}.label").unlink()
        case "no file":
            path.unlink()
    shards, damaged = read_shards(tmp_path)
    assert [shard.facts["number"] for shard in shards] == [0]
    assert damaged == (None if damage == "no label" else path)


def test_discarded_shards_do_not_come_back(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path, number, last=number == 3)
    discard(tmp_path, 1)
    write(tmp_path, 1, last=False)
    assert [shard.facts["number"] for shard in read_shards(tmp_path)[0]] == [0, 1]
    discard(tmp_path / "none", 0)

import os
import resource
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from seq2seq.training.tensorboard import EventFile


def events_of(folder: Path) -> list[Event]:
    """The events of the newest file, as another reader takes the format: little-endian lengths, checksums skipped."""
    data, events = max(folder.iterdir()).read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**40),
            st.dictionaries(st.text(min_size=1, max_size=9), st.floats(width=32, allow_nan=False)),
        ),
        max_size=5,
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[int, dict[str, float]]]
) -> None:
    folder = tmp_path_factory.mktemp("events")
    file = EventFile(folder, step=8)
    for step, scalars in lines:
        file.add(step, scalars)
        assert len(events_of(folder)) > 2  # on disk at once
    file.close()
    version, start, *events = events_of(folder)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (8, SessionLog.START)
    found = [(event.step, {value.tag: value.simple_value for value in event.summary.value}) for event in events]
    assert found == lines


def test_records_are_those_of_tensorboardx_byte_for_byte(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    file = EventFile(ours, step=1)
    for step in range(5):
        file.add(step, {"train/loss": 1.5 + step, "train/é": 3})
    file.close()
    theirs.mkdir()
    writer = EventsWriter(str(theirs / "events"))  # begins by an event of its own
    for event in events_of(ours)[1:]:
        writer.write_event(event)
    writer.close()
    assert len(events_of(theirs)) == len(events_of(ours))
    (expected,), (found,) = theirs.iterdir(), ours.iterdir()
    rest = sum(16 + event.ByteSize() for event in events_of(ours)[1:])
    assert found.read_bytes()[-rest:] == expected.read_bytes()[-rest:]


def test_what_does_not_fit_is_an_error_at_once(tmp_path: Path) -> None:
    file = EventFile(tmp_path, step=1)
    (path,) = tmp_path.iterdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.add(1, {"train/loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file.close()
    assert not [name for name in os.listdir("/proc/self/fd") if Path(f"/proc/self/fd/{name}").resolve() == path]

"""TensorBoard event files, written by whoever logs: no thread and no queue between, which a full disk could stop.

A file is a row of records: length and content, each followed by its checksum (TensorFlow's TFRecord format).
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventFile:
    """Scalars by step, in a file of its own.

    Args:
        folder: of the event files of a run; made where there is none.
        step: the first one to come; TensorBoard hides what older files have from there on.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(folder / name, "ab")  # noqa: SIM115 - open as long as the run
        self._write({"file_version": "brain.Event:2"}, {"step": step, "session_log": SessionLog(status="START")})

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append scalars by name.

        Raises:
            OSError: they cannot be written; the file is closed.
        """
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._write({"step": step, "summary": Summary(value=values)})

    def _write(self, *events: dict[str, Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event

        now = time.time()
        try:
            self._file.write(b"".join(_record(Event(wall_time=now, **event).SerializeToString()) for event in events))
            self._file.flush()
        except BaseException:
            with contextlib.suppress(OSError):  # it tries again to write what is left
                self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _record(content: bytes) -> bytes:
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(content))
    return b"".join(
        (length, struct.pack("<I", masked_crc32c(length)), content, struct.pack("<I", masked_crc32c(content)))
    )

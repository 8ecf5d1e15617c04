"""The folder of derived files (token ids, tokenizers, text fetched from the hub): named by what they were made of."""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import secrets
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from seq2seq.config import DataConfig
from seq2seq.errors import DataError

BLOCK = 1 << 20
"""Bytes read at a time."""
MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
HALF_WRITTEN = re.compile(r"\..+-(?P<machine>[0-9a-f]+)-[0-9a-f]{8}(\.\w+)?")
"""Names of files that are being written, or that a crash has left."""
STALE_SECONDS = 24 * 3600.0
"""A half-written file of another machine, whose locks may not show here, is left alone for so long."""


def cache_folder(config: DataConfig) -> Path:
    """Where derived files are kept: data.cache_dir, by default ~/.cache/seq2seq."""
    return Path(config.cache_dir).expanduser() if config.cache_dir else Path.home() / ".cache" / "seq2seq"


def key_of(**parts: Any) -> str:
    """A file name that is equal exactly when all `parts` (JSON values) are."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved there when the block ends well, removed when it does not.

    Others never see half a file, and two processes that write the same file at once do not mix.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = _locked(path)
        with lock:
            yield temporary
            with temporary.open("rb+") as written:  # on disk before it has its name: power may fail in between
                os.fsync(written.fileno())
            os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise DataError(
            f"{path.parent}: cannot write there ({error.strerror or error}). Make room, or name another folder with "
            "data.cache_dir."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _locked(path: Path) -> tuple[Path, BinaryIO]:
    """A new file beside `path`, locked until it is closed."""
    while True:
        temporary = path.with_name(f".{path.stem}-{MACHINE}-{secrets.token_hex(4)}{path.suffix}")
        file = temporary.open("xb")  # with the user's own permissions, unlike mkstemp: a cache may be shared
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()  # somebody swept before it was locked


def sweep(folder: Path) -> None:
    """Remove the files that processes which are gone have left half-written in a folder; no folder is none.

    Lists the whole folder, so it is done before the first file is written, not before each.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and (name := HALF_WRITTEN.fullmatch(entry.name)):
                _remove_left(Path(entry.path), name["machine"] == MACHINE)


def _remove_left(path: Path, ours: bool) -> None:
    with contextlib.suppress(OSError), path.open("rb+") as file:  # it may be gone, or somebody else's
        old = time.time() - os.fstat(file.fileno()).st_mtime > STALE_SECONDS
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it however its writer ends
            left = old or ours
        except BlockingIOError:
            left = False
        except OSError:
            left = old
        if left:
            path.unlink()


def checksum(path: Path) -> str:
    """CRC-32 and length of a file; finds damage, not malice. Reads without mapping, so it costs no memory."""
    crc, size = 0, 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            crc, size = zlib.crc32(block, crc), size + len(block)
    return f"{crc:08x}-{size}"


def write_label(path: Path, **facts: Any) -> None:
    """Write the label of a finished cache file: its checksum and `facts`. The last thing written."""
    with whole_file(_label(path)) as temporary:
        temporary.write_text(json.dumps({"checksum": checksum(path), **facts}), encoding="utf-8")


def read_label(path: Path) -> tuple[dict[str, Any] | None, bool]:
    """The label of a cache file and whether a damaged file was found: (None, False) when there is none yet."""
    label = _label(path)
    if not label.exists():
        return None, False
    try:
        facts: dict[str, Any] = json.loads(label.read_text(encoding="utf-8"))
        whole = facts["checksum"] == checksum(path)
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    return (facts, False) if whole else (None, True)


def _label(path: Path) -> Path:
    return path.with_name(f"{path.name}.label")

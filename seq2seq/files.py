"""Files and folders that are written whole or not at all."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def fsync(path: Path) -> None:
    """Make a file's contents, or a folder's list of entries, survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it, then rename it into place.

    Raises:
        OSError: the disk is full or the folder cannot be written; what stood at `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of text in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`write_text` of JSON, indented for people."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def whole_folder(path: Path, *, displaced: Path | None = None) -> Iterator[Path]:
    """A new folder to write into, moved to `path` when the block ends well and removed when it does not.

    Everything in it is on the disk before it gets its name. Between the renaming of a folder that stands at `path`
    and the new one's arrival a power loss can leave both beside `path` under other names, never a half-written one.

    Args:
        path: where the folder goes.
        displaced: a new name for a folder that stands at `path`; None removes it.

    Raises:
        OSError: the disk is full or the parent folder cannot be written; what stood at `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for entry in temporary.rglob("*"):
            fsync(entry)
        fsync(temporary)
        if path.exists():
            aside = displaced or path.with_name(f".{path.name}.{os.getpid()}.old")
            aside.parent.mkdir(exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            try:
                os.rename(path, aside)
                os.rename(temporary, path)
            except BaseException:  # Ctrl-C may come between the two
                if not path.exists():
                    os.rename(aside, path)
                raise
            if displaced is None:
                shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(temporary, path)
        fsync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

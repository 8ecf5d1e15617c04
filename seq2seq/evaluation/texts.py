"""Translations and references from files and from the folders of runs."""

import gzip
import json
import sys
import zlib
from pathlib import Path
from typing import cast

from seq2seq.data.lines import ByteStream, Line, read_lines
from seq2seq.errors import DataError

TRANSLATIONS = "translations.txt"
"""What `seq2seq.evaluate` writes a model's output to, and where in the folder of the run."""
EVALUATION = "evaluation"


def read_text(name: str) -> list[Line]:
    """The lines of a file, repaired (data/lines.py); gzip where the name ends in .gz, stdin where it is "-".

    Raises:
        DataError: it cannot be read, or has no line.
    """
    shown = "stdin" if name == "-" else name
    try:
        if name == "-":
            found = list(read_lines(cast(ByteStream, sys.stdin.buffer)))
        else:
            with open(name, "rb") as file:
                stream = gzip.GzipFile(fileobj=file) if name.endswith(".gz") else file
                found = list(read_lines(cast(ByteStream, stream)))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{shown}: this gzip file is damaged or cut off ({error}).") from error
    except OSError as error:
        raise DataError(f"{shown}: cannot be read ({error.strerror or error}).") from error
    lines = [line for line in found if line is not None]
    if not lines:
        raise DataError(f"{shown}: there is no line in it.")
    return lines


def same_length(texts: dict[str, list[Line]]) -> None:
    """Make sure that texts, by their names, have a line for each sentence.

    Raises:
        DataError: two differ.
    """
    (first, lines), *others = texts.items()
    for name, more in others:
        if len(more) != len(lines):
            raise DataError(
                f"{name} has {_lines(len(more))}, {first} has {_lines(len(lines))}; one for each sentence is needed."
            )


def translations_of(name: str) -> str:
    """The file of translations that a name means: itself, or what a run's folder keeps.

    Args:
        name: a file, the folder of a run or of a checkpoint in it, or the output_dir of `seq2seq.evaluate`.

    Raises:
        DataError: a folder without translations.
    """
    path = Path(name)
    if not path.is_dir():
        return name
    folders = [path, path / EVALUATION]
    if (path / "manifest.json").is_file():  # a checkpoint, beside which its run's evaluation stands
        folders.append(path.parent / EVALUATION)
    for folder in folders:
        if (folder / TRANSLATIONS).is_file():
            return str(folder / TRANSLATIONS)
    raise DataError(
        f"{name}: no translations are kept in this folder (no {EVALUATION}/{TRANSLATIONS}); make them with "
        f"python -m seq2seq.evaluate ckpt={name} data=TEXT, or name a file."
    )


def references_of(translations: str) -> str | None:
    """The checksum of the references that a run's translations were scored on; None where it is not known."""
    try:
        scores = json.loads((Path(translations).parent / "scores.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = scores.get("references_sha256") if isinstance(scores, dict) else None
    return found if isinstance(found, str) else None


def _lines(number: int) -> str:
    return f"{number:,} {'line' if number == 1 else 'lines'}"

"""How a command that was stopped goes on: what its output is made of is kept beside the lines that are finished.

FILE.partial holds finished lines, each written out before the next is begun; FILE.partial.json says of what text, model
and settings. With --resume the same command keeps the whole lines that are there, and goes on behind them. Whatever
kills the process, at any moment, the file ends as if nothing had happened.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seq2seq.cli.streams import Inputs, Output
from seq2seq.errors import ConfigError, DataError
from seq2seq.files import sha256, write_json

FOLDERS = frozenset({"ckpt", "lm"})
"""Options that name checkpoint folders; their files are compared."""
READ = frozenset({"source", "target", "prefix", "glossary", "constraints"})
"""Options that name files to read, whose bytes are compared, beside --input."""
WRITTEN = frozenset({"output", "alignments", "report"})
"""Options that name files to write: the same lines may go anywhere."""
FREE = frozenset({"command", "input", "resume", "quiet"}) | FOLDERS | READ | WRITTEN
"""Options that are not compared as they are given."""
SPEED = frozenset({"threads", "batch_tokens"})
"""Options that change no text, but numbers in their last digits."""

Record = dict[str, Any]


def add_resume_option(group: Any) -> None:
    """--resume."""
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on where the same command was stopped, by Ctrl-C, kill, kill -9 or a crash: the whole lines in "
        "FILE.partial are kept, and FILE ends up as it would have without the stop (of a .gz, the lines in it). "
        "Refused when input, checkpoint or settings are others; without FILE.partial it begins at the first line",
    )


def check_files(arguments: argparse.Namespace) -> None:
    """Refuse to write over a file that is read, and to write two things into one file.

    Raises:
        DataError: a file would be lost.
    """
    given = vars(arguments)
    read, written = (
        {name: given[name] for name in sorted(names & given.keys()) if given[name] not in (None, "-")}
        for names in (READ, WRITTEN)
    )
    for name, file in written.items():
        for other, source in read.items():
            for place in (Path(file), Path(f"{file}.partial")):
                if place.is_file() and _is_file(source) and place.samefile(source):
                    raise DataError(
                        f"{place}: --{name} is also an input, --{other}, which it would replace; name another file."
                    )
        for other, file_too in written.items():
            if other < name and Path(file).resolve() == Path(file_too).resolve():
                raise DataError(f"{file}: --{name} and --{other} are the same file; name two.")


def check_resume(arguments: argparse.Namespace, inputs: Sequence[Inputs], outputs: Sequence[Output]) -> None:
    """Refuse --resume where nothing can be gone on with.

    Raises:
        ConfigError: lines go to a pipe or come from one.
    """
    if not arguments.resume:
        return
    if any(output.partial is None for output in outputs):
        raise ConfigError("--resume goes on with a file; name one by --output.")
    if not all(text.again for text in inputs):
        raise ConfigError("--resume reads the input from its beginning, so it must be a file; name one.")


def begin(
    arguments: argparse.Namespace,
    inputs: Sequence[Inputs],
    outputs: Sequence[tuple[Output, int]],
    *,
    exact_text: bool,
) -> int:
    """Make the outputs ready to write to.

    Args:
        arguments: all of the command's.
        inputs: what it reads.
        outputs: opened with keep; the first has the record. With each, how many lines an input line gives.
        exact_text: the output is text alone, and does not depend on how lines are batched.

    Returns:
        how many input lines are done.

    Raises:
        DataError: an earlier command's lines were made of something else; an output cannot be written.
    """
    main = outputs[0][0]
    path = main.partial and main.partial.with_name(f"{main.partial.name}.json")
    record = None
    if path is not None and all(text.again for text in inputs) and all(output.partial for output, _ in outputs):
        record = record_of(arguments, inputs, exact_text=exact_text)
    done = 0
    if arguments.resume:
        left = [output.lines_left() // each for output, each in outputs]
        assert path is not None and record is not None
        if any(left) or (main.found and path.exists()):  # begun, if with no line finished yet
            _compare(path, record)
        done = min(left)
    if path is not None and not done:
        path.unlink(missing_ok=True)  # before the lines that it is about: it must never be of others
    for output, each in outputs:
        output.go_on(done * each)
    if path is not None:
        if record is not None and not done:
            write_json(path, record)
        main.record = path
    return done


def record_of(arguments: argparse.Namespace, inputs: Sequence[Inputs], *, exact_text: bool) -> Record:
    """What decides the output: hashes of the text, the checkpoints and other files; versions and settings."""
    import torch

    from seq2seq.checkpoint import resolve, versions

    given = vars(arguments)
    free = FREE | SPEED
    if not exact_text:  # batches, and who shares in a sum, decide the last digits
        free = FREE
        given = {**given, "threads": torch.get_num_threads()}
    return {
        "input": [hashed for text in inputs for hashed in text.fingerprint()],
        "files": {name: sha256(Path(given[name])) for name in sorted(READ & given.keys()) if _is_file(given[name])},
        "checkpoint": {
            name: [sha256(resolve(folder) / "manifest.json") for folder in _listed(given[name])]
            for name in sorted(FOLDERS & given.keys())
        },
        "settings": {name: given[name] for name in sorted(given.keys() - free) if given[name] not in (None, False)}
        | {name: True for name in sorted(WRITTEN & given.keys()) if given[name] is not None},
        "versions": {name: version for name, version in versions().items() if name != "python"},
    }


def _compare(path: Path, record: Record) -> None:
    """Make sure that the lines that are there are the beginning of what this command writes.

    Raises:
        DataError: they are not; says what differs.
    """
    begun = path.with_suffix("")
    anew = "or leave --resume out to begin anew"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        parts = {name: before[name] for name in record}
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{begun}: cannot be gone on with, for {path.name}, which says what it was made of, is missing or damaged; "
            "leave --resume out to begin anew."
        ) from None
    for name, words in (("input", "the input is"), ("files", "a file that is read is"), ("checkpoint", "--ckpt is")):
        if parts[name] != record[name]:
            raise DataError(f"{begun}: {words} not what it was when this was begun; give the same, {anew}.")
    for name, kind in (("settings", "--"), ("versions", "the version of ")):
        there, here = parts[name], record[name]
        # With --report or --json the number of threads becomes a setting: what brought it in is named first.
        for key in sorted(there.keys() | here.keys(), key=lambda key: (key in SPEED, key)):
            if there.get(key) != here.get(key):
                label = kind + (key.replace("_", "-") if name == "settings" else key)
                values = " and ".join(_said(value) for value in (there.get(key), here.get(key)))
                raise DataError(
                    f"{begun}: {label} is not what it was when this was begun ({values} now); give the same, {anew}."
                )


def _said(value: Any) -> str:
    return "not given" if value is None else "given" if value is True else str(value)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _is_file(name: Any) -> bool:
    return isinstance(name, str) and Path(name).is_file()

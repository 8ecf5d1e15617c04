"""The folder of a run: which checkpoints it keeps, and which one a run goes on from.

```
runs/name/
  last/                newest training state
  checkpoints/step-N/  the ones before it, newest training.keep_checkpoints
  best/                best so far by the watched metric; for use, without training state
  metrics.jsonl        one JSON object a line: training and validation figures by step
  metrics.json         final scores
  .lock                held by the process that trains here
```
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seq2seq.checkpoint import load_training_state, verify
from seq2seq.config import AUTO, Config
from seq2seq.errors import CheckpointError, TrainingError
from seq2seq.files import write_bytes
from seq2seq.plain import to_dict

FREE_TO_CHANGE = {
    "run_dir",
    "device",
    "training.steps",
    "training.minutes",
    "training.teacher",  # a moved folder is no other teacher; the fingerprint in the state tells
    "training.save_every",
    "training.keep_checkpoints",
    "training.log_every",
    "training.resume",
    "training.threads",
    "training.sample_lines",
    "training.tensorboard",
    "training.patience",
    "training.average_checkpoints",
    "data.cache_dir",
    "data.when_offline",
    "data.workers",
}
"""Settings that may differ between a run and its continuation; decoding.* may too."""


class RunFolder:
    """The folder of a run.

    Args:
        path: `run_dir`.
        keep: checkpoints older than last/ to keep.
    """

    def __init__(self, path: str | Path, *, keep: int) -> None:
        self.path = Path(path)
        self.keep = keep
        self.last = self.path / "last"
        self.best = self.path / "best"
        self.metrics_lines = self.path / "metrics.jsonl"
        self.metrics = self.path / "metrics.json"

    @contextlib.contextmanager
    def reserved(self) -> Iterator[None]:
        """Make the folder, and keep every other process from training in it until the block ends.

        Raises:
            TrainingError: it cannot be written, or another process trains in it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError("no permission to write")
            lock = open(self.path / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - open as long as the run
        except OSError as error:
            raise TrainingError(
                f"run_dir={self.path}: the folder cannot be written ({error.strerror or error}); choose another "
                "run_dir."
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it however the process ends
            except BlockingIOError:
                lock.seek(0)
                raise TrainingError(
                    f"run_dir={self.path} is in use by {lock.read().strip() or 'another process'}; wait for it to end, "
                    "or choose another run_dir."
                ) from None
            except OSError:
                pass  # some network folders know no locks
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
            yield

    def name_when_older(self, step: int) -> Path:
        """Where last/ of this step goes when a newer one takes its name."""
        return self.path / "checkpoints" / f"step-{step}"

    def drop_surplus(self) -> None:
        """Remove all but the newest `keep` of the older checkpoints, and what a crash left half-written."""
        for folder in self.kept()[self.keep :]:
            shutil.rmtree(folder, ignore_errors=True)
        for remains in (*self.path.glob(".*.tmp"), *self.path.glob(".*.old")):
            if remains.is_dir():
                shutil.rmtree(remains, ignore_errors=True)

    def kept(self) -> list[Path]:
        """Older checkpoints, newest first."""
        folders = (self.path / "checkpoints").glob("step-*")
        steps = [(folder.name.removeprefix("step-"), folder) for folder in folders]
        numbered = [(int(step), folder) for step, folder in steps if step.isdecimal()]
        return [folder for _, folder in sorted(numbered, reverse=True)]

    def newest_good(self) -> tuple[Path | None, list[str]]:
        """The newest checkpoint that is whole, and a sentence on each newer one that is not.

        Raises:
            CheckpointError: there are checkpoints, and none of them is whole.
        """
        refused: list[str] = []
        for folder in self._resumable():
            try:
                verify(folder)
                load_training_state(folder)
            except CheckpointError as error:
                refused.append(str(error))
                continue
            return folder, refused
        if refused:
            raise CheckpointError(
                f"{self.path}: no checkpoint here is whole. {' '.join(refused)} To start anew, choose another run_dir "
                "or remove the folder."
            )
        return None, refused

    def _resumable(self) -> Iterator[Path]:
        # A power loss between two renames can leave the newest under its temporary name, and the one before it
        # under .old: see files.whole_folder.
        remains = (*self.path.glob(".last.*.tmp"), *self.path.glob(".last.*.old"))
        whole = (folder for folder in remains if (folder / "manifest.json").exists())  # it is written last
        yield from (folder for folder in (self.last, *whole, *self.kept()) if folder.is_dir())

    def restore_best(self) -> None:
        """Bring back a best/ that a power loss caught between two renames, see files.whole_folder."""
        if self.best.exists():
            return
        for remains in (*self.path.glob(".best.*.tmp"), *self.path.glob(".best.*.old")):
            with contextlib.suppress(CheckpointError):
                verify(remains)
                os.rename(remains, self.best)
                return

    def truncate_metrics(self, step: int) -> None:
        """Forget lines of metrics.jsonl beyond a step: the run is about to write them again."""
        if not self.metrics_lines.exists():
            return
        kept: list[bytes] = []
        for line in self.metrics_lines.read_bytes().splitlines():  # bytes: a crash may cut a character
            try:
                record: dict[str, Any] = json.loads(line)
            except ValueError:
                break  # the line that a crash cut off
            if record["step"] <= step:
                kept.append(line + b"\n")
        write_bytes(self.metrics_lines, b"".join(kept))


def changed_settings(stored: Config, ours: Config) -> list[str]:
    """Settings by which a run cannot go on because it began with others: each with both values.

    training.batch_tokens=auto means the number that the run began with.
    """
    theirs, now = _flat(to_dict(stored)), _flat(to_dict(ours))
    if ours.training.batch_tokens == AUTO:
        now["training.batch_tokens"] = theirs["training.batch_tokens"]
    return [
        f"{key} ({theirs.get(key)} there, {now[key]} now)"
        for key in now
        if now[key] != theirs.get(key) and key not in FREE_TO_CHANGE and not key.startswith("decoding.")
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested JSON values by dotted key."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found

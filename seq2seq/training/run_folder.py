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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seq2seq.checkpoint import load_training_state, training_values, verify
from seq2seq.config import AUTO, Config
from seq2seq.errors import CheckpointError, TrainingError
from seq2seq.files import write_bytes
from seq2seq.plain import flat, to_dict

FREE_TO_CHANGE = {
    "run_dir",
    "device",
    "training.accumulation",  # also the number of ranks is: what matters is their product, and a change of it is told
    "training.parallel",
    "training.steps",
    "training.minutes",
    "training.teacher",  # a moved folder is no other teacher; the fingerprint in the state tells
    "training.save_every",
    "training.keep_checkpoints",
    "training.log_every",
    "training.resume",
    "training.threads",
    "training.compile",  # like device it changes rounding (and masks on a GPU), and not every machine has a compiler
    "training.sample_lines",
    "training.tensorboard",
    "training.patience",
    "training.max_skipped",
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

    def drop_surplus(self, *, last_counts: bool = True) -> None:
        """Remove older checkpoints and what a crash left half-written.

        The newest `keep` stay beside last/; and if none of these is good, the newest good one.

        Args:
            last_counts: last/ is of a step that is saved however a run goes; else one more stays, so that an
                interruption, which writes last/ too, takes nothing away that could be gone back to.
        """
        older = self.kept()
        counted = [folder for folder in older if folder != self.name_when_older(0)]  # the start is no result
        stay = [self.last, *counted][: self.keep + 1] if last_counts else counted[: self.keep + 1]
        if not any(map(_is_good, stay)):
            stay += [folder for folder in older if _is_good(folder)][:1]
        for folder in older:
            if folder not in stay:
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

    def good_states(self, regular: Callable[[int], bool]) -> list[tuple[int, Path]]:
        """(step, folder) of the checkpoints that are whole and good, newest first.

        Args:
            regular: whether a step is one that is saved however a run goes; others do not count.
        """
        found = []
        for folder in filter(_is_good, (self.last, *self.kept())):
            with contextlib.suppress(CheckpointError):
                step = int(training_values(folder)["step"])
                if regular(step):
                    verify(folder)
                    found.append((step, folder))
        return found

    def _resumable(self) -> Iterator[Path]:
        # A power loss between two renames can leave the newest under its temporary name, and the one before it
        # under .old: see files.whole_folder.
        remains = (*self.path.glob(".last.*.tmp"), *self.path.glob(".last.*.old"))
        whole = (folder for folder in remains if (folder / "manifest.json").exists())  # it is written last
        yield from (folder for folder in (self.last, *whole, *self.kept()) if folder.is_dir())

    def restore(self) -> None:
        """Bring back a best/ and a last/ that a power loss caught between two renames, see files.whole_folder.

        Single files that a crash left half-written go: this run is the only one here, see `reserved`.
        """
        for file in self.path.glob(".*.tmp"):
            if file.is_file():
                file.unlink(missing_ok=True)
        for folder in (self.best, self.last):
            name = folder.name
            for remains in (*self.path.glob(f".{name}.*.tmp"), *self.path.glob(f".{name}.*.old")):
                if folder.exists():
                    break
                with contextlib.suppress(CheckpointError):
                    verify(remains)
                    os.rename(remains, folder)

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
    theirs, now = flat(to_dict(stored)), flat(to_dict(ours))
    if ours.training.batch_tokens == AUTO:
        now["training.batch_tokens"] = theirs["training.batch_tokens"]
    return [
        f"{key} ({theirs.get(key)} there, {now[key]} now)"
        for key in now
        if now[key] != theirs.get(key) and key not in FREE_TO_CHANGE and not key.startswith("decoding.")
    ]


def _is_good(checkpoint: Path) -> bool:
    """Whether the step that led to a checkpoint was an update; else it may hold the trouble to get away from."""
    try:
        values = training_values(checkpoint)
    except CheckpointError:
        return False
    return not values.get("skipped_in_a_row") and (
        values["step"] == 0 or values["step"] != values.get("rolled_back_at")
    )

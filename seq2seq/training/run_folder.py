"""The folder of a run: which checkpoints it keeps, and which one a run goes on from.

```
runs/name/
  last/                newest training state
  checkpoints/step-N/  the ones before it, newest training.keep_checkpoints
  best/                best so far by the watched metric; for use, without training state
  metrics.jsonl        one JSON object a line: training and validation figures by step
  metrics.json         final scores
```
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seq2seq.checkpoint import load_training_state, verify
from seq2seq.errors import CheckpointError
from seq2seq.files import write_bytes


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

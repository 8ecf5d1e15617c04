"""How a measurement talks to a contestant: JSON lines, an order in, what was done out, until its stdin ends.

`training.py` orders `{"steps": N}`; what `decoding.py` orders is in decoding.py of this folder.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speed.shapes import Shape

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclasses.dataclass(frozen=True)
class Job:
    """What a contestant is to train.

    Attributes:
        shape: of the model.
        batch_tokens: target tokens a batch.
        threads: of the matrix products.
        folder: holds what `workload.export` wrote; a contestant writes only into a folder of its own there.
        overrides: settings of our run.
        rows: of the products that gemm.py multiplies.
    """

    shape: Shape
    batch_tokens: int
    threads: int
    folder: Path
    overrides: tuple[str, ...] = ()
    rows: tuple[tuple[str, int], ...] = ()

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps({**dataclasses.asdict(self), "folder": str(self.folder)})

    @staticmethod
    def loads(text: str) -> "Job":
        """The inverse of `dumps`."""
        values = json.loads(text)
        values["shape"], values["folder"] = Shape(**values["shape"]), Path(values["folder"])
        values["overrides"] = tuple(values["overrides"])
        values["rows"] = tuple((name, count) for name, count in values["rows"])
        return Job(**values)


class Channel:
    """A contestant's side; whatever else it prints goes to stderr."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        sys.stdout.flush()
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def orders(self, **ready: Any) -> Iterator[int]:
        """How many steps are wanted, turn by turn; as `requests`."""
        for request in self.requests(**ready):
            yield int(request["steps"])

    def requests(self, **ready: Any) -> Iterator[dict[str, Any]]:
        """What is wanted, turn by turn; waits for each. The first is asked for when all is `ready`."""
        self._send(ready)
        for line in sys.stdin:
            yield json.loads(line)

    def report(self, done: "DataclassInstance") -> None:
        """Say what was done."""
        self._send(dataclasses.asdict(done))

    def _send(self, values: dict[str, Any]) -> None:
        self._out.write(json.dumps(values) + "\n")
        self._out.flush()


def job_and_channel() -> tuple[Job, Channel]:
    """What the command line of a contestant holds."""
    return Job.loads(sys.argv[1]), Channel()

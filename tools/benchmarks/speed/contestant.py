"""A contestant as a measurement sees it: a process that stands still until it is told to do something."""

import json
import os
import select
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from speed.environments import PeerError
from speed.machine import ROOT
from speed.turns import Work

MODULES = {
    "ours": "ours",
    "gemm": "gemm",
    "hf": "huggingface",
    "torch": "torch_nn",
    "joeynmt": "joeynmt",
    "eole": "eole",
}
"""The program of each that trains, in speed/contestants."""
OURS = "ours"
"""The contestant that may import seq2seq."""


class AnyJob(Protocol):
    """What a contestant is to do."""

    @property
    def threads(self) -> int:
        """Of the matrix products."""

    @property
    def folder(self) -> Path:
        """Where it works and logs."""

    def dumps(self) -> str:
        """As one word of a command line."""


class Contestant:
    """A process of one contestant; a context manager that ends it.

    Args:
        name: a key of programs.
        python: the interpreter of its environment.
        job: what to do.
        timeout: longest wait for an answer, in seconds.
        programs: modules of speed.contestants, by name.

    Raises:
        PeerError: it could not be started.
    """

    def __init__(
        self, name: str, python: Path, job: AnyJob, *, timeout: float, programs: Mapping[str, str] = MODULES
    ) -> None:
        self.name, self.timeout = name, timeout
        self._log = job.folder / f"{name}.log"
        paths = [ROOT / "tools" / "benchmarks", *([ROOT] if name.startswith(OURS) else [])]
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
        threads = {"OMP_NUM_THREADS": str(job.threads), "MKL_NUM_THREADS": str(job.threads)}
        with open(self._log, "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", f"speed.contestants.{programs[name]}", job.dumps()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=job.folder,
                env={**os.environ, **quiet, **threads, "PYTHONPATH": os.pathsep.join(map(str, paths))},
                text=True,
            )
        try:
            self.about: dict[str, Any] = self._answer()
        except PeerError:
            self.close()
            raise

    def turn(self, steps: int) -> Work:
        """Have it do some steps while everything else stands still.

        Raises:
            PeerError: it failed, or did not answer in time.
        """
        return Work(**self.ask({"steps": steps}))

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Have it do what is ordered while everything else stands still; errors as for `turn`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], self.timeout)[0]:
            raise PeerError(f"{self.name}: it did not answer within {self.timeout:.0f} seconds")
        line = self._process.stdout.readline()
        if not line:
            raise self._failed()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _failed(self) -> PeerError:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return PeerError(f"{self.name}: it failed: {lines[-1] if lines else 'no reason given'}")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.communicate(timeout=10)  # the end of its orders
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        except (BrokenPipeError, ValueError):
            self._process.wait()

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

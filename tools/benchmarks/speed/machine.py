"""What a figure of speed is worth nothing without: the machine, the versions and the commit."""

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
"""The project."""

DATA = ROOT.parent / "shared" / "data" / "multi30k"
"""Where the measured text is unless --data says otherwise."""


def cpu_name() -> str:
    """The processor's name for itself."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit of the project that is measured, and whether files differ from it."""

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return result.stdout.strip()

    changed = git("status", "--short", "--", ".", ":!tools/benchmarks/results")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def data_problem(data: Path, splits: Sequence[str] = ("train", "val")) -> str | None:
    """A sentence on what is missing of Multi30k, if anything is."""
    for split in splits:
        for language in ("en", "de"):
            if not any((data / f"{split}.{language}{suffix}").is_file() for suffix in ("", ".gz")):
                return (
                    f"{data}: there is no {split}.{language} or {split}.{language}.gz here; name the folder of "
                    "Multi30k English-German with --data."
                )
    return None

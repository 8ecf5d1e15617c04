"""The tools, which are no package, and text that they take for Multi30k."""

import importlib.util
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "benchmarks"


@pytest.fixture(scope="session")
def load_tool() -> Callable[[str], ModuleType]:
    """Imports a script of tools/benchmarks by its name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"tool_{name}", TOOLS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def made_text(tmp_path: Path) -> Path:
    """A folder that looks like Multi30k, of other words."""
    draw = random.Random(1)
    folder = tmp_path / "text"
    folder.mkdir()
    words = ["red", "blue", "green", "dog", "cat", "horse", "runs", "sleeps", "on", "under", "a", "table", "house"]
    for split, pairs in (("train", 300), ("val", 20)):
        lines = [" ".join(draw.choices(words, k=draw.randint(2, 9))) for _ in range(pairs)]
        for language in ("en", "de"):
            (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    return folder

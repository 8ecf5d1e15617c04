"""Imports point down only, and siblings never import each other; see CONTRIBUTING.md for the picture."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "seq2seq"
FILES = sorted(PACKAGE.rglob("*.py"))

LEVELS = [
    {"errors", "files", "memory", "ranges"},
    {"config", "plain", "workers"},
    {"configure", "device", "model", "data", "signals"},
    {"fitting"},
    {"checkpoint", "answering"},
    {"line_constraints"},
    {"training", "decoding", "evaluation", "interop", "combination"},
    {"inspection", "engines"},
    {"trained"},
    {"piece_search", "labelling", "writing"},
    {"placement"},
    {"translation"},
    {"translator"},
    {"loading"},
    {"scoring", "model_card"},
    {"planning"},
    {"train", "evaluate"},
    {"cli", "__init__"},
]
"""Folders and files of the package; each may import those of the levels above it in this list."""
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}

WITHOUT_TORCH = {"errors", "files", "ranges", "config", "plain", "configure", "__init__"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import of a file, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            yield node.lineno, str(node.module)
            if node.module == "seq2seq":
                yield from ((node.lineno, f"seq2seq.{name.name}") for name in node.names)


def test_every_part_has_a_level() -> None:
    assert {part_of(path) for path in FILES} == LEVEL.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    here = part_of(path)
    for line, name in imports(path):
        root, _, rest = name.partition(".")
        if root != "seq2seq" or here == "__init__":
            continue
        there = rest.partition(".")[0]
        if there in ("", "__version__"):  # the version is all that the package itself holds
            continue
        assert there == here or LEVEL[there] < LEVEL[here], f"{path}:{line}: {here} may not import {there}"


@pytest.mark.parametrize("path", [path for path in FILES if part_of(path) in WITHOUT_TORCH], ids=lambda path: path.stem)
def test_settings_know_no_torch(path: Path) -> None:
    assert "torch" not in {name.partition(".")[0] for _, name in imports(path)}


def test_models_know_no_text_files_or_hydra() -> None:
    for path in (PACKAGE / "model").glob("*.py"):
        for line, name in imports(path):
            root = name.partition(".")[0]
            assert root not in ("hydra", "omegaconf", "sentencepiece", "datasets"), f"{path}:{line}: {name}"
            assert name != "seq2seq.config" or path.name == "build.py", f"{path}:{line}: only build.py reads settings"


@pytest.mark.parametrize("module", ["seq2seq", "seq2seq.configure"])
def test_light_imports_stay_light(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=False).returncode == 0

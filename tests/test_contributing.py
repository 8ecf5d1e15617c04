"""CONTRIBUTING.md names what is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "seq2seq"
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
HOUSE = PAGE.partition("```")[2].partition("```")[0]
PROSE = PAGE.replace(f"```{HOUSE}```", "")

PLACES = [ROOT, PACKAGE, ROOT / "tools" / "benchmarks"]
"""Where paths may begin."""


def words() -> Iterator[str]:
    """Words of the text that stand in code, without their punctuation."""
    for code in re.findall(r"`([^`]+)`", PROSE):
        yield from re.findall(r"[\w.<>/-]+", code)


PATHS = sorted({word for word in words() if "/" in word or re.search(r"\.(py|md|yaml)$", word)})
NAMES = sorted({word for word in words() if re.fullmatch(r"[A-Z]\w*[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*|_\w+", word)})


def test_the_house_has_every_part_of_the_package_once() -> None:
    parts = [path.name for path in PACKAGE.glob("*.py") if path.stem != "__init__"]
    parts += [f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")]
    found = re.findall(r"\w+(?:\.py|/)", HOUSE)
    assert sorted(found) == sorted(parts)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_there(path: str) -> None:
    pattern = re.sub(r"<\w+>", "*", path).rstrip("/")
    assert any(list(place.glob(pattern)) for place in PLACES), f"CONTRIBUTING.md names {path}"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_defined(name: str) -> None:
    defined = re.compile(rf"^\s*(class|def) {name}\b|^{name}\b.* = ", flags=re.MULTILINE)
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert defined.search(source), f"CONTRIBUTING.md names {name}"


def test_what_is_looked_for_was_found() -> None:
    assert len(PATHS) > 20 and len(NAMES) > 10

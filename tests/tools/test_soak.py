import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]


@pytest.fixture
def tool(load_tool: Load, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])  # from where people start it
    return load_tool("soak")


def test_hostile_lines_through_the_pipe(
    tool: ModuleType, tiny_checkpoint: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--ckpt", str(tiny_checkpoint()), "--lines", "400", "--marks", "1", "300", "400", "--most-growth", "2000"]
    assert tool.main([*words, "--", "--search", "greedy", "--threads", "1", "--quiet"]) == 0
    found = json.loads(capfd.readouterr().out)
    # at the last mark the process may have ended
    assert (found["lines_in"], found["lines_out"], found["torn"], found["exit_code"]) == (400, 400, 0, 0)
    assert [mark["lines"] for mark in found["memory"]][:2] == [1, 300]
    assert 50 < found["memory"][0]["resident"] <= found["memory"][1]["most"]


def test_hostile_lines_hold_all_there_is(tool: ModuleType) -> None:
    lines = list(tool.hostile_lines(6000, seed=1))
    text = b"\n".join(lines)
    assert len(lines) == 6000 and b"\n" not in b"".join(lines)
    for odd in (b"\0", b"\r", "\u2028".encode(), b"\xff", "\U0001f600".encode(), "\u202e".encode(), "\u0301".encode()):
        assert odd in text
    assert max(map(len, lines)) >= 3000 and lines == list(tool.hostile_lines(6000, seed=1))
    assert sum(1 for line in tool.short_lines(100, seed=1, every=10) if line) == 10


@pytest.mark.parametrize("fault", ["print('one')", "import sys; print(sys.stdin.read(), end=''); sys.exit(3)"])
def test_lost_lines_and_a_bad_end_are_told(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    real = tool.soak
    monkeypatch.setattr(tool, "soak", lambda lines, _, **more: real(lines, [sys.executable, "-c", fault], **more))
    assert tool.main(["--ckpt", "none", "--lines", "20", "--kind", "short"]) == 1

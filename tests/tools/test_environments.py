import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from speed import environments
from speed.environments import ENVIRONMENTS, PeerError, build, python_of


def test_peers_that_are_not_known(
    load_tool: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["peers.py", "--peers", "hf,fairseq"])
    assert load_tool("peers").main() == 2
    assert "--peers fairseq: there are hf, joeynmt, eole" in capsys.readouterr().err


@pytest.mark.slow
def test_an_environment_that_cannot_be_built(
    load_tool: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A registry that is not there is one sentence, and nothing that looks like an environment is left."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setattr("sys.argv", ["peers.py", "--peers", "hf", "--peers-dir", str(tmp_path / "peers")])
    assert load_tool("peers").main() == 1
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["hf"].startswith("hf: asking for torch failed: ERROR: ")
    with pytest.raises(PeerError):
        python_of("hf", tmp_path / "peers")


def test_an_environment_of_another_recipe_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hf").mkdir()
    built = tmp_path / "hf" / "built.json"
    built.write_text(json.dumps(environments._recipe("hf")))
    assert python_of("hf", tmp_path) == tmp_path / "hf" / "bin" / "python"
    monkeypatch.setattr(torch, "__version__", "2.9.9+cpu")  # every contestant multiplies with the same torch
    with pytest.raises(PeerError, match=r"hf: its environment in .* is an older one; build it with: python tools/"):
        python_of("hf", tmp_path)


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is itself a build for GPUs")
def test_gpu_packages_are_refused_before_they_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(peer: str, command: list[str], *, what: str) -> str:
        commands.append(command)
        names = ["torch", "nvidia-cublas-cu12", "nvidia-cudnn-cu12", "triton", "sympy"]
        return json.dumps({"install": [{"metadata": {"name": name}} for name in names]})

    monkeypatch.setattr(environments, "_run", run)
    monkeypatch.setattr("venv.create", lambda home, **_: Path(home).mkdir())
    with pytest.raises(PeerError, match="hf: pip would install nvidia-cublas-cu12 and 2 more packages for GPUs"):
        build("hf", tmp_path)
    assert ["--dry-run" in command for command in commands] == [True]


@pytest.mark.parametrize("peer", sorted(ENVIRONMENTS))
def test_no_peer_asks_for_another_torch(peer: str) -> None:
    environment: Any = ENVIRONMENTS[peer]
    assert not any(package.startswith(("torch", "nvidia")) for package in (environment.package, *environment.beside))

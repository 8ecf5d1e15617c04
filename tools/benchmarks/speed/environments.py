"""Virtual environments of the packages that our speed is compared with."""

import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import asdict, dataclass
from pathlib import Path

TORCH = "torch>=2.9,<2.14"
"""What seq2seq itself asks for, so that every contestant multiplies with the same code."""

PEERS_DIR = Path("~/.cache/seq2seq/peers").expanduser()


class PeerError(Exception):
    """A peer cannot be built or run; one sentence says why."""


@dataclass(frozen=True)
class Environment:
    """What is installed for a peer.

    Attributes:
        package: the peer, as pip knows it.
        module: what is imported of it.
        beside: what it needs of its own dependencies, torch left out.
        with_dependencies: False installs the package alone: what it asks for holds packages of GPUs, of services or too
            old ones, which neither training nor decoding needs.
    """

    package: str
    module: str
    beside: tuple[str, ...] = ()
    with_dependencies: bool = True


ENVIRONMENTS = {
    "hf": Environment("transformers>=5,<6", "transformers"),
    "joeynmt": Environment(
        "joeynmt==2.3.0",
        "joeynmt.training",
        (
            *("pyyaml", "sentencepiece", "subword-nmt", "sacremoses", "sacrebleu", "matplotlib", "tensorboard"),
            *("packaging", "importlib_metadata", "tqdm", "six", "setuptools<81"),
        ),
        with_dependencies=False,
    ),
    "eole": Environment(
        "eole==0.6.4",
        "eole.trainer",
        (
            *(
                "pydantic",
                "pyyaml",
                "configargparse",
                "pyonmttok>=1.38.1,<2",
                "sacrebleu",
                "safetensors",
                "tensorboard",
            ),
            *("rich", "six", "regex", "huggingface_hub", "sentencepiece", "tokenizers", "rapidfuzz", "pyahocorasick"),
            *("subword-nmt", "pandas", "ctranslate2"),
        ),
        with_dependencies=False,
    ),
    "ctranslate2": Environment("ctranslate2>=4.6,<5", "ctranslate2"),
}


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of a peer's environment.

    Raises:
        PeerError: it has not been built, or was built for something else.
    """
    build = f"build it with: python tools/benchmarks/peers.py --peers {peer} --peers-dir {folder}"
    try:
        made = json.loads((folder / peer / "built.json").read_text())
    except FileNotFoundError:
        raise PeerError(f"{peer}: its environment is not in {folder}; {build}") from None
    if made != _recipe(peer):
        raise PeerError(f"{peer}: its environment in {folder} is an older one; {build}")
    return folder / peer / "bin" / "python"


def build(peer: str, folder: Path) -> None:
    """Make a peer's environment anew; its last file says that it is whole.

    Raises:
        PeerError: the package registry does not have what it takes, or the peer does not start.
    """
    home, environment = folder / peer, ENVIRONMENTS[peer]
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    venv.create(home, with_pip=True)
    constraints = home / "constraints.txt"
    constraints.write_text(f"torch=={_torch_version()}\n")
    keep_torch = ["--constraint", str(constraints)]
    python = home / "bin" / "python"
    _refuse_gpu_packages(peer, python, keep_torch)
    _pip(peer, python, TORCH, "numpy", *keep_torch)
    if environment.beside:
        _pip(peer, python, *environment.beside, *keep_torch)
    alone = [] if environment.with_dependencies else ["--no-deps"]
    _pip(peer, python, environment.package, *alone, *keep_torch)
    _run(peer, [str(python), "-c", f"import {environment.module}"], what=f"importing {environment.module}")
    (home / "built.json").write_text(json.dumps(_recipe(peer)))


def _recipe(peer: str) -> dict[str, object]:
    """What an environment is made of, as JSON has it."""
    recipe = {**asdict(ENVIRONMENTS[peer]), "torch": _torch_version()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in recipe.items()}


def _torch_version() -> str:
    """The version of the torch that runs us, without its build."""
    import torch

    return torch.__version__.partition("+")[0]


def _refuse_gpu_packages(peer: str, python: Path, keep_torch: list[str]) -> None:
    """A CPU build here must not become gigabytes of GPU libraries there."""
    import torch

    if torch.version.cuda is not None:
        return
    report = _run(
        peer,
        [str(python), "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", TORCH, *keep_torch],
        what="asking for torch",
    )
    names = [entry["metadata"]["name"] for entry in json.loads(report)["install"]]
    if unwanted := [name for name in names if name.startswith(("nvidia", "triton"))]:
        raise PeerError(
            f"{peer}: pip would install {unwanted[0]} and {len(unwanted) - 1} more packages for GPUs with {TORCH}; "
            "name the index of PyTorch's CPU build in PIP_EXTRA_INDEX_URL or its folder in PIP_FIND_LINKS."
        )


def _pip(peer: str, python: Path, *words: str) -> None:
    _run(peer, [str(python), "-m", "pip", "install", "--quiet", *words], what=f"installing {words[0]}")


def _run(peer: str, command: list[str], *, what: str) -> str:
    """The output of a command.

    Raises:
        PeerError: it failed.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        reason = next((line for line in reversed(result.stderr.splitlines()) if line.strip()), "no reason given")
        raise PeerError(f"{peer}: {what} failed: {reason.strip()}")
    return result.stdout


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)

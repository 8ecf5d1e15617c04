"""What can go wrong around a run, done to the real command: afterwards it ends as if nothing had, or says why not."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from seq2seq.configure import register_schemas
from seq2seq.files import sha256
from seq2seq.train import main
from seq2seq.training.loop import Trainer
from seq2seq.training.report import MetricsLog

Words = Callable[..., list[str]]
SETTINGS = [
    "training.steps=6", "training.save_every=2", "training.validate_every=3", "training.log_every=1",
    "training.batch_tokens=128", "training.ema_decay=0.9",
]  # fmt: skip
UNLIMITED = resource.RLIM_INFINITY


class Result:
    """How a training command ended."""

    def __init__(self, status: int, errors: str) -> None:
        self.code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        self.errors = errors
        assert "Traceback" not in errors, errors

    @property
    def last_sentence(self) -> str:
        return self.errors.strip().splitlines()[-1]


def train(words: list[str], before: Callable[[], None] = lambda: None) -> Result:
    """`python -m seq2seq.train` in a process of its own, a copy of this one, which has torch loaded already.

    Args:
        words: of the command.
        before: called in that process, to bring about what goes wrong.
    """
    log = Path(next(word for word in words if word.startswith("run_dir=")).removeprefix("run_dir=")).parent / "stderr"
    register_schemas()
    sys.stdout.flush()
    if (child := os.fork()) == 0:
        code = 70
        try:
            with open(log, "w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            sys.argv = ["train", *words]
            before()
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return Result(os.waitpid(child, 0)[1], log.read_text())


def tensors(run_dir: Path) -> dict[str, torch.Tensor]:
    found = {}
    for name in ("last/model", "last/training/state", "best/model"):
        for key, tensor in safetensors.torch.load_file(run_dir / f"{name}.safetensors").items():
            found[f"{name}: {key}"] = tensor
    return found


def figures(run_dir: Path) -> list[dict[str, object]]:
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "tokens_per_second")} for record in records]


def assert_same(whole: Path, other: Path) -> None:
    """Weights, training state, best/ and figures, bit for bit; and nothing that a crash left lies about."""
    ours, theirs = tensors(whole), tensors(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    assert figures(whole) == figures(other)
    scores = [json.loads((run_dir / "metrics.json").read_text()) for run_dir in (whole, other)]
    assert scores[0]["valid"] == scores[1]["valid"]
    assert not [path for path in other.rglob(".*") if path.name != ".lock"]


@pytest.fixture(scope="module")
def words(tiny_run: Words) -> list[str]:
    return [word for word in tiny_run("translation", *SETTINGS) if not word.startswith("run_dir=")]


@pytest.fixture(scope="module")
def whole(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happens to."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    assert train([*words, f"run_dir={run_dir}"]).code == 0
    return run_dir


# ---------------------------------------------------------------------- kill

CALLS = ("fsync", "rename", "replace", "mkdir")
"""Functions of os by which a checkpoint comes to be; safetensors.torch.save_file, cut in the middle, is another."""


class Killer:
    """Kills this process at the so-manyth call that writes something; 0 only counts, into a file.

    Args:
        at: number of the call.
        count: the file.
    """

    def __init__(self, at: int, count: Path) -> None:
        self.at, self.count, self.calls = at, count, 0

    def __call__(self) -> None:
        for name in CALLS:
            setattr(os, name, self._wrapped(getattr(os, name)))
        self._save_file = safetensors.torch.save_file
        safetensors.torch.save_file = self._half_written

    def _wrapped(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            self._counted()
            return real(*args, **kwargs)

        return call

    def _counted(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        if not self.at:
            self.count.write_text(str(self.calls))

    def _half_written(self, content: dict[str, torch.Tensor], path: Path, **more: object) -> None:
        self._save_file(content, path, **more)  # type: ignore[arg-type]
        if self.calls + 1 == self.at:
            os.truncate(path, path.stat().st_size // 2)
        self._counted()


@pytest.fixture(scope="module")
def number_of_calls(words: list[str], whole: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many a whole run makes."""
    folder = tmp_path_factory.mktemp("counted")
    assert train([*words, f"run_dir={folder}/run"], Killer(0, folder / "count")).code == 0
    return int((folder / "count").read_text())


def kill_and_go_on(words: list[str], whole: Path, folder: Path, calls: list[int]) -> None:
    """Kill a run at each of these calls in turn, each time in the process that went on; then let it end."""
    folder.mkdir(exist_ok=True)
    run = [*words, f"run_dir={folder}/run"]
    for call in calls:
        result = train(run, Killer(call, folder / "count"))
        assert result.code in (-signal.SIGKILL, 0), result.errors
    assert train(run).code == 0
    assert_same(whole, folder / "run")


def test_kills_while_something_is_written_lose_nothing(
    words: list[str], whole: Path, number_of_calls: int, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    assert number_of_calls > 100
    kill_and_go_on(words, whole, tmp_path, random.Random(seed).sample(range(1, number_of_calls // 2), 4))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_at_any_call_that_writes_something_loses_nothing(
    words: list[str], whole: Path, number_of_calls: int, tmp_path: Path
) -> None:
    """At every 16th call from one drawn by chance: each call has its turn now and then."""
    start = random.SystemRandom().randint(1, 16)
    print(f"from call {start} of {number_of_calls}")
    for call in range(start, number_of_calls + 1, 16):
        kill_and_go_on(words, whole, tmp_path / str(call), [call])
        shutil.rmtree(tmp_path / str(call))


# ----------------------------------------------------------------- full disk


def test_a_full_disk_is_a_sentence_and_room_is_all_it_takes(words: list[str], whole: Path, tmp_path: Path) -> None:
    """No file may grow beyond a limit: first the start cannot be saved, then not the state with the moments."""
    run = [*words, f"run_dir={tmp_path}/run"]
    weights = (whole / "last" / "model.safetensors").stat().st_size
    for limit, saved in ((weights // 2, None), (weights + weights // 2, 0)):

        def full(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, UNLIMITED))

        result = train(run, full)
        assert result.code == 2
        assert "the checkpoint could not be written" in result.last_sentence
        assert "File too large" in result.last_sentence
        state = tmp_path / "run" / "last" / "training" / "state.json"
        assert (json.loads(state.read_text())["step"] if state.exists() else None) == saved
    assert train(run).code == 0
    assert_same(whole, tmp_path / "run")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many bytes, that may be called for again to be of another size."""
    disk = tmp_path / "disk"

    def sized(size: int) -> Path:
        how = f"size={size}" + (",remount" if os.path.ismount(disk) else "")
        disk.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", how, "none", str(disk)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a file system is not permitted here")
        return disk

    yield sized
    if os.path.ismount(disk):
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up_at_any_point(words: list[str], whole: Path, small_disk: Callable[[int], Path]) -> None:
    """The same on a file system of its own, where every kind of file may be the one that no longer fits."""
    page = 4096
    needed = sum(-(-path.stat().st_size // page) * page for path in whole.rglob("*") if path.is_file())
    for share in (0.1, 0.4, 0.7, 1.0):
        disk = small_disk(int(share * needed))
        result = train([*words, f"run_dir={disk}/run"])
        if share < 0.5:
            assert result.code == 2, result.errors
            assert "No space left on device" in result.last_sentence
    small_disk(4 * needed)
    assert train([*words, f"run_dir={disk}/run"]).code == 0
    assert_same(whole, disk / "run")


# ----------------------------------------------------------- damaged on disk


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


@pytest.fixture(scope="module")
def half(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped by a signal behind its fourth step."""
    folder = tmp_path_factory.mktemp("half")

    def stop_at_the_fifth() -> None:
        real = Trainer._next_batches

        def next_batches(self: Trainer) -> list[object]:
            if self.position.step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            return real(self)

        Trainer._next_batches = next_batches  # type: ignore[method-assign]

    assert train([*words, f"run_dir={folder}/run"], stop_at_the_fifth).code == 128 + signal.SIGTERM
    return folder / "run"


def test_a_flipped_bit_in_any_file_of_the_newest_state_costs_nothing_but_time(
    words: list[str], whole: Path, half: Path, tmp_path: Path
) -> None:
    names = [path.relative_to(half) for path in (half / "last").rglob("*") if path.is_file()]
    assert len(names) >= 8
    for number, name in enumerate(sorted(names)):
        run_dir = tmp_path / str(number) / "run"
        shutil.copytree(half, run_dir)
        flip(run_dir / name)
        result = train([*words, f"run_dir={run_dir}"])
        assert result.code == 0, (name, result.errors)
        assert f"warning: {run_dir}/last: " in result.errors, name
        assert (run_dir / "damaged-last").is_dir()
        assert_same(whole, run_dir)


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_damaged_best_is_made_again_or_said_to_be_lost(
    words: list[str], whole: Path, half: Path, tmp_path: Path, damage: str
) -> None:
    """Step 3 was the best; no state of it is left, so the next validation has the word."""
    shutil.copytree(half, tmp_path / "run")
    if damage == "flipped":
        flip(tmp_path / "run" / "best" / "model.safetensors")
    else:
        shutil.rmtree(tmp_path / "run" / "best")
    result = train([*words, f"run_dir={tmp_path}/run"])
    assert result.code == 0, result.errors
    assert "It is lost, and the next validation takes its place." in result.errors
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["best_step"] == 6


def test_a_best_whose_state_is_there_is_made_again(words: list[str], whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    assert json.loads((whole / "metrics.json").read_text())["best_step"] == 6
    flip(tmp_path / "run" / "best" / "model.safetensors")
    result = train([*words, f"run_dir={tmp_path}/run"])
    assert result.code == 0, result.errors
    assert f"It is made again from {tmp_path}/run/last." in result.errors
    assert_same(whole, tmp_path / "run")


# --------------------------------------------------------------------- clock


@pytest.mark.parametrize("start", [0.0, 4e9], ids=["1970", "2096"])
def test_the_time_of_day_does_not_matter(words: list[str], whole: Path, tmp_path: Path, start: float) -> None:
    """A clock that stands in the past or the future, and jumps back and forth."""

    def wrong() -> None:
        jumps = random.Random(1)
        time.time = lambda: start + jumps.uniform(0, 1e6)
        time.time_ns = lambda: int(1e9 * time.time())

    assert train([*words, f"run_dir={tmp_path}/run"], wrong).code == 0
    assert_same(whole, tmp_path / "run")


def test_files_dated_back_are_still_the_newest(words: list[str], whole: Path, half: Path, tmp_path: Path) -> None:
    shutil.copytree(half, tmp_path / "run")
    for number, path in enumerate(sorted((tmp_path / "run").rglob("*"))):
        os.utime(path, (number, number))
    result = train([*words, f"run_dir={tmp_path}/run"])
    assert result.code == 0
    assert f"going on from step 5 of {tmp_path}/run/last" in result.errors
    assert_same(whole, tmp_path / "run")


# -------------------------------------------------------------------- memory

LARGE = ["training.batch_tokens=20000", "training.ema_decay=null", "model.feed_forward_dim=1024", "training.steps=3"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a bound on memory that the allocator obeys")
def test_a_batch_too_large_for_memory_is_cut_and_gives_the_same_weights(words: list[str], tmp_path: Path) -> None:
    run = [*words, *LARGE, "model.dropout=0", "model.embedding_dropout=0"]
    assert train([*run, f"run_dir={tmp_path}/whole"]).code == 0

    def little() -> None:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        held = int(fields["VmData"].split()[0]) * 1024
        real = Trainer._step

        def step(self: Trainer, log: MetricsLog) -> None:
            resource.setrlimit(resource.RLIMIT_DATA, (held + 160 * 2**20, UNLIMITED))
            real(self, log)
            resource.setrlimit(resource.RLIMIT_DATA, (UNLIMITED, UNLIMITED))

        Trainer._step = step  # type: ignore[method-assign]

    result = train([*run, f"run_dir={tmp_path}/cut"], little)
    assert result.code == 0, result.errors
    assert result.errors.count("did not fit into memory and was cut") == 1
    assert any(record.get("splits") for record in figures(tmp_path / "cut"))
    ours, theirs = tensors(tmp_path / "whole"), tensors(tmp_path / "cut")
    for name, tensor in ours.items():
        if name.startswith("last/model"):
            torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-4, msg=name)


def test_no_file_was_touched_that_is_not_the_runs(words: list[str], whole: Path) -> None:
    """What this module does to its copies must not reach the run that all are compared with."""
    manifest = json.loads((whole / "last" / "manifest.json").read_text())
    assert all(sha256(whole / "last" / name) == checksum for name, checksum in manifest.items())

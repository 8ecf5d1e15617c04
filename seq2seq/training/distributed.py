"""The processes that train one model together: who they are and what they tell each other.

A process is a rank: torchrun (or submitit on a cluster, see recipes/scaling.md) starts them and tells each its place in
environment variables. A run of one process is one rank with nobody to ask, so no other file asks how many there are.

Numbers and small values travel over gloo, on the CPU, also where gradients travel over NCCL: no GPU is waited for, and
gloo notices at once that a process is gone.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from seq2seq.device import resolve_device
from seq2seq.errors import ConfigError, Seq2SeqError, TrainingError
from seq2seq.training.interrupts import Interrupted, StopSignals

Item = TypeVar("Item")

LONGEST_WAIT = timedelta(hours=1)
"""A rank that is alive and still does not answer for so long ends the run: rank 0 may be writing to a slow disk."""
LONGEST_START = timedelta(minutes=15)
"""How long ranks that have started wait for the others, which a queue may start later."""
ROLL_CALL_SECONDS = 2.0
"""How long the ranks that are left wait for each other to find out who is gone."""
SILENT_SECONDS = 5.0
"""How long a rank with nothing to say waits for the one that speaks: torchrun ends all when the first has ended."""
NOTE_SECONDS = 1.0
"""How long rank 0, where it holds the notes, lets the ranks that wait for their turn read that it has failed."""
LOOK_SECONDS = 0.5
"""How often a rank at long work asks whether another was told to stop."""


class LostContactError(TrainingError):
    """Another rank is gone."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a process stands among all and among those of its machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def place_of_this_process() -> Place:
    """What the launcher says; one process where there is none."""
    if "SUBMITIT_EXECUTOR" in os.environ and "WORLD_SIZE" not in os.environ:
        import submitit

        submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Place(*(int(os.environ.get(name, default)) for name, default in zip(names, "0101", strict=True)))


class Ranks:
    """This process among those that train together.

    Every method but `share`, `check` and `last_words` is a meeting: each rank calls it at the same point of its work.

    Args:
        place: of this process.
        store: torch's store, where ranks leave each other notes; None for a single process.
        device: this rank's.
    """

    def __init__(self, place: Place | None = None, *, store: Any = None, device: torch.device | None = None) -> None:
        self.place = place or Place()
        self.rank, self.world_size = self.place.rank, self.place.world_size
        self.device = device or torch.device("cpu")
        self.step = 0
        """Optimiser steps done, for messages."""
        self._store = store
        self._next_look = 0.0
        self._turns = 0

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes, prints and logs."""
        return self.rank == 0

    # ------------------------------------------------------------- numbers

    def sum(self, *numbers: float) -> list[float]:
        """Each number added up over the ranks; whole numbers stay exact below 2 ** 53."""
        return self._reduced(numbers, dist.ReduceOp.SUM)

    def largest(self, number: float) -> float:
        """The largest of the ranks' numbers."""
        return self._reduced([number], dist.ReduceOp.MAX)[0]

    def _reduced(self, numbers: Sequence[float], operation: Any) -> list[float]:
        if self.world_size == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(tensor, op=operation)
        values: list[float] = tensor.tolist()
        return values

    # -------------------------------------------------------------- values

    def gather(self, value: Item) -> list[Item]:
        """Every rank's value, by rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: Item) -> Item:
        """Rank 0's value."""
        return self.gather(value)[0]

    def barrier(self) -> None:
        """Wait for every rank."""
        self.sum(0)

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """The block is run by rank 0, then by the first rank of each further machine, then by the others.

        What one leaves on a disk is there for the next. Takes as long as it takes.
        """
        machines = int(self.sum(self.place.local_rank == 0)[0])
        self._turns += 1
        first_done, machines_done = f"turn/{self._turns}/first", f"turn/{self._turns}/machines"
        if not self.first:
            self._await(first_done, 1)
        if self.place.local_rank:
            self._await(machines_done, machines)
        yield
        if self._store is not None:
            self._store.add(first_done, int(self.first))
            self._store.add(machines_done, int(self.place.local_rank == 0))

    def _await(self, note: str, count: int) -> None:
        assert self._store is not None
        while self._store.add(note, 0) < count:
            if self._store.add("failed", 0):
                raise LostContactError("another rank has failed")
            time.sleep(0.05)

    # --------------------------------------------------------- shared work

    def share(self, items: Iterable[Item]) -> Iterator[Item]:
        """This rank's of some items: every world_size-th."""
        return itertools.islice(items, self.rank, None, self.world_size)

    def merge(self, results: Iterable[Item]) -> list[Item]:
        """What all ranks made of their shares, in the order of the items.

        Raises:
            Interrupted: some rank was asked to stop while at it.
        """
        mine: list[Item] = []
        number = 0
        try:
            mine.extend(results)
        except Interrupted as stop:
            number = stop.signal_number
        parts = self.gather((mine, number))
        if number := max(number for _, number in parts):
            raise Interrupted(number)
        shares = [iter(part) for part, _ in parts]
        return [next(shares[index % self.world_size]) for index in range(sum(len(part) for part, _ in parts))]

    # ------------------------------------------------------------ stopping

    def agree_to_stop(self, signals: StopSignals) -> None:
        """Raise Interrupted on every rank if any was asked to stop: all stop at the same step."""
        if number := int(self.largest(signals.received or 0)):
            raise Interrupted(number)

    def check(self, signals: StopSignals) -> None:
        """Raise Interrupted if this rank was asked to stop or, as seen now and then, another: for `merge`d work."""
        if self._store is not None:
            if signals.received is not None:
                self._store.set("stop", str(signals.received))
            elif time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + LOOK_SECONDS
                if self._store.check(["stop"]):
                    raise Interrupted(int(self._store.get("stop")))
        signals.check()

    # ------------------------------------------------------------- machine

    def threads(self) -> int | None:
        """CPU threads that this rank should use: its share of the cores; None for a single process, which has all."""
        if self.world_size == 1:
            return None
        if not hasattr(os, "sched_getaffinity"):
            return max(1, (os.cpu_count() or 1) // self.place.local_world_size)
        here = (socket.gethostname(), os.sched_getaffinity(0))
        users = [cores for host, cores in self.gather(here) if host == here[0]]
        # A launcher may have given each rank cores of its own: each core is shared by those that may use it.
        share = sum(1 / sum(core in cores for cores in users) for core in here[1])
        return max(1, int(share + 1e-6))

    # ----------------------------------------------------------- last words

    def last_words(self, error: Exception) -> NoReturn:
        """End this rank because of an error: exactly one rank says what happened.

        Raises:
            Seq2SeqError: what happened, on the rank that is to say it.
            SystemExit: on the others.
        """
        assert self._store is not None
        if isinstance(error, LostContactError) or is_lost_contact(error):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it at once, and there is something to say
            gone, speaker = self._roll_call()
            if self.rank == speaker:
                names = f"rank {gone[0]} is" if len(gone) == 1 else f"ranks {', '.join(map(str, gone))} are"
                listen()
                raise LostContactError(
                    f"{names if gone else 'the connection between ranks is'} gone at step {self.step}, so training "
                    "stops; what was saved is whole. Start the same command again to go on from there."
                ) from error
            silently_exit(1)
        if self._failed_first() or not isinstance(error, Seq2SeqError):
            if self.first and "TORCHELASTIC_RUN_ID" not in os.environ:
                time.sleep(NOTE_SECONDS)  # the notes end with this process
            listen()
            where = f"rank {self.rank} at step {self.step}"
            if isinstance(error, Seq2SeqError):
                error.args = (f"{where}: {error}",)
            else:
                error.add_note(where)
            raise error
        silently_exit(2)

    def _failed_first(self) -> bool:
        assert self._store is not None
        try:
            return bool(self._store.add("failed", 1) == 1)
        except RuntimeError:  # rank 0 holds the notes where there is no torchrun, and it is gone
            return False

    def _roll_call(self) -> tuple[list[int], int | None]:
        """Ranks that are gone, and the one of those left that says so; None where the reason has been said."""
        assert self._store is not None
        present: list[int] = []
        try:
            if self._store.add("failed", 0):
                return [], None
            self._store.set(f"present/{self.rank}", "")
            end = time.monotonic() + ROLL_CALL_SECONDS
            while len(present) < self.world_size and time.monotonic() < end:
                time.sleep(0.05)
                present = [rank for rank in range(self.world_size) if self._store.check([f"present/{rank}"])]
            if self._store.add("failed", 0):
                return [], None
        except RuntimeError:
            return [0], 1
        return [rank for rank in range(self.world_size) if rank not in present], min(present)


def is_lost_contact(error: Exception) -> bool:
    """Whether an error of torch means that another rank is gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The ranks of this run, met. Those other than the first are silent while entered, unless they alone fail.

    Args:
        device: the setting.

    Raises:
        ConfigError: the device is not there, or not for every rank.
        TrainingError: the ranks cannot meet.
        LostContactError: another rank is gone.
    """
    place = place_of_this_process()
    if place.world_size == 1:
        yield Ranks(device=resolve_device(device))
        return
    if place.rank:
        hush()
    try:
        store = assembled_store(next(rendezvous("env://"))[0], place)
    except (dist.DistError, ValueError) as error:
        listen()
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"rank {place.rank}: the ranks cannot meet at {where} ({reason}); use torchrun.") from error
    except TrainingError:
        listen()
        raise
    ranks = Ranks(place, store=store)
    try:
        ranks.device = device_of(place, device)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if ranks.device.type == "cuda" else "gloo",
            store=store,
            rank=place.rank,
            world_size=place.world_size,
            timeout=LONGEST_WAIT,
        )
        yield ranks
        ranks.barrier()  # rank 0, which holds the notes where torchrun does not, leaves with the others
        dist.destroy_process_group()
    except Exception as error:
        ranks.last_words(error)
    except (Interrupted, KeyboardInterrupt) as stop:
        if ranks.first:
            raise
        silently_exit(stop.exit_code if isinstance(stop, Interrupted) else 128 + signal.SIGINT)
    listen()


def assembled_store(store: Any, place: Place) -> Any:
    """The store that the launcher gives, under a name for the notes that only the ranks of this start know.

    When torchrun starts ranks again, the notes of those before are still there, addresses of dead processes among them.
    So each rank says a word that is new, and the first rank's word names the notes once it has heard the new words of
    all, which they find in its answer.

    Raises:
        TrainingError: some rank does not come.
    """
    own, end = secrets.token_hex(8), time.monotonic() + LONGEST_START.total_seconds()
    others = range(1, place.world_size)
    words, here = [f"word/{rank}" for rank in others], [f"{own}/here/{rank}" for rank in others]
    if place.rank:
        store.set(f"word/{place.rank}", own)
    while time.monotonic() < end:
        if place.rank == 0:
            if store.check(words):
                store.set("answer", json.dumps([own, *(word.decode() for word in store.multi_get(words))]))
            if store.check(here):
                store.set(f"{own}/complete", "")
                return dist.PrefixStore(own, store)  # type: ignore[attr-defined]
        elif store.check(["answer"]) and own in (answer := json.loads(store.get("answer"))):
            store.set(f"{answer[0]}/here/{place.rank}", "")
            if store.check([f"{answer[0]}/complete"]):
                return dist.PrefixStore(answer[0], store)  # type: ignore[attr-defined]
        time.sleep(0.02)
    raise TrainingError(
        f"rank {place.rank}: not all of {place.world_size} ranks have come within {LONGEST_START}; see what those that "
        "are missing say, and start all again."
    )


def device_of(place: Place, name: str) -> torch.device:
    """The device of one rank of several; `auto` and `cuda` give each its own GPU.

    Raises:
        ConfigError: there are fewer GPUs than ranks, or the device cannot be shared out.
    """
    device = resolve_device(name)
    if device.type == "mps":
        raise ConfigError(f"device={name} takes one process; start without torchrun, or use device=cpu.")
    if device.type == "cpu":
        return device
    if device.index is not None:
        raise ConfigError(f"device={name} is one GPU for {place.world_size} processes; use device=cuda: each its own.")
    count = torch.cuda.device_count()
    if place.local_world_size > count:
        raise ConfigError(
            f"{place.local_world_size} processes on a machine with {count} GPUs: start as many as there are GPUs with "
            f"torchrun --nproc_per_node={count}, or use device=cpu."
        )
    torch.cuda.set_device(place.local_rank)
    return torch.device("cuda", place.local_rank)


# ------------------------------------------------------------------ speaking


def hush() -> None:
    """Say nothing more: several ranks that say the same are hard to read."""
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process


def listen() -> None:
    """Take back `hush`."""
    if sys.stderr is not sys.__stderr__ and getattr(sys.stderr, "name", None) == os.devnull:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def silently_exit(code: int) -> NoReturn:
    """Leave what there is to say to another rank, and the time to say it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(SILENT_SECONDS)
    sys.exit(code)


@contextlib.contextmanager
def left_at_once() -> Iterator[None]:
    """End a process that is one of several with the block, without taking its interpreter down.

    gloo's threads live on with a process group that a model still refers to. One of them that lets go of a tensor asks
    for the interpreter, and one that asks while that is taken down ends the process by SIGABRT, after all its work.
    """
    if place_of_this_process().world_size == 1:
        yield
        return
    code: Any = 0
    try:
        yield
    except SystemExit as end:
        code = end.code or 0
    if not isinstance(code, int):  # a text, as sys.exit takes it
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def spoken_once(speak: Callable[[], int]) -> int:
    """The exit code of `speak`, which rank 0 alone calls: for what every rank finds out before they have met."""
    if place_of_this_process().rank:
        silently_exit(2)
    return speak()

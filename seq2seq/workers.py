"""Several batches at a time on a CPU, each on its own share of the cores.

A decoding step is a hundred small products: threads that share one of them wait for each other most of the time. So
workers take whole batches instead: threads of this process, or processes forked from it. Threads wait for the
interpreter, which runs in one of them at a time; processes do not, but only a program that knows of no other threads of
its own may fork.
"""

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import torch

from seq2seq.errors import DecodingError

MOST_THREADS = 4
"""Beyond it they wait for the interpreter; further cores then help within a batch."""
LOOK_AROUND = 5.0
"""Seconds after which an idle process looks whether the one that forked it is still there."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PR_SET_PDEATHSIG = 1  # of Linux's prctl.h
CAN_FORK = sys.platform.startswith("linux")
"""On macOS the system's own libraries do not survive it; on Windows there is no such thing."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count(device: torch.device, *, processes: bool) -> int:
    """How many batches to compute at a time on a device, by the threads that torch may use."""
    if device.type != "cpu":
        return 1
    return torch.get_num_threads() if processes else min(torch.get_num_threads(), MOST_THREADS)


def results_in_order(
    work: Callable[[Item], Result], items: Sequence[Item], *, workers: int, processes: bool = False
) -> Iterator[Result]:
    """The result of each item, in their order, each as soon as it and those before it are there.

    Args:
        work: what to do with an item; is called by several workers at a time.
        items: what to do it with.
        workers: items at a time; each has its share of torch's threads. One does all in the calling thread.
        processes: workers are forked processes, each with one thread of torch; what `work` changes is lost with them.

    Raises:
        Exception: what work raised, or of a process a RuntimeError where that cannot be passed on; items not begun by
            then are left.
        DecodingError: a process was ended by something else.
    """
    if workers < 2:
        yield from map(work, items)
    elif processes:
        yield from _by_processes(work, items, workers)
    else:
        yield from _by_threads(work, items, workers)


def _by_threads(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    with _SHARED as threads:
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(max(1, threads // workers),))
        try:
            yield from pool.map(work, items)
        finally:
            pool.shutdown(cancel_futures=True)


class _SharedThreads:
    """Torch's number of threads, while workers have shares of it.

    What a worker sets is also taken for the number of threads to come: so it is noted before the first of those who
    share it out at a time, and set again after each.
    """

    def __init__(self) -> None:
        self._lock, self._users, self._threads = threading.Lock(), 0, 0

    def __enter__(self) -> int:
        with self._lock:
            if not self._users:
                self._threads = torch.get_num_threads()
            self._users += 1
            return self._threads

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            torch.set_num_threads(self._threads)


_SHARED = _SharedThreads()


def _by_processes(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    fork = multiprocessing.get_context("fork")
    running: dict[Connection, Any] = {}
    idle: dict[Connection, Any] = {}
    todo = iter(range(len(items)))
    done: dict[int, Result] = {}
    try:
        for _ in range(min(workers, len(items))):
            here, there = fork.Pipe()
            ours = [*running, here]
            process = fork.Process(target=_serve, args=(work, items, there, ours, os.getpid()), daemon=True)
            # A signal meanwhile waits until the new process has its own way with it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            there.close()
            running[here] = process
            with _its_end_is_an_error(process):
                here.send(next(todo))
        for place in range(len(items)):
            while place not in done:
                for ready in wait(list(running)):
                    assert isinstance(ready, Connection)
                    process = running[ready]
                    with _its_end_is_an_error(process):
                        answer = ready.recv_bytes()
                    index, result, error, where = pickle.loads(answer)
                    if error is not None:
                        raise error from _WorkerError(where)
                    done[index] = result
                    if (following := next(todo, None)) is None:
                        process.terminate()  # to give back its memory takes it as long as a few lines
                        idle[ready] = running.pop(ready)
                    else:
                        with _its_end_is_an_error(process):
                            ready.send(following)
            yield done.pop(place)
    finally:
        for process in running.values():
            process.terminate()
        for connection, process in (running | idle).items():
            process.join()
            connection.close()


class _WorkerError(Exception):
    """Where in a process an error was raised, for tracebacks."""

    def __str__(self) -> str:
        return f"in a worker process:\n{self.args[0]}"


@contextlib.contextmanager
def _its_end_is_an_error(process: Any) -> Iterator[None]:
    """Speak with a process; that it is gone, before it took what is said or after, is for want of memory at most.

    Raises:
        DecodingError: it is gone.
    """
    try:
        yield
    except (EOFError, ConnectionError):  # a BrokenPipeError would mean that nobody reads stdout any more
        process.join()
        raise DecodingError(
            f"A worker process was ended (exit code {process.exitcode}), perhaps for want of memory; use fewer threads "
            "or a smaller batch_tokens."
        ) from None


def _serve(
    work: Callable[[Item], Result], items: Sequence[Item], there: Connection, ours: Sequence[Connection], parent: int
) -> None:
    """Do the items whose numbers come, in a forked process, until the one that forked it is gone.

    Args:
        work: what to do with an item.
        items: all of them.
        there: brings numbers, takes answers.
        ours: ends of pipes that are the other process's alone.
        parent: its number.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the other process, which ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    _end_with_parent()
    if os.getppid() != parent:  # gone before that
        return
    for connection in ours:  # held open here, they would have an answer wait for a reader that is gone
        connection.close()
    # The threads of the other process are not in this one, and must not be waited for.
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            while not there.poll(LOOK_AROUND):
                if os.getppid() != parent:
                    return
            # Not send(): it would pass tensors as files that both processes share.
            there.send_bytes(_answer(work, items, there.recv()))


def _end_with_parent() -> None:
    """Have the system end this process with the one that forked it: it holds that one's files open, locks and all."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(work: Callable[[Item], Result], items: Sequence[Item], index: int) -> bytes:
    """(index, result, error, where it was raised), one of the two in the middle None."""
    try:
        return pickle.dumps((index, work(items[index]), None, ""))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised in the other process
        where = traceback.format_exc()
        try:
            answer = pickle.dumps((index, None, error, where))
            pickle.loads(answer)
        except Exception:  # noqa: BLE001 - so does an error with arguments of its own say what it is
            answer = pickle.dumps((index, None, RuntimeError(f"{type(error).__name__}: {error}"), where))
        return answer

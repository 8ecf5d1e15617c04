"""The same function over many items in several processes, results in order.

The processes are started as plain interpreters that load only what the function needs: those of `multiprocessing` would
load the main program, torch included, which takes seconds and 300 MB for each. They live on pipes, so they end with
this process however it ends.
"""

import contextlib
import os
import pickle
import queue
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, Generic, TypeVar

from seq2seq.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

FEW = 4
"""So many items are worked on faster here than processes start."""
CHILD = "import sys; sys.path[:] = {path!r}; from seq2seq.data.workers import serve; serve()"
LENGTH = struct.Struct("<Q")
"""How a message begins: its bytes, as a number."""


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def in_order(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Generator[Result, None, None]:
    """`work(item)` of each item, in order.

    What comes, errors included, is the same whatever the number of workers: an error of an item comes after the
    results of those before it, and an error of `items` itself after all results.

    Args:
        work: can be pickled, and needs nothing of this process.
        items: read as they are needed, at most a few ahead for each worker.
        workers: processes; with 1, or when there are only a few items, the work is done in this one.

    Raises:
        DataError: a process cannot be started, or ended unexpectedly.
    """
    reader = _Reader(items)
    if workers == 1:
        yield from map(work, reader)
    else:
        first = list(reader.take(FEW + 1))
        if len(first) <= FEW:
            yield from map(work, first)
        else:
            with contextlib.closing(_in_processes(work, _chained(first, reader), workers)) as results:
                yield from results
    if reader.error is not None:
        raise reader.error


class _Reader(Generic[Item]):
    """An iterator that keeps an error for later instead of raising it."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Item]:
        while self.error is None:
            try:
                item = next(self._items)
            except StopIteration:
                return
            except Exception as error:  # raised by in_order when its turn has come
                self.error = error
                return
            yield item

    def take(self, count: int) -> Iterator[Item]:
        for _, item in zip(range(count), self, strict=False):
            yield item


def _chained(first: list[Item], rest: Iterable[Item]) -> Iterator[Item]:
    while first:
        yield first.pop(0)
    yield from rest


def _in_processes(work: Callable[[Item], Result], items: Iterator[Item], workers: int) -> Generator[Result, None, None]:
    job = pickle.dumps(work, pickle.HIGHEST_PROTOCOL)
    processes: list[_Process] = []
    idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
    threads = ThreadPoolExecutor(workers)

    def call(item: Item) -> Any:
        process = idle.get()
        try:
            return process(item)
        finally:
            idle.put(process)

    try:
        for _ in range(workers):
            with _told():
                processes.append(_Process(job))
            idle.put(processes[-1])
        waiting: deque[Future[Any]] = deque()
        for item in items:
            with _told():
                waiting.append(threads.submit(call, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for process in processes:
            process.kill()
        threads.shutdown(cancel_futures=True)  # a thread that waits for a process sees that it has gone
        for process in processes:
            process.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Say in one sentence that the system gives no process, no pipe or no thread."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise DataError(
            f"a process that encodes text cannot be started ({reason or error}); lower data.workers."
        ) from error


class _Process:
    """Another interpreter that runs `serve`; it is not in the terminal's group, so Ctrl-C reaches this one alone."""

    def __init__(self, job: bytes) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self._job: bytes | None = job

    def __call__(self, item: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            if self._job is not None:
                _send(self._process.stdin, self._job)
                self._job = None
            _send(self._process.stdin, pickle.dumps(item, pickle.HIGHEST_PROTOCOL))
            done, value = pickle.loads(_received(self._process.stdout))
        except (OSError, EOFError):
            code = self._process.wait()
            raise DataError(
                f"a process that encodes text ended unexpectedly (exit code {code}), perhaps for want of memory; "
                "lower data.workers."
            ) from None
        if done:
            return value
        raise value

    def kill(self) -> None:
        """End it, whatever it does: it holds nothing that is not here too."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Close the pipes."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what it did not read any more
                pipe.close()


def serve() -> None:
    """What a worker runs: unpickle a function from stdin, then call it on each item until there is none."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not come between the results
    with contextlib.suppress(EOFError, BrokenPipeError):
        work = pickle.loads(_received(source))
        while True:
            item = pickle.loads(_received(source))
            try:
                answer = True, work(item)
            except Exception as error:  # raised again where the item came from
                answer = False, error
            _send(sink, pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))


def _send(pipe: Any, message: bytes) -> None:
    pipe.write(LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def _received(pipe: Any) -> bytes:
    """A message.

    Raises:
        EOFError: the other side has gone.
    """
    (length,) = LENGTH.unpack(_exactly(pipe, LENGTH.size))
    return _exactly(pipe, length)


def _exactly(pipe: BinaryIO, count: int) -> bytes:
    found = pipe.read(count)
    if len(found) < count:
        raise EOFError
    return found

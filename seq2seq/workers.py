"""Several batches at a time on a CPU, each on its own share of the cores.

A decoding step is a hundred small products: threads that share one of them wait for each other most of the time. So
threads take whole batches instead. What Python does in between holds the others up for moments only, since torch lets
go of the interpreter while it computes.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

MOST_WORKERS = 4
"""Beyond it they wait for the interpreter; further cores then help within a batch."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count(device: torch.device) -> int:
    """How many batches to compute at a time on a device, by the threads that torch may use."""
    return min(torch.get_num_threads(), MOST_WORKERS) if device.type == "cpu" else 1


def results_in_order(work: Callable[[Item], Result], items: Sequence[Item], *, workers: int) -> Iterator[Result]:
    """The result of each item, in their order, each as soon as it and those before it are there.

    Args:
        work: what to do with an item; is called from several threads at a time.
        items: what to do it with.
        workers: items at a time; each has its share of torch's threads. One does all in the calling thread.

    Raises:
        Exception: what work raised; items not begun by then are left.
    """
    if workers < 2:
        yield from map(work, items)
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(max(1, threads // workers),))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # a worker's share was also taken for that of threads to come

"""Batches side by side: the same results in the same order, each worker with its share of the threads."""

import threading
from collections.abc import Iterator

import pytest
import torch

from seq2seq.workers import MOST_WORKERS, results_in_order, worker_count


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items() -> None:
    first_may_end = threading.Event()

    def work(item: int) -> tuple[int, int, bool]:
        if item == 0:
            assert first_may_end.wait(60)
        else:
            first_may_end.set()
        return item, torch.get_num_threads(), threading.current_thread() is threading.main_thread()

    assert list(results_in_order(work, range(9), workers=2)) == [(item, 2, False) for item in range(9)]
    assert torch.get_num_threads() == 4


def test_a_new_thread_has_all_threads_again() -> None:
    list(results_in_order(str, range(5), workers=4))
    found: list[int] = []

    def look() -> None:
        torch.ones(100_000).sum()  # a thread learns how many it has when it first needs them
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [4]


@pytest.mark.parametrize("items", [0, 1, 4])
def test_one_worker_works_here_with_all_threads(items: int) -> None:
    def work(item: int) -> tuple[int, bool]:
        return torch.get_num_threads(), threading.current_thread() is threading.main_thread()

    assert list(results_in_order(work, range(items), workers=1)) == [(4, True)] * items


def test_an_error_reaches_the_caller_and_ends_the_work() -> None:
    begun: list[int] = []
    others_wait = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            raise ValueError("item 1")
        if item > 1:
            others_wait.wait(0.2)
        return item

    results = results_in_order(work, range(100), workers=2)
    assert next(results) == 0
    with pytest.raises(ValueError, match="item 1"):
        next(results)
    assert len(begun) < 20 and torch.get_num_threads() == 4


def test_nothing_is_begun_after_the_caller_has_left() -> None:
    begun: list[int] = []
    results = results_in_order(lambda item: begun.append(item) or threading.Event().wait(0.01), range(1000), workers=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(begun) < 100 and torch.get_num_threads() == 4


def test_how_many() -> None:
    assert worker_count(torch.device("cpu")) == 4 == MOST_WORKERS
    torch.set_num_threads(7)
    assert worker_count(torch.device("cpu")) == MOST_WORKERS
    torch.set_num_threads(1)
    assert worker_count(torch.device("cpu")) == 1 == worker_count(torch.device("cuda"))

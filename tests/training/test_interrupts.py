import os
import signal
import threading

import pytest

from seq2seq.training.interrupts import Interrupted, StopAtOnce, StopSignals


def send(number: signal.Signals) -> None:
    """A real signal to this process; Python's handler has run when this returns."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_remembered_until_somebody_asks(number: signal.Signals, exit_code: int) -> None:
    with StopSignals() as signals:
        signals.check()
        assert signals.received is None
        send(number)
        assert signals.received == number
        with pytest.raises(Interrupted, match=f"stopped by {number.name}") as caught:
            signals.check()
    assert caught.value.exit_code == exit_code


def test_a_second_ctrl_c_does_not_wait() -> None:
    with StopSignals() as signals:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert signals.received == signal.SIGINT


def test_a_second_sigterm_waits_like_the_first() -> None:
    with StopSignals() as signals:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            send(number)
        assert signals.received == signal.SIGINT


def test_handlers_come_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with StopSignals():
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before
    with pytest.raises(ValueError, match="in the block"), StopSignals():
        raise ValueError("in the block")
    assert [signal.getsignal(number) for number in numbers] == before
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_where_nothing_needs_saving_a_signal_ends_the_work(number: signal.Signals) -> None:
    with pytest.raises(Interrupted, match=number.name), StopAtOnce():
        send(number)
        raise AssertionError("not stopped")


def test_libraries_that_catch_every_exception_let_it_through() -> None:
    with pytest.raises(Interrupted), StopAtOnce():
        try:
            send(signal.SIGTERM)
        except Exception as error:
            raise AssertionError("swallowed") from error


def test_other_threads_leave_the_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    found = []

    def work() -> None:
        with StopSignals() as signals:
            signals.check()
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]

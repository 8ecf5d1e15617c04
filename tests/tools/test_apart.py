import os
from collections.abc import Callable

import pytest

from speed.apart import Apart


def make_reader() -> Callable[[str], str]:
    """Reads a variable of its process."""
    return lambda name: f"{os.getpid()} {os.environ[name]}"


def make_leaver() -> Callable[[], None]:
    """Ends its process without a word."""
    return lambda: os._exit(3)


def make_nothing() -> Callable[[], None]:
    raise ValueError("no such thing")


def test_a_call_is_answered_in_another_process_with_its_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEED_A", "here")
    monkeypatch.delenv("SPEED_B", raising=False)
    read = Apart(make_reader, {"SPEED_A": "there", "SPEED_B": "new"})
    try:
        process, value = read("SPEED_A").split()
        assert value == "there" and int(process) != os.getpid()
        assert read("SPEED_B") == f"{process} new"
        assert os.environ["SPEED_A"] == "here" and "SPEED_B" not in os.environ
        with pytest.raises(RuntimeError, match="KeyError: 'SPEED_C'"):
            read("SPEED_C")
        assert read("SPEED_A") == f"{process} there"  # an error does not end it
    finally:
        read.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


def test_a_process_that_ends_is_an_error() -> None:
    leave = Apart(make_leaver, {})
    with pytest.raises(RuntimeError, match="has ended without an answer"):
        leave()
    leave.close()


def test_what_cannot_be_made_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="ValueError: no such thing"):
        Apart(make_nothing, {})

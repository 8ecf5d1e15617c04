"""A function in a process of its own, with environment variables of its own: libraries read some of theirs only once.

Knows neither torch nor seq2seq, so that a contestant of another package can use it.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

Function = Callable[..., Any]


class Apart:
    """Calls a function in another process, one call at a time.

    Args:
        make: makes the function, in that process; it can be pickled.
        environment: variables that are set there before anything is imported.

    Raises:
        RuntimeError: the function could not be made; a call raises it for an error of the function. It says which.
    """

    def __init__(self, make: Callable[[], Function], environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        with _environment(environment):
            self._process.start()
        theirs.close()  # else nobody would notice the end of the process
        try:
            self._answer()
        except RuntimeError:
            self.close()
            raise

    def __call__(self, *arguments: Any) -> Any:
        """What the function makes of these arguments, which can be pickled as it can be."""
        self._connection.send(arguments)
        return self._answer()

    def _answer(self) -> Any:
        try:
            error, value = self._connection.recv()
        except EOFError:
            raise RuntimeError("the other process has ended without an answer") from None
        if error is not None:
            raise RuntimeError(error)
        return value

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join()


def _serve(connection: Connection, make: Callable[[], Function]) -> None:
    try:
        function = make()
    except Exception as error:
        connection.send((_named(error), None))
        return
    connection.send((None, None))
    while True:
        try:
            arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = None, function(*arguments)
        except Exception as error:
            answer = _named(error), None
        connection.send(answer)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

"""Text that comes piece by piece, up to where a given text has been written."""

from collections.abc import Iterator, Sequence


def until(pieces: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    """The pieces up to the first of these texts to be complete, without it; no more of them are asked for then.

    Where two are complete at one place, the longer one counts. What may be the beginning of one is held back until it
    is known. Where the pieces are cut makes no difference to the text.

    Args:
        pieces: of a text.
        stops: texts that end it, none of them empty.
    """
    held = ""
    for piece in pieces:
        held += piece
        found = [(place + len(stop), place) for stop in stops if (place := held.find(stop)) >= 0]
        if found:
            if ended := held[: min(found)[1]]:
                yield ended
            return
        keep = _begun(held, stops)
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    if held:
        yield held


def _begun(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of a text that are the beginning of one of these."""
    most = min(len(text), max(len(stop) for stop in stops) - 1)
    return next(length for length in range(most, -1, -1) if _begins(text[len(text) - length :], stops))


def _begins(beginning: str, stops: Sequence[str]) -> bool:
    return any(stop.startswith(beginning) for stop in stops)

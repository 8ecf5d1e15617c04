"""Stop texts beside a search in the whole text, whatever its pieces."""

import itertools
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.stopping import until

TEXTS = st.text("abc", max_size=14)


def slowly(text: str, stops: list[str]) -> str:
    """The text before the first stop text that ends, by trying every end; of two that end there before the longer."""
    for end in range(len(text) + 1):
        for start in range(end):
            if text[start:end] in stops:
                return text[:start]
    return text


@given(st.lists(TEXTS, max_size=6), st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
def test_where_it_stops(pieces: list[str], stops: list[str]) -> None:
    found = list(until(iter(pieces), stops))
    assert "".join(found) == slowly("".join(pieces), stops)
    assert all(found)


@given(TEXTS, st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_is_held_back_without_need(text: str, stops: list[str]) -> None:
    """Character by character: what has come out lacks only what may yet become a stop text."""
    given_so_far: list[str] = []

    def characters() -> Iterator[str]:
        for character in text:
            given_so_far.append(character)
            yield character

    out = ""
    for piece in until(characters(), stops):
        out += piece
        read = "".join(given_so_far)
        if len(read) < len(text):
            held = read[len(out) :]
            assert any(stop.startswith(held) for stop in stops)


def test_no_piece_is_asked_for_after_the_stop() -> None:
    pieces = itertools.chain(["a", "b."], itertools.repeat("c"))
    assert list(until(pieces, ["."])) == ["a", "b"]
    assert next(pieces) == "c"

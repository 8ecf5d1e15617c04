import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.signals.measures import (
    FEWEST_WORDS,
    LONGEST_UNIT,
    NGRAM,
    copied,
    longest_run,
    relative_length,
    repetition,
)

TOKENS = st.lists(st.integers(4, 6), max_size=40) | st.lists(st.integers(4, 400), max_size=40)


@given(TOKENS)
def test_repetition_is_the_share_of_ngrams_that_stood_before(tokens: list[int]) -> None:
    starts = range(len(tokens) - NGRAM + 1)
    again = [any(tokens[k : k + NGRAM] == tokens[j : j + NGRAM] for j in range(k)) for k in starts]
    assert repetition(tokens) == pytest.approx(sum(again) / len(again) if again else 0)


@given(TOKENS)
def test_the_longest_run_is_the_longest_that_can_be_found(tokens: list[int]) -> None:
    longest = 0
    for unit in range(1, LONGEST_UNIT + 1):
        for start in range(unit, len(tokens)):
            for stop in range(start + unit, len(tokens) + 1):
                if tokens[start:stop] == tokens[start - unit : stop - unit]:
                    longest = max(longest, stop - start)
    assert longest_run(tokens) == longest


@pytest.mark.parametrize(
    ("text", "run"), [("", 0), ("a", 0), ("aa", 1), ("abab", 2), ("ababab", 4), ("aba", 0), ("abcdabcdab", 6)]
)
def test_runs(text: str, run: int) -> None:
    assert longest_run([ord(letter) for letter in text]) == run


def test_relative_length_forgives_short_lines() -> None:
    assert relative_length(10, 10, 1.0) == 1.0 == relative_length(12, 10, 1.2)
    assert relative_length(4, 1, 1.0) == pytest.approx(1.5)
    assert relative_length(400, 100, 1.0) == pytest.approx(405 / 105)


def test_copied_words() -> None:
    source = "The old man sits on the bench"
    assert copied(source, source.upper()) == 1
    assert copied(source, "Der alte Mann sitzt auf der Bank") == 0
    assert copied(source, "Der old man sitzt auf der Bank") == pytest.approx(2 / 7)
    assert copied(source, "the the the the") == pytest.approx(2 / 4)  # each word as often as it is there
    assert copied("1 2 3 4 5", "1 2 3 4 5") is None
    assert copied("Angela Merkel, Berlin", "Angela Merkel, Berlin") is None and FEWEST_WORDS == 4

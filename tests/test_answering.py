"""How lines are shared out in batches."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from seq2seq.answering import LEAST_BUDGET, _batches
from seq2seq.data.pieces import Piece


def pieces_of(lengths: list[int]) -> list[Piece]:
    return [Piece(line, 0, list(range(length))) for line, length in enumerate(lengths)]


@given(st.lists(st.integers(1, 80), max_size=300), st.sampled_from([200, 2000, 8192]), st.integers(1, 5))
def test_every_piece_is_in_one_batch_within_the_budget(lengths: list[int], budget: int, workers: int) -> None:
    batches = _batches(pieces_of(lengths), budget, workers)
    assert Counter(piece.line for batch in batches for piece in batch) == Counter(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(len(piece.ids) for piece in batch) <= budget


def test_workers_get_as_many_batches_as_each_other() -> None:
    lengths = [10 + 7 * place % 31 for place in range(1000)]
    found = {workers: _batches(pieces_of(lengths), 4096, workers) for workers in (1, 2, 3, 4)}
    assert len(found[1]) == 7  # as full as they may be
    for workers in (2, 3, 4):
        assert len(found[workers]) % workers == 0 and len(found[workers]) >= 4 * workers


def test_batches_of_a_short_text_stay_large() -> None:
    batches = _batches(pieces_of([10] * 200), 4096, 2)
    assert len(batches) == 2
    assert all(sum(len(piece.ids) for piece in batch) <= LEAST_BUDGET for batch in batches)

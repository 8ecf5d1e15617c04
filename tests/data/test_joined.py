"""How long the lines of several sentences in a training text are."""

from collections.abc import Sequence

import numpy as np
import pytest

from seq2seq.config import Task
from seq2seq.data.filters import DropCounts
from seq2seq.data.joined import SAMPLE, joined_length
from seq2seq.data.rows import Rows
from seq2seq.data.token_cache import TokenDataset
from seq2seq.data.tokenizer import EOS, ByteTokenizer

BYTES = ByteTokenizer()


def dataset(lines: Sequence[str]) -> TokenDataset:
    ids = [[*BYTES.encode(line), EOS] for line in lines]
    offsets = np.cumsum([0, *map(len, ids)], dtype=np.int32)
    rows = Rows([(np.array(sum(ids, []), np.int32), offsets)])
    return TokenDataset(rows, rows, task=Task.translation, drops=DropCounts())


def joined(count: int) -> list[str]:
    """Lines of two sentences, of 10, 11, 12, ... tokens."""
    return [f"Who? {'M' * number}, I." for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("several", "single", "expected"),
    [(0, 100, 0), (4, 96, 0), (5, 95, 10), (10, 90, 10 + 5), (100, 0, 10 + 95), (1, 0, 10), (1, 19, 10), (1, 20, 0)],
)
def test_one_line_in_twenty_is_so_long(several: int, single: int, expected: int) -> None:
    lines = [*joined(several), *["A single one of Mr. Ox, no. 3, however long it may be."] * single]
    assert joined_length([dataset(lines)], BYTES) == expected
    parts = [part for part in (lines[: several // 2], lines[several // 2 : several + 1], lines[several + 1 :]) if part]
    assert joined_length([dataset(part) for part in parts], BYTES) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [("who came? a man. and a dog", 26), ("a man, a dog and an ox.", 0), ("it is 3.5 m from a. to b.", 0), ("who?", 0)],
)
def test_text_without_large_letters_has_sentences_too(line: str, expected: int) -> None:
    assert joined_length([dataset([line] * 40)], BYTES) == expected


def test_a_long_text_is_looked_at_evenly() -> None:
    lines = ["One."] * (2 * SAMPLE)
    assert joined_length([dataset(lines)], BYTES) == 0
    lines[-len(lines) // 10 :] = ["One. Two."] * (len(lines) // 10)
    assert joined_length([dataset(lines)], BYTES) == len("One. Two.")


def test_no_text() -> None:
    assert joined_length([], BYTES) == 0

import gzip
import io
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.lines import Line, Note, one_line, read_lines, repair, split_long, windows
from seq2seq.data.sentences import sentences

SEPARATORS = "\n\x0b\x0c\r\x1c\x1d\x1e\x85\u2028\u2029"


def lines_of(data: bytes) -> list[Line]:
    found = list(read_lines(io.BytesIO(data)))
    assert None not in found  # nothing to wait for
    return [line for line in found if line is not None]


def expected_count(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n") and data != b"")


@given(
    st.binary(max_size=300)
    | st.lists(st.sampled_from([*SEPARATORS, "a", " ", "\0", "\ufeff", "é"])).map(lambda parts: "".join(parts).encode())
)
def test_any_bytes_give_one_clean_line_for_each_line(data: bytes) -> None:
    lines = lines_of(data)
    assert len(lines) == expected_count(data)
    for line in lines:
        assert len((line.text + "x").splitlines()) == 1
        assert line.text.encode("utf-8").decode("utf-8") == line.text
        assert (Note.blank in line.notes) == (not line.text.strip())
        assert repair(line.text).text == line.text


@given(st.binary(max_size=300), st.integers(1, 7))
def test_the_size_of_reads_changes_nothing(data: bytes, size: int) -> None:
    class Small(io.BytesIO):
        def read1(self, _: int | None = -1) -> bytes:
            return self.read(size)

    assert list(read_lines(Small(data))) == lines_of(data)


@pytest.mark.parametrize(
    ("raw", "text", "notes"),
    [
        (b"plain text", "plain text", ()),
        ("Grüße, 東京\t1".encode(), "Grüße, 東京\t1", ()),
        (b"windows\r", "windows", (Note.carriage_return,)),
        (b"two\r\r", "two ", (Note.carriage_return, Note.separator)),
        (b"old\rmac", "old mac", (Note.separator,)),
        (b"bad \xff\xfe", "bad \ufffd\ufffd", (Note.invalid_utf8,)),
        (b"cut \xe2\x82", "cut \ufffd", (Note.invalid_utf8,)),
        (b"surrogate \xed\xa0\x80", "surrogate \ufffd\ufffd\ufffd", (Note.invalid_utf8,)),
        (b"nul\0bell\x07\x7f", "nul bell  ", (Note.control,)),
        ("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg".encode(), "a b c d e f g", (Note.separator,)),
        (b"", "", (Note.blank,)),
        (b" \t ", " \t ", (Note.blank,)),
        (b"\r", "", (Note.carriage_return, Note.blank)),
        (b"\0", " ", (Note.control, Note.blank)),
        ("\u3000\u00a0".encode(), "\u3000\u00a0", (Note.blank,)),
        ("half a pair \ud800", "half a pair ?", (Note.invalid_utf8,)),
        ("two\nlines", "two lines", (Note.separator,)),
    ],
)
def test_repairs(raw: bytes | str, text: str, notes: tuple[Note, ...]) -> None:
    assert repair(raw) == Line(text, notes)


def test_a_byte_order_mark_is_removed_only_at_the_start_of_a_file() -> None:
    first, second = lines_of(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo")
    assert first == Line("one", (Note.byte_order_mark,))
    assert second == Line("\ufefftwo", (Note.no_newline,))


@pytest.mark.parametrize(("data", "count"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"\n\n", 2), (b"\n\na", 3)])
def test_counts_at_the_edges(data: bytes, count: int) -> None:
    assert len(lines_of(data)) == count


def test_reads_gzip_streams() -> None:
    data = b"one\ntwo\r\nthree"
    with gzip.open(io.BytesIO(gzip.compress(data))) as stream:
        assert [line.text for line in read_lines(stream) if line] == ["one", "two", "three"]


def test_a_pause_is_reported_before_the_read_that_would_wait() -> None:
    class Slow(io.BytesIO):
        def read1(self, _: int | None = -1) -> bytes:
            return self.readline()

    pauses = iter([True, False, True, False])
    seen = list(read_lines(Slow(b"a\nb\nc\n"), waiting=lambda: next(pauses)))
    assert [line and line.text for line in seen] == [None, "a", "b", None, "c"]


@given(st.text(max_size=100))
def test_one_line_is_one_line(text: str) -> None:
    assert len((one_line(text) + "x").splitlines()) == 1
    assert len(one_line(text)) == len(text)


def test_windows_keep_order_and_end_at_pauses() -> None:
    def texts(**limits: float) -> list[list[str]]:
        items = ["a", "b", None, None, "c", Line("d"), "e"]
        return [[line.text for line in window] for window in windows(items, **limits)]  # type: ignore[arg-type]

    assert texts() == [["a", "b"], ["c", "d", "e"]]
    assert texts(most_lines=1) == [["a"], ["b"], ["c"], ["d"], ["e"]]
    assert texts(most_characters=2) == [["a", "b"], ["c", "d"], ["e"]]
    assert texts(patience=-1) == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_windows_grow() -> None:
    sizes = [len(window) for window in windows(["x"] * 1000, most_lines=300)]
    assert sizes == [64, 128, 256, 300, 252]


def words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def characters(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


def utf8(texts: list[str]) -> list[int]:
    return [len(text.encode()) for text in texts]


def superadditive(texts: list[str]) -> list[int]:
    """A tokenizer that needs more tokens for a text than for its parts."""
    return [len(text) + len(text) // 3 for text in texts]


COUNTS = [words, characters, utf8, superadditive]


@given(
    st.text(st.sampled_from("ab .!?,;<>\u3002語\U0001f600"), max_size=400) | st.text(max_size=400),
    st.integers(4, 40),
    st.sampled_from(COUNTS),
)
def test_pieces_fit_and_hold_all_of_the_text(text: str, limit: int, count: Callable[[list[str]], list[int]]) -> None:
    pieces = split_long(text, limit=limit, count=count)
    assert all(piece == piece.strip() != "" for piece in pieces)
    assert all(length <= limit for length in count(pieces))
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(
    st.text(st.sampled_from("aB .!?,<>\u3002語"), max_size=200), st.integers(4, 40), st.integers(0, 50),
    st.sampled_from(COUNTS),
)  # fmt: skip
def test_sentences_are_packed_as_far_as_is_said(
    text: str, limit: int, packed: int, count: Callable[[list[str]], list[int]]
) -> None:
    pieces = split_long(text, limit=limit, count=count, packed=packed)
    assert all(length <= limit for length in count(pieces))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    whole = [sentence.strip() for sentence in sentences(text.strip())]
    for piece, length in zip(pieces, count(pieces), strict=True):
        assert length <= packed or len(sentences(piece)) == 1 or any(piece in sentence for sentence in whole)
    if packed == 0:  # a sentence that fits is a piece
        assert [one for one in whole if one and count([one])[0] <= limit] == [one for one in pieces if one in whole]


def test_cuts_at_sentences_before_clauses_before_words_before_letters() -> None:
    def split(text: str, limit: int) -> list[str]:
        return split_long(text, limit=limit, count=characters)

    assert split('He came. "He saw!" He won?', 18) == ['He came. "He saw!"', "He won?"]
    assert split("He came, he saw, he won.", 17) == ["He came, he saw,", "he won."]
    assert split("one two three four", 9) == ["one two", "three", "four"]
    assert split("これは。あれは。", 4) == ["これは。", "あれは。"]
    assert split("x" * 40, 16) == ["x" * 16, "x" * 16, "x" * 8]
    assert split("short", 5) == ["short"]
    assert split("He won: <a b='c, d'>.", 18) == ["He won:", "<a b='c, d'>."]
    assert split("xxxxxxxxxx{name}", 12) == ["xxxxxxxxxx", "{name}"]
    assert split("A <one two three four>.", 10) == ["A", "<one two", "three", "four>", "."]
    assert split("A {{one. Two}}. So {{x. Y}}.", 16) == ["A {{one. Two}}.", "So {{x. Y}}."]
    assert split("  ", 5) == []


def test_a_character_too_long_for_the_model_is_a_piece_of_its_own() -> None:
    assert split_long("a\U0001f600b", limit=3, count=utf8) == ["a", "\U0001f600", "b"]


@pytest.mark.parametrize(
    "pattern", ["x", "x ", "Is it so? ", "a, ", "\u0301", "東", ".", ". ", "a? ", "{x}", "<x ", "<x>"]
)
def test_splitting_is_linear(pattern: str) -> None:
    counted = 0

    def count(texts: list[str]) -> list[int]:
        nonlocal counted
        assert all(len(text) <= 16 * 100 for text in texts)
        counted += sum(len(text) for text in texts)
        return characters(texts)

    text = pattern * (1_000_000 // len(pattern))
    start = time.process_time()
    pieces = split_long(text, limit=100, count=count)
    assert time.process_time() - start < 10
    assert all(len(piece) <= 100 for piece in pieces)
    assert counted <= 4 * len(text)  # each level counts the text once, and the pieces are counted once more

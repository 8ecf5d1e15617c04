import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.files import Columns, JsonLinesFile, Lines, PairedFiles, TextFile, TsvFile
from seq2seq.errors import DataError

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n\r"))


@given(lines=st.lists(TEXT), gz=st.booleans(), crlf=st.booleans(), last_break=st.booleans())
def test_only_line_feed_ends_a_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], gz: bool, crlf: bool, last_break: bool
) -> None:
    # U+2028, form feed, vertical tab and their like stay inside the line.
    path = tmp_path_factory.mktemp("lines") / ("text.gz" if gz else "text")
    end = "\r\n" if crlf else "\n"
    text = end.join(lines) + (end if last_break else "")
    path.write_bytes(gzip.compress(text.encode()) if gz else text.encode())
    expected = text.replace("\r\n", "\n").split("\n")
    if expected[-1] == "":
        expected.pop()
    if expected:
        expected[0] = expected[0].removeprefix("\ufeff")
    assert list(Lines(path)) == expected
    assert "".join(Lines(path, keep_ends=True)) == text.replace("\r\n", "\n").removeprefix("\ufeff")


def test_bad_utf8_is_named_by_file_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"good\ngr\xfcn\n")
    with pytest.raises(DataError, match=r"latin\.txt:2: not UTF-8 \(byte 0xfc at 2\).*iconv"):
        list(Lines(path))


@pytest.mark.parametrize("content", [b"not gzip at all", gzip.compress(b"text\n" * 1000)[:-20]])
def test_damaged_gzip_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"text\.gz: cannot be read"):
        list(Lines(path))


def test_fraction_grows_to_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("some line of text\n" * 300_000)
    lines = Lines(path)
    assert lines.fraction() is None
    seen = [lines.fraction() or 0 for _ in lines]
    assert seen == sorted(seen) and 0 < seen[0] < 0.5 and seen[-1] == 1


@pytest.mark.parametrize(("english", "german"), [(3, 5), (5, 3), (0, 1)])
def test_unequal_line_counts_are_both_told(tmp_path: Path, english: int, german: int) -> None:
    (tmp_path / "a.en").write_text("x\n" * english)
    (tmp_path / "a.de").write_text("x\n" * german)
    with pytest.raises(DataError, match=rf"a\.en has {english} lines and .*a\.de has {german};"):
        list(PairedFiles(tmp_path / "a.en", tmp_path / "a.de"))


def test_pairs_can_be_read_again_and_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\ntwo\n")
    (tmp_path / "a.de").write_text("eins\nzwei\n")
    pairs = PairedFiles(tmp_path / "a.en", tmp_path / "a.de")
    assert list(pairs) == list(pairs) == [("one", "eins"), ("two", "zwei")]
    assert pairs.where(1) == f"{tmp_path}/a.de:2"
    before = pairs.fingerprint
    (tmp_path / "a.de").write_text("eins\nZwei\n")
    assert PairedFiles(tmp_path / "a.en", tmp_path / "a.de").fingerprint != before


@pytest.mark.parametrize("line", ["one column", "a\tb\tc", ""])
def test_tsv_wants_two_columns(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"good\tgut\n{line}\n")
    with pytest.raises(DataError, match=rf"a\.tsv:2: {line.count(chr(9)) + 1} columns"):
        list(TsvFile(path))
    path.write_text("good\tgut\n\t\n")
    assert list(TsvFile(path)) == [("good", "gut"), ("", "")]


COLUMNS = Columns(("en", "translation.en"), ("de", "translation.de"))


@pytest.mark.parametrize(
    ("row", "pair"),
    [
        ({"en": "a", "de": "b", "id": 3}, ("a", "b")),
        ({"translation": {"en": "a", "de": "b"}}, ("a", "b")),
        ({"translation.en": "a", "de": "b"}, ("a", "b")),
        ({"en": "a\nb", "de": None}, ("a b", "")),
        ({"en": ["a", "b"], "de": [3, 4]}, ("a b", "3 4")),
        ({"en": "a", "de": 7}, ("a", "7")),
    ],
)
def test_columns(row: dict[str, object], pair: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    assert list(JsonLinesFile(path, COLUMNS)) == [pair]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"a\.jsonl:2: not JSON"),
        ("[1]", r"a\.jsonl:2: not a JSON object but list"),
        ('{"en": "x"}', r"a\.jsonl:2: no column 'de' or 'translation.de'; it has 'en'\. .*data\.target_field"),
        ('{"de": "x"}', r"data\.source_field"),
        ('{"en": {"x": 1}, "de": "y"}', r"column 'en' holds dict, not text"),
    ],
)
def test_odd_json_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"en": "a", "de": "b"}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        list(JsonLinesFile(path, COLUMNS))


def test_documents_keep_their_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\\ntwo"}\n{"text": "three\\n"}\n')
    assert list(JsonLinesFile(path, Columns((), ("text",)))) == [("", "one\ntwo"), ("", "three\n")]
    joined = JsonLinesFile(path, Columns((), ("text",), join=True))
    assert "".join(text for _, text in joined) == "one\ntwo\nthree\n"
    path = tmp_path / "a.txt"
    path.write_text("one\n\n two")
    assert list(TextFile(path, whole=False)) == [("", "one"), ("", ""), ("", " two")]
    assert list(TextFile(path, whole=True)) == [("", "one\n"), ("", "\n"), ("", " two")]
    assert TextFile(path, whole=True).fingerprint != TextFile(path, whole=False).fingerprint

import gzip
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.glossary import Glossary
from seq2seq.errors import DataError


def wanted(glossary: Glossary, text: str, *, whole: Iterable[tuple[int, int]] = ()) -> dict[str, int]:
    return {constraint.phrase: constraint.count for constraint in glossary.constraints(text, whole=whole)}


def test_terms_are_found_at_word_boundaries_in_their_case() -> None:
    glossary = Glossary([("dog", "Hund"), ("US", "USA"), ("ice cream", "Eis"), ("C++", "C++"), ("犬", "Hund")])
    assert wanted(glossary, "A dog.") == wanted(glossary, "DOG") == wanted(glossary, "the Dog's") == {"Hund": 1}
    assert wanted(glossary, "dogs hotdog dog_1 dogé") == {}
    assert wanted(glossary, "US") == {"USA": 1}
    assert wanted(glossary, "us Us") == {}
    assert wanted(glossary, "ICE\t cream") == {"Eis": 1}
    assert wanted(glossary, "icecream") == {}
    assert wanted(glossary, "in C++11") == {"C++": 1}
    assert wanted(glossary, "大犬が") == {"Hund": 1}


def test_the_longest_term_is_taken_and_each_place_counts() -> None:
    glossary = Glossary(
        [("dog", "Hund"), ("big dog", "großer Hund"), ("york city hall", "Rathaus"), ("new york", "NY")]
    )
    assert wanted(glossary, "new york city hall") == {"Rathaus": 1}
    assert wanted(glossary, "dog dog, dog") == {"Hund": 3}
    assert wanted(glossary, "a big dog") == {"großer Hund": 1}
    # One of its own beside the one that is part of the other.
    assert wanted(glossary, "a big dog and a dog") == {"großer Hund": 1, "Hund": 2}


def test_letters_are_the_same_however_they_are_encoded() -> None:
    composed, decomposed = "café", "cafe\u0301"
    for term, text in [
        (composed, decomposed), (decomposed, composed), (composed, "CAFE\u0301"), ("dog", "ｄｏｇ"), ("Ｄog", "Dog"),
        ("fit", "ﬁt"), ("½", "1⁄2"), ("バス", "ﾊﾞｽ"), ("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
        ("ice cream", "ice\u3000cream"), ("a…", "a... a"),
    ]:  # fmt: skip
        assert wanted(Glossary([(term, "X")]), f"the {text}, or") == {"X": 1}, (term, text)
    assert wanted(Glossary([(composed, "X")]), f"{decomposed}s") == {}
    assert wanted(Glossary([("cafe", "X"), ("e", "Y")]), decomposed) == {}
    # Words end where they end in the text as it is written, and never within one character.
    assert wanted(Glossary([("Acme", "X")]), "Acme™ and Acmeﬁ") == {"X": 1}
    assert wanted(Glossary([("1", "X"), ("T", "Y"), ("2", "Z")]), "½ ™ 5½") == {}


def test_translations_are_the_same_however_they_are_encoded() -> None:
    glossary = Glossary([("girl", "Ma\u0308dchen"), ("lass", "Mädchen"), ("big girl", "großes Mädchen")])
    assert wanted(glossary, "a girl, a lass, a big girl") == {"Ma\u0308dchen": 3, "großes Mädchen": 1}
    assert wanted(glossary, "a lass") == {"Mädchen": 1}
    assert len(Glossary([("café", "Mädchen"), ("cafe\u0301", "Ma\u0308dchen")])) == 1
    with pytest.raises(DataError, match="entry 2: the term 'cafe\u0301' is 'Bar' above and 'Café' here"):
        Glossary([("café", "Bar"), ("cafe\u0301", "Café")])


def test_no_term_begins_or_ends_inside_of_what_is_whole() -> None:
    glossary = Glossary([("name", "Name"), ("the {name} dog", "Hund"), ("dog {", "X"), ("b", "B"), ("a b c", "ABC")])
    text = "name {name}, the  {name} dog {b} b"
    spans = [(5, 11), (18, 24), (29, 32)]
    assert [text[start:end] for start, end in spans] == ["{name}", "{name}", "{b}"]
    assert wanted(glossary, text) == {"Name": 2, "Hund": 1, "B": 2}
    assert wanted(glossary, text, whole=spans) == {"Name": 1, "Hund": 1, "B": 1}
    assert wanted(glossary, "dog {b}") == {"X": 1, "B": 1}
    assert wanted(glossary, "dog {b}", whole=[(4, 7)]) == {}
    assert wanted(glossary, "a b c", whole=[(2, 5)]) == {"ABC": 1}


@given(st.lists(st.sampled_from(["a", "b", "a b", "b a", "a b a", "b b"]), unique=True), st.text("ab ,", max_size=12))
def test_places_are_those_of_trying_all_spans(terms: list[str], text: str) -> None:
    glossary = Glossary([(term, term.upper()) for term in terms])
    text = " ".join(text.split())
    spans = [
        (start, end)
        for end in range(len(text) + 1)
        for start in range(end)
        if text[start:end] in terms and not text[:start][-1:].isalnum() and not text[end:][:1].isalnum()
    ]
    expected: list[tuple[int, int]] = []
    for start, end in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
        if all(end <= other[0] or start >= other[1] for other in expected):
            expected.append((start, end))
    assert glossary.matches(text) == sorted((start, text[start:end]) for start, end in expected)


def test_entries_are_repaired_as_lines_are_and_mistakes_named() -> None:
    glossary = Glossary([("big\x00dog", "großer\u2028Hund\ud800")])
    assert wanted(glossary, "a big dog") == {"großer Hund?": 1}
    with pytest.raises(DataError, match="entry 1: the term is empty"):
        Glossary([("\x00", "Hund")])
    for entry in ("ab", ("dog",), ("dog", None), ("dog", "Hund", "Köter"), None):
        with pytest.raises(TypeError, match="entry 2 of the glossary is .*; give pairs of a term and its translation"):
            Glossary([("dog", "Hund"), entry])
    assert len(Glossary([["dog", "Hund"]])) == 1


def test_files_are_read_and_mistakes_named(tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_bytes("\ufeffdog\tHund\r\n\n  big  dog \t großer Hund\ndog\tHund\n".encode())
    assert wanted(Glossary.read(path), "big dog") == {"großer Hund": 1}
    for text, message in [
        ("dog Hund\n", "line 1: 0 tabs"),
        ("dog\tHund\n\na\tb\tc\n", "line 3: 2 tabs"),
        ("dog\t\n", "line 1: the translation is empty"),
        ("\tHund\n", "line 1: the term is empty"),
        ("dog\tHund\ndog\tKöter\n", "line 2: the term 'dog' is 'Hund' above and 'Köter' here"),
        ("\n", "the glossary is empty"),
    ]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            Glossary.read(path)
    zipped = tmp_path / "terms.tsv.gz"
    whole = gzip.compress("\ufeffdog\tHund\r\n".encode())
    zipped.write_bytes(whole)
    assert wanted(Glossary.read(zipped), "dog") == wanted(Glossary.read(str(zipped)), "dog") == {"Hund": 1}
    for damaged in (whole[:-9], whole[:12] + b"\xff" + whole[13:], b"dog\tHund\n"):
        zipped.write_bytes(damaged)
        with pytest.raises(DataError, match="this gzip file is damaged or cut off"):
            Glossary.read(zipped)
    with pytest.raises(DataError, match="cannot be read"):
        Glossary.read(tmp_path / "none.tsv")

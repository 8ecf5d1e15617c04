from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.glossary import Glossary
from seq2seq.errors import DataError


def wanted(glossary: Glossary, text: str) -> dict[str, int]:
    return {constraint.phrase: constraint.count for constraint in glossary.constraints(text)}


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
    with pytest.raises(DataError, match="cannot be read"):
        Glossary.read(tmp_path / "none.tsv")

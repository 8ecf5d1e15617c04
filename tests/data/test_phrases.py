import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.phrases import (
    ENDS_WORD,
    JOINS,
    Constraint,
    Kept,
    in_word,
    kept,
    merged,
    occurrences,
    of_phrases,
    required_phrase,
    token_classes,
)
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.suppression import NOTHING, Phrases

KINDS = ["unigram", "bpe", "characters", "bytes"]


def test_phrases_are_found_at_word_boundaries() -> None:
    assert occurrences("Hund, Hunde, ein Hund.", "Hund") == [0, 17]
    assert occurrences("(Hund)", "Hund") == [1]
    assert occurrences("aa aa aa", "aa aa") == [0]
    assert occurrences("x%sy", "%s") == [] == occurrences("%sy", "%s")
    assert occurrences("x<b>y", "<b>") == [1]
    assert occurrences("大犬が", "犬") == [1]
    assert occurrences("a", "") == []


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        ("aZßéłд", True),
        ("한글", True),  # Korean has spaces between words
        ("०ह", True),
        ("7½²_", True),
        ("\u0301\u0308\u093f\ufe0f", True),  # acute and diaeresis, a Devanagari vowel sign, a variation selector
        ("-\u2010\u2013\u00ad", False),  # hyphens, a dash, the soft hyphen
        ("'\u2019", False),
        ("\u02bc", True),  # the apostrophe that is a letter, of Ukrainian among others
        (" .,%<>{}@#&/", False),
        ("犬々〇𠀋豈", False),
        ("かカーｶﾞㄅ\u3099", False),
        ("ไทย๗\u0e31", False),
        ("ລາວကြខ្មែរꩡ", False),
        ("。「・👍\u200d", False),
    ],
)
def test_which_characters_words_go_on_at(characters: str, expected: bool) -> None:
    assert [in_word(character) for character in characters] == [expected] * len(characters)


@pytest.mark.parametrize(
    ("text", "phrase", "found"),
    [
        ("bull-dog", "dog", True),
        ("the dog's bone", "dog", True),
        ("the dog\u2019s bone", "dog", True),
        ("dogs", "dog", False),
        ("dog7", "dog", False),
        ("dog_", "dog", False),
        ("7 dogs, 17 cats", "7", True),
        ("17 cats", "7", False),
        ("cafe\u0301", "cafe", False),
        ("cafe\u0301 au lait", "cafe\u0301", True),
        ("スキー7", "スキー", True),
        ("人々a", "人々", True),
        ("ﾊﾞｽ停", "ﾊﾞｽ", True),
        ("한글로", "한글", False),
        ("สวัสดี", "สวัส", True),
        ("a犬b", "犬", True),
    ],
)
def test_phrases_are_found_and_suppressed_by_the_same_words(text: str, phrase: str, found: bool) -> None:
    assert bool(occurrences(text, phrase)) is found
    machine = Phrases([phrase], surfaces=[b"", text.encode()], eos_id=0)
    assert machine.completing(NOTHING, left=0).tolist() == [1] * found


def test_what_became_of_constraints() -> None:
    constraints = [Constraint("Hund", 2), Constraint("ein", capital=True), Constraint("Katze")]
    report = kept(constraints, "Ein Hund und ein Hund")
    assert report == (Kept("Hund", 2, 2), Kept("ein", 1, 2), Kept("Katze", 1, 0))
    assert [one.satisfied for one in report] == [True, True, False]


def test_constraints_are_merged() -> None:
    assert of_phrases(["a  b", "", " ", "a\x00b", "c\ud800"]) == (Constraint("a b", 2), Constraint("c?"))
    assert merged([Constraint("a", 2), Constraint("a", capital=True), Constraint("a")]) == (
        Constraint("a", 3),
        Constraint("a", capital=True),
    )


def test_phrase_and_text_are_compared_as_the_tokenizer_spells_them(tiny_tokenizers: dict[str, Tokenizer]) -> None:
    normalise = tiny_tokenizers["unigram"].normalise
    for phrase, written in [
        ("Ma\u0308dchen", "Mädchen"),
        ("Mädchen", "Ma\u0308dchen"),  # as a given prefix has it
        ("ﬁt", "fit"),
        ("Wo…", "Wo..."),
        ("3½ m", "31⁄2 m"),
        ("Ｈund", "Hund"),
        ("grauer\u200bHund", "grauer Hund"),
    ]:
        assert kept([Constraint(phrase)], f"Ein {written} da", normalise) == (Kept(phrase, 1, 1),)
        assert kept([Constraint(phrase)], f"Ein {written} da, {written}", normalise) == (Kept(phrase, 1, 2),)
        assert kept([Constraint(phrase)], f"Ein {written}en da", normalise)[0].found == (written == "Wo...")
    assert kept([Constraint("ﬁsch", capital=True)], "Fisch, fisch, FIsch", normalise) == (Kept("ﬁsch", 1, 2),)
    assert kept([Constraint("{ﬁ}", verbatim=True)], "{fi}", normalise) == (Kept("{ﬁ}", 1, 0),)
    assert kept([Constraint("{ﬁ}", verbatim=True)], "{ﬁ}", normalise) == (Kept("{ﬁ}", 1, 1),)
    assert of_phrases(["ﬁt", "fit", "a"], normalise) == (Constraint("ﬁt", 2), Constraint("a"))


def test_a_ligature_has_the_capital_of_its_letters(tiny_tokenizers: dict[str, Tokenizer]) -> None:
    phrases = [
        required_phrase(Constraint(text, capital=True), tiny_tokenizers["unigram"]) for text in ("ﬁsch", "fisch")
    ]
    assert phrases[0] == phrases[1]


@pytest.mark.parametrize("kind", KINDS)
def test_spellings_are_the_text(tiny_tokenizers: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = tiny_tokenizers[kind]
    for text in ("fox", "quick brown", "the", "a", "B."):
        phrase = required_phrase(Constraint(text, 2), tokenizer)
        assert phrase is not None and phrase.count == 2
        for spelling in phrase.spellings:
            assert tokenizer.decode(spelling.tokens).strip() == text
            assert spelling.boundary_after == (text != "B.")
            spaced = tokenizer.pieces(spelling.tokens[:1])[0].startswith("▁")
            assert spelling.boundary_before == (not spaced)
        assert len(phrase.spellings) == (2 if kind in ("unigram", "bpe") else 1)


def test_spellings_are_those_within_a_sentence(tiny_tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tiny_tokenizers["unigram"]
    phrase = required_phrase(Constraint("fox"), tokenizer)
    assert phrase is not None
    for text in ("the fox", "the (fox"):
        ids = tokenizer.encode(text)
        assert any(ids[-len(spelling.tokens) :] == list(spelling.tokens) for spelling in phrase.spellings), text


def test_what_cannot_be_written_is_none(tiny_tokenizers: dict[str, Tokenizer]) -> None:
    assert required_phrase(Constraint("ü"), tiny_tokenizers["characters"]) is None
    assert required_phrase(Constraint("ü"), tiny_tokenizers["unigram"]) is not None
    assert required_phrase(Constraint(" "), tiny_tokenizers["unigram"]) is None


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text("abc dog.,:fox", min_size=1, max_size=12), phrase=st.sampled_from(["fox", "a", "dog", "b c", ":f"]))
def test_classes_tell_where_words_go_on(
    tiny_tokenizers: dict[str, Tokenizer], kind: str, text: str, phrase: str
) -> None:
    """A text's tokens hold a spelling within its boundaries exactly where the text holds the phrase."""
    tokenizer = tiny_tokenizers[kind]
    classes = token_classes(tokenizer)
    text = tokenizer.normalise(text).strip()
    ids = tokenizer.encode(text)
    required = required_phrase(Constraint(phrase), tokenizer)
    assert required is not None
    found = False
    for spelling in required.spellings:
        length = len(spelling.tokens)
        for start in range(len(ids) - length + 1):
            before = spelling.boundary_before and start > 0 and classes[ids[start - 1]] & ENDS_WORD
            after = spelling.boundary_after and start + length < len(ids) and classes[ids[start + length]] & JOINS
            found |= tuple(ids[start : start + length]) == spelling.tokens and not before and not after
    if found or kind in ("characters", "bytes"):
        assert found == bool(occurrences(tokenizer.decode(ids), phrase))


def test_what_stands_apart_in_the_source_is_never_written_without_its_space(
    tiny_tokenizers: dict[str, Tokenizer],
) -> None:
    unigram = tiny_tokenizers["unigram"]
    apart = required_phrase(Constraint("<b>", verbatim=True, exact=True, apart=(True, False)), unigram)
    anywhere = required_phrase(Constraint("<b>", verbatim=True, exact=True), unigram)
    assert apart is not None and anywhere is not None
    assert all(unigram.pieces(one.tokens[:1])[0].startswith("▁") for one in apart.spellings)
    assert apart.never and not anywhere.never
    assert {*apart.spellings, *apart.never} == set(anywhere.spellings)

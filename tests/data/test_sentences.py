import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.lines import rejoined
from seq2seq.data.sentences import blocks, characters, clauses, sentences, words

TEXT = st.text(st.sampled_from('aBI3 .!?,;—"”」。、とA語\u0301\u0964<>{}'), max_size=60) | st.text(max_size=80)


@pytest.mark.parametrize(
    "text",
    [
        "He met Dr. Smith and Prof. J. R. Jones.| He left.",
        "Am 3. Oktober 1990 regnete es.| Es war kalt.",
        "In 1990.| Then 1991.",
        "See Fig. 3, No. 5 and Vol. 234.| No.| Max.| Nobody came.",
        "The U.S. Army, i.e. soldiers, came at 3 p.m. on time.| Nobody saw it.",
        "z. B. Herr Müller, d. h. er, kam.| Er blieb usw.| Dann ging er.",
        "“Really?” he said.| “Yes!”| She left.",
        "(He left.)| She stayed.| 'Why?'| «Oui.»| Non.",
        "Wait... what?| Hmm…| No!?| Yes.",
        "Pi is 3.14, version 1.2.3 of it.| ¿Qué?| ¡No!",
        "It was I.| And plan B. failed.",
        "Er sagte: „Komm.“| Sie kam.",
        "これは本。|あれは？！|はい。",
        "彼は「行く。」と言った。|「来た。」|彼女は帰った。",
        "نص أول؟| نص ثان.| ثالث",
        "यह है।| वह है।",
        "Wait . . .| What ? ! ! !",
        "… ! No .",
        "Ludwig XIV. König von Frankreich.| Smith Jr. Went et al. The Inc. Ox.| And etc.| So.",
        "first line.| Second! third? fourth.| Fifth",
        'A <a title="Big dog. Man! Go">dog</a> runs.| {{Dr! X. Y}} sits.| <b> A cat.',
        "See http://a.b/{c}.| {X} is it.| A <dog.| <a title='一。二'>犬</a>。|http://a.b。|So",
    ],
)
def test_where_sentences_end(text: str) -> None:
    parts = sentences(text.replace("|", ""))
    # White space goes with the sentence before it; the marks above stand before it, where they are easier to read.
    assert [part.strip() for part in parts] == [part.strip() for part in text.split("|")]


def test_where_clauses_words_and_characters_end() -> None:
    assert clauses("one, two; “three,” four: five — six 7,5") == ["one, ", "two; ", "“three,” ", "four: ", "five ",
                                                                  "— six 7,5"]  # fmt: skip
    assert clauses("一、二；三") == ["一、", "二；", "三"]
    assert words("one  two\tthree ") == ["one  ", "two\t", "three "]
    assert blocks("abcdefgh", length=3) == ["abc", "def", "gh"]
    assert blocks("abe\u0301\u0323fgh", length=3) == ["abe\u0301\u0323f", "gh"]
    assert characters("ab") == ["a", "b"]


def test_placeholders_are_not_cut() -> None:
    tag = "<a b='c, d'>"
    assert clauses(f"x, {tag}, y") == ["x, ", f"{tag}, ", "y"]
    assert words(f" x {tag}y z") == ["x ", f"{tag}y ", "z"]
    assert words(f"x {tag}y", whole=False) == ["x ", "<a ", "b='c, ", "d'>y"]
    assert blocks(f"abcd{tag}{{x}}efgh", length=3) == ["abc", "d", tag, "{x}", "ef", "gh"]
    assert blocks("a{bcd}\u0301e", length=3) == ["a", "{bcd}\u0301e"]
    assert blocks("a{bcd}", length=3, whole=False) == ["a{b", "cd}"]


@given(TEXT)
def test_cuts_lose_nothing(text: str) -> None:
    for cut in (sentences, clauses, blocks, characters):
        parts = cut(text)
        assert "".join(parts) == text and all(parts)
    assert "".join(words(text)) == text.lstrip()


@pytest.mark.parametrize(
    "pattern", [".", ". ", '."', "。", "。」", "a.", "a.b", "Mr. ", "—", " — ", "\u0301", "。」と", "<b>. A", "<b. A"]
)
def test_cuts_take_linear_time(pattern: str) -> None:
    text = pattern * (500_000 // len(pattern))
    start = time.process_time()
    for cut in (sentences, clauses, words, blocks):
        cut(text)
    assert time.process_time() - start < 10


def test_pieces_are_joined_as_their_script_does() -> None:
    assert rejoined(["Er kam.", "", "Sie ging."]) == "Er kam. Sie ging."
    assert rejoined(["彼は来た。", "彼女は帰った。"]) == "彼は来た。彼女は帰った。"
    assert rejoined(["그는 왔다.", "그녀는 갔다"]) == "그는 왔다. 그녀는 갔다"
    assert rejoined(["한", "국"]) == "한 국"
    assert rejoined(["彼は来た。", "OK"]) == "彼は来た。 OK"
    assert rejoined([]) == rejoined(["", ""]) == ""

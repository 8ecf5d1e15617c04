import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.words import encode_words, first_word, places

WORDS = st.lists(st.sampled_from(["the", "fox", "jumps", "ünï", "東京", "a", "½", "\u200b", "e\u0301"]), max_size=8)
SPACES = st.sampled_from([" ", "  ", "\t", "\u3000"])


@pytest.mark.parametrize("kind", ["characters", "bytes", "unigram", "bpe"])
@given(words=WORDS, space=SPACES, edge=st.sampled_from(["", " "]))
def test_the_ids_are_those_of_the_text_and_each_has_its_word(tiny_tokenizers, kind, words, space, edge):
    tokenizer = tiny_tokenizers[kind]
    text = edge + space.join(words) + edge
    ids, numbers = encode_words(tokenizer, text)
    assert ids == tokenizer.encode(text)
    for number, word in enumerate(text.split()):
        assert [token for token, of in zip(ids, numbers, strict=True) if of == number] == tokenizer.encode(word)
    if kind in ("unigram", "bpe"):
        assert None not in numbers


@given(line=st.text(alphabet="ab \t", max_size=20), start=st.integers(0, 20))
def test_the_first_word_of_a_part(line, start):
    start = min(start, len(line))
    part = line[start:]
    if part.split():
        number = first_word(line, start)
        assert line.split()[number].endswith(part.split()[0])
        assert line.split()[number + 1 :] == part.split()[1:]


def test_parts_are_found_in_order():
    assert places("so so so", ["so", "so"]) == [0, 3]
    with pytest.raises(ValueError, match="not found"):
        places("so", ["no"])

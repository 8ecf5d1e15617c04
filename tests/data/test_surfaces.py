"""The bytes of tokens, joined, are the text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.surfaces import surfaces
from seq2seq.data.tokenizer import NUM_SPECIALS, CharacterTokenizer


@pytest.mark.parametrize("kind", ["bytes", "characters", "unigram", "bpe"])
@given(data=st.data())
def test_surfaces_spell_the_text(tiny_tokenizers, kind, data):
    tokenizer = tiny_tokenizers[kind]
    tokens = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20))
    table = surfaces(tokenizer)
    # What is no UTF-8 is one mark or several, as the reader likes.
    text, expected = (
        re.sub("\ufffd+", "\ufffd", text)
        for text in (b"".join(table[token] for token in tokens).decode(errors="replace"), tokenizer.decode(tokens))
    )
    assert expected in (text, text.removeprefix(" "), text.lstrip(" "))
    assert table[:NUM_SPECIALS] == [b""] * NUM_SPECIALS


def test_text_that_looks_like_a_mark_stays():
    table = surfaces(CharacterTokenizer("▁<"))
    assert table[NUM_SPECIALS:] == [b"<", "▁".encode()]

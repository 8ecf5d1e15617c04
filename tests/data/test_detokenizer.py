import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.detokenizer import Detokenizer
from seq2seq.data.tokenizer import (
    EOS,
    NUM_SPECIALS,
    ByteTokenizer,
    Tokenizer,
)

KINDS = ["characters", "bytes", "unigram", "bpe"]


def pieces(tokenizer: Tokenizer, ids: list[int], prompt: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer, prompt)
    return [*(detokenizer.push(token) for token in ids), detokenizer.end()]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_pieces_of_any_text_join_to_the_text(
    tiny_tokenizers: dict[str, Tokenizer], kind: str, data: st.DataObject
) -> None:
    tokenizer = tiny_tokenizers[kind]
    text = data.draw(st.text(st.sampled_from("the fox  é東\U0001f600\n") | st.characters(codec="utf-8"), max_size=80))
    ids = tokenizer.encode(text)
    cut = data.draw(st.integers(0, len(ids)))
    whole = tokenizer.decode(ids)
    if "\ufffd" in tokenizer.decode(ids[:cut]):
        cut = 0  # a prompt is text, so it never ends inside a character
    assert tokenizer.decode(ids[:cut]) + "".join(pieces(tokenizer, ids[cut:], ids[:cut])) == whole


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_pieces_of_any_tokens_join_to_their_text(
    tiny_tokenizers: dict[str, Tokenizer], kind: str, data: st.DataObject
) -> None:
    """A model may write what is no valid text: bytes out of order, end tokens, spaces in a row."""
    tokenizer = tiny_tokenizers[kind]
    ids = data.draw(st.lists(st.integers(EOS, tokenizer.vocab_size - 1), max_size=80))
    assert "".join(pieces(tokenizer, ids, [])) == tokenizer.decode(ids)


def test_characters_wait_for_their_last_byte() -> None:
    ids = ByteTokenizer().encode("aé東\U0001f600!")
    assert pieces(ByteTokenizer(), ids, []) == ["a", "", "é", "", "", "東", "", "", "", "\U0001f600", "!", ""]


def test_what_is_never_completed_comes_out_at_the_end() -> None:
    ids = ByteTokenizer().encode("東")[:2]
    assert pieces(ByteTokenizer(), ids, []) == ["", "", "\ufffd"]
    invalid = [NUM_SPECIALS + 0xFF] * 5
    assert "".join(pieces(ByteTokenizer(), invalid, [])) == "\ufffd" * 5


def test_a_space_before_the_first_new_word_is_kept(tiny_tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tiny_tokenizers["unigram"]
    prompt, new = tokenizer.encode("the quick"), tokenizer.encode("brown fox")
    assert "".join(pieces(tokenizer, new, prompt)) == " brown fox"


def test_the_cost_of_a_token_does_not_grow() -> None:
    class Counting(ByteTokenizer):
        decoded = 0

        def decode(self, ids: list[int]) -> str:  # type: ignore[override]
            self.decoded += len(ids)
            return super().decode(ids)

    tokenizer = Counting()
    ids = tokenizer.encode("text " * 200)
    assert "".join(pieces(tokenizer, ids, [])) == "text " * 200
    assert tokenizer.decoded < 30 * len(ids)

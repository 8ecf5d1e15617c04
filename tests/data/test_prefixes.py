"""Whatever a hypothesis writes within a prefix, its text begins with it; and the usual way to cut it is open."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seq2seq.data.lines import Line, Note
from seq2seq.data.prefixes import NO_PREFIX, PrefixFeed, PrefixReader
from seq2seq.data.tokenizer import NUM_SPECIALS, UNK, Tokenizer
from seq2seq.errors import DataError

KINDS = ["unigram", "bpe", "characters", "bytes"]
TEXTS = st.lists(st.sampled_from(["the", "quick", "br", "own fox ", " ", "jum", "ps", "é", "東", ".", "ov", "a"])).map(
    "".join
)


@pytest.fixture(scope="module")
def readers(tiny_tokenizers: dict[str, Tokenizer]) -> dict[str, PrefixReader]:
    return {kind: PrefixReader(tokenizer, most_tokens=200) for kind, tokenizer in tiny_tokenizers.items()}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(text=TEXTS, chance=st.randoms(use_true_random=False))
@example(text="the quick ", chance=random.Random(1))
@example(text="東", chance=random.Random(1))
@example(text="the 東 ", chance=random.Random(1))
def test_every_way_that_is_open_spells_the_prefix(
    readers: dict[str, PrefixReader], tiny_tokenizers: dict[str, Tokenizer], kind: str, text: str, chance: random.Random
) -> None:
    reader, tokenizer = readers[kind], tiny_tokenizers[kind]
    prefix = reader.read(text)
    if not text.strip():
        assert prefix == NO_PREFIX
        return
    tokens, place = list(prefix.tokens), 0
    while place < len(prefix.choices):
        choice = prefix.choices[place]
        tokens.append(chance.choice([*choice.inside, *choice.beyond]))  # fails where there is none: a dead end
        place += reader.growth[tokens[-1]]
    assert len(tokens) <= prefix.most_tokens
    tokens += [chance.randrange(NUM_SPECIALS, tokenizer.vocab_size) for _ in range(4)]
    output = tokenizer.decode(tokens)
    assert output.startswith(prefix.head)
    assert prefix.completed(output) == text + output[len(prefix.head) :]
    assert (Note.prefix_unknown in prefix.notes) == (UNK in tokenizer.encode(text))
    if not prefix.notes and not text[-1].isspace():
        assert prefix.head == tokenizer.normalise(text)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(text=TEXTS.filter(str.strip), more=st.sampled_from(["", "s", " the", "x 東"]))
def test_the_tokenizers_own_way_is_open(
    readers: dict[str, PrefixReader], tiny_tokenizers: dict[str, Tokenizer], kind: str, text: str, more: str
) -> None:
    reader, prefix = readers[kind], readers[kind].read(text)
    if more == "" and text[-1].isspace():
        return  # the tokenizer drops that space; an output goes on behind it
    ids = tiny_tokenizers[kind].encode(text + more)
    if UNK in ids:
        return
    assert ids[: len(prefix.tokens)] == list(prefix.tokens)
    place = 0
    for token in ids[len(prefix.tokens) :]:
        if place < len(prefix.choices):
            choice = prefix.choices[place]
            assert token in (*choice.inside, *choice.beyond)
        place += reader.growth[token]
    assert place >= len(prefix.choices)


def test_a_partial_word_may_be_finished_by_a_piece_that_the_prefix_cuts(
    readers: dict[str, PrefixReader], tiny_tokenizers: dict[str, Tokenizer]
) -> None:
    reader, tokenizer = readers["unigram"], tiny_tokenizers["unigram"]
    whole = tokenizer.encode("the quick")
    prefix = reader.read("the qu")
    assert list(prefix.tokens) == tokenizer.encode("the")
    place = 0
    for token in whole[len(prefix.tokens) :]:
        if place < len(prefix.choices):
            assert token in (*prefix.choices[place].inside, *prefix.choices[place].beyond)
        place += reader.growth[token]
    closed = reader.read("the quick ")
    assert list(closed.tokens) == whole and len(closed.choices) == 1
    assert all(tokenizer.pieces([token])[0].startswith("▁") for token in closed.choices[0].beyond)


def test_what_is_too_long_is_not_asked_for(tiny_tokenizers: dict[str, Tokenizer]) -> None:
    reader = PrefixReader(tiny_tokenizers["characters"], most_tokens=5)
    assert reader.read("abcde").notes == ()
    for text in ("abcdef", "a" * 10**6):
        prefix = reader.read(text)
        assert (prefix.notes, prefix.most_tokens, prefix.completed("anything")) == ((Note.prefix_too_long,), 0, text)


def test_lines_and_prefixes_go_together(readers: dict[str, PrefixReader]) -> None:
    feed = PrefixFeed(["the", None, Line("fox"), "\x00a"], readers["unigram"], first_line=7)
    lines = feed.beside(["one", None, "two", "three"])
    assert [next(lines), next(lines), next(lines)] == ["one", None, "two"]
    assert [feed.of(7, 0).text, feed.of(8, 0).text, feed.of(8, 1)] == ["the", "fox", NO_PREFIX]
    assert list(lines) == ["three"]
    assert [feed.take().text for _ in range(3)] == ["the", "fox", " a"]
    with pytest.raises(DataError, match="There are 1 prefixes for more lines"):
        list(PrefixFeed(["a"], readers["unigram"]).beside(["one", "two"]))
    with pytest.raises(DataError, match="more prefixes than the 1 lines"):
        list(PrefixFeed(["a", "b"], readers["unigram"]).beside(["one"]))
    with pytest.raises(TypeError, match="one string"):
        PrefixFeed("the", readers["unigram"])

"""Phrases that are never written: tokens struck out one by one beside texts judged as a whole."""

import codecs
import itertools
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.decoding import beam_search, greedy_search, sample_search
from seq2seq.decoding.suppression import Phrases, SuppressedText
from seq2seq.errors import DecodingError

EOS = 0
# Words, their beginnings and ends, spaces, bytes of "é" apart, a wide character.
SURFACES = [b"", b"a", b"b", b"ab", b" a", b" ", b".", b"ba b", b"\xc3", b"\xa9", b"a\xc3", "犬".encode(),
            b" ab", b"\n"]  # fmt: skip
SOME = ["a", "ab", "ba", "a b", "ab a", "aba", ".", "b.", "é", "aé", "é a", "犬", "犬a"]
PHRASES = st.lists(st.sampled_from(SOME), min_size=1, max_size=3)


def text_of(tokens):
    text = b"".join(SURFACES[token] for token in tokens).decode(errors="replace")
    return re.sub(r"\s+", " ", text)


def has(text, phrases):
    """Whether a finished text has one of the phrases, as whole words, by regular expressions."""
    for phrase in phrases:
        before = r"(?<![^\W犬])" if re.match(r"[^\W犬]", phrase) else ""
        after = r"(?![^\W犬])" if re.search(r"[^\W犬]\Z", phrase) else ""
        if re.search(before + re.escape(phrase) + after, text):
            return True
    return False


def allowed(phrases, limit):
    """All outputs that the rule lets through, token by token."""
    rule = SuppressedText(Phrases(phrases, surfaces=SURFACES, eos_id=EOS), limits=[limit])
    live, outputs = [()], set()
    for length in range(limit):
        if not live:
            break
        written = torch.tensor(live, dtype=torch.int64).view(len(live), length)
        after = rule(torch.zeros(len(live), len(SURFACES)), written, torch.zeros(len(live), dtype=torch.int64))
        steps = [(*row, token) for row, ok in zip(live, after.tolist(), strict=True) for token in range(len(SURFACES))
                 if ok[token] == 0]  # fmt: skip
        outputs |= {step for step in steps if step[-1] == EOS or length + 1 == limit}
        live = [step for step in steps if step[-1] != EOS]
    return outputs


@settings(max_examples=30)
@given(PHRASES)
def test_every_text_without_the_phrases_is_let_through_and_no_other(phrases):
    limit = 3
    everything = {
        tokens
        for length in range(1, limit + 1)
        for tokens in itertools.product(range(len(SURFACES)), repeat=length)
        if EOS not in tokens[:-1] and (tokens[-1] == EOS or length == limit)
    }
    assert allowed(phrases, limit) == {tokens for tokens in everything if not has(text_of(tokens), phrases)}


@given(PHRASES, st.lists(st.integers(1, len(SURFACES) - 1), max_size=12), st.integers(0, 12))
def test_the_end_of_a_text_is_all_that_matters(phrases, tokens, cut):
    """Bit by bit or at once, and behind a past: the same tokens are struck out as by reading the text again."""
    machine = Phrases(phrases, surfaces=SURFACES, eos_id=EOS)
    end = machine.after(tokens[cut:], machine.after(tokens[:cut]))
    assert end == machine.after(tokens)
    struck = set(machine.completing(end, left=0).tolist())
    read = codecs.getincrementaldecoder("utf-8")("replace").decode
    before = re.sub(r"\s+", " ", read(b"".join(SURFACES[token] for token in tokens)))
    for token in range(len(SURFACES)):
        after = text_of([*tokens, token])
        assert (token in struck) == any(new_places(before, after, phrase) for phrase in phrases)


def new_places(before, after, phrase):
    """Where a finished text has a phrase as a whole word that its beginning had not yet."""
    begins = r"(?<![^\W犬])" if re.match(r"[^\W犬]", phrase) else ""
    ended, ends = (r"[\W犬]", r"(?![^\W犬])") if re.search(r"[^\W犬]\Z", phrase) else ("", "")
    there = {match.start() for match in re.finditer(f"(?={begins}{re.escape(phrase)}{ended})", before)}
    return {match.start() for match in re.finditer(f"(?={begins}{re.escape(phrase)}{ends})", after)} - there


@given(seed=st.integers(0, 10**6), phrases=PHRASES, limits=st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_no_search_writes_them(toys, seed, phrases, limits):
    model = toys.Markov.random(seed, sentences=len(limits), positions=7, vocab=len(SURFACES))
    for search, own in ((greedy_search, {}), (beam_search, {"beam_size": 3, "n_best": 3}),
                             (sample_search, {"n_best": 2})):  # fmt: skip
        rule = SuppressedText(Phrases(phrases, surfaces=SURFACES, eos_id=EOS), limits=limits)
        try:
            result = search(model, model.start(), model.prompt(), eos_id=EOS, max_length=limits, rules=[rule], **own)
        except DecodingError:  # a beam may find itself in corners only
            assert search is beam_search
            continue
        for hypotheses, limit in zip(result.hypotheses, limits, strict=True):
            for hypothesis in hypotheses:
                cornered = not hypothesis.finished and len(hypothesis.tokens) < limit
                assert cornered or not has(text_of(hypothesis.tokens), phrases)


@pytest.mark.parametrize(
    ("text", "phrase", "found"),
    [
        ("a class", "ass", False),
        ("an asset", "ass", False),
        ("an ass.", "ass", True),
        ("the  old\tdog", "old dog", True),
        ("the older dog", "old dog", False),
        ("हिन्दी", "हिन", False),  # a combining mark follows
        ("番犬です", "犬", True),
        ("50 €.", "€", True),
        ("Ass", "ass", False),
        ("Hundは", "Hund", True),
    ],
)
def test_what_a_whole_word_is(text, phrase, found):
    surfaces = [b"", *(bytes([byte]) for byte in range(256))]
    tokens = [byte + 1 for byte in text.encode()]
    machine = Phrases([phrase], surfaces=surfaces, eos_id=0)
    ends = [machine.after(tokens[:at]) for at in range(len(tokens) + 1)]
    struck = [token in machine.completing(end, left=9).tolist() for end, token in zip(ends, [*tokens, 0], strict=True)]
    assert any(struck) == found


def test_bytes_that_only_begin_punctuation_end_a_word():
    surfaces = [b"", *(bytes([byte]) for byte in range(256))]
    machine = Phrases(["dog"], surfaces=surfaces, eos_id=0)

    def struck(text):
        return {token - 1 for token in machine.completing(machine.after(byte + 1 for byte in text), left=9).tolist()}

    assert 0xE2 not in struck(b"dog") and 0xC3 not in struck(b"dog")  # letters begin so too
    assert 0x80 in struck(b"dog\xe2")  # but these two only begin dashes, quotes and the like
    assert len(struck(b"dog\xe2")) < 255 and len(struck(b"dog\xc3")) < 255


def test_a_blank_phrase_is_refused():
    with pytest.raises(ValueError, match="blank"):
        Phrases([" \t"], surfaces=SURFACES, eos_id=0)


def test_log_probabilities_of_other_tokens_stay():
    rule = SuppressedText(Phrases(["ab"], surfaces=SURFACES, eos_id=EOS), limits=[9, 9])
    log_probs = torch.randn(2, len(SURFACES))
    after = rule(log_probs.clone(), torch.tensor([[3], [1]]), torch.tensor([0, 1]))
    struck = after == -math.inf
    assert after[~struck].equal(log_probs[~struck])
    assert struck[0].nonzero().flatten().tolist() == [0, 4, 5, 6, 9, 11, 12, 13]  # "ab" is a word before all of these
    assert not struck[1].any()  # "a": "ab" may still go on

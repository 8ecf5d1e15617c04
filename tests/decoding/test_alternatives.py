"""The likeliest ways to go beyond a prefix against all the ways there are."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import DecodingConfig, Utility
from seq2seq.decoding.alternatives import completing, next_tokens
from seq2seq.errors import DecodingError

SURFACES = [b"", b"", b"a", b"b", b"ab", b"ba", b"b"]  # of the end token, padding and five more, two of them alike
POSITIONS = 6


class Prompted:
    """A toy model that can read a prompt of several tokens."""

    def __init__(self, model):
        self.model = model

    def step(self, tokens, state):
        state.length += tokens.shape[1] - 1
        return self.model.step(tokens, state)


def every_way(toys, model, prefix, forbidden):
    """Text -> log-probability of its most probable spelling, of all that go one token beyond the prefix."""
    ways = {}
    for length in range(1, len(prefix.word) + 2):
        for tokens in itertools.product(range(len(SURFACES)), repeat=length):
            if toys.PAD in tokens or toys.EOS in tokens[:-1] or tokens[-1] in forbidden:
                continue
            text, inside = prefix.spelt(tokens), prefix.spelt(tokens[:-1])
            ends = tokens[-1] == toys.EOS and inside == prefix.word
            if ends or prefix.word.startswith(inside) and text.startswith(prefix.word) and text != prefix.word:
                so_far = [(*prefix.tokens, *tokens[:at]) for at in range(length)]
                value = sum(model.log_prob(0, past)[token] for past, token in zip(so_far, tokens, strict=True))
                ways[text] = max(ways.get(text, value), value)
    return sorted(ways.items(), key=lambda way: -way[1])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    tokens=st.sampled_from([(), (3,), (2, 5)]),
    word=st.sampled_from([b"", b"a", b"ab", b"bab"]),
    count=st.integers(1, 7),
    forbidden=st.sampled_from([(), (4, 5)]),
)
def test_the_best_of_all_ways(toys, seed, tokens, word, count, forbidden):
    model = toys.Markov.random(seed, positions=POSITIONS, vocab=len(SURFACES))
    prefix = toys.Prefix(tokens, word, SURFACES)
    found = next_tokens(
        Prompted(model),
        model.start(),
        model.prompt(),
        prefix,
        surfaces=SURFACES,
        eos_id=toys.EOS,
        forbidden_ids=(toys.PAD, *forbidden),
        count=count,
    )
    texts = [prefix.spelt(way.tokens) for way in found]
    expected = every_way(toys, model, prefix, forbidden)[:count]
    assert texts == [text for text, _ in expected]
    assert [way.log_prob for way in found] == pytest.approx([value for _, value in expected])


def test_no_end_before_the_fewest_tokens(toys):
    model = toys.Markov.random(1, positions=POSITIONS, vocab=4)
    surfaces = [b"", b"", b"a", b"b"]
    for fewest, ends in ((2, True), (3, False)):
        found = next_tokens(
            Prompted(model), model.start(), model.prompt(), toys.Prefix((2, 3), b"", surfaces), surfaces=surfaces,
            eos_id=toys.EOS, forbidden_ids=(toys.PAD,), min_length=fewest, count=4,
        )  # fmt: skip
        assert ((toys.EOS,) in [way.tokens for way in found]) == ends


def test_settings_of_other_kinds_of_output_are_refused():
    own = DecodingConfig(n_best=3, mbr=Utility.chrf)
    assert completing(own, {}, 2) == DecodingConfig()
    for changes, count, message in [
        ({"n_best": 3}, 2, "n_best has no effect with alternatives"),
        ({"mbr": "chrf"}, 2, "mbr has no effect with alternatives"),
        ({}, 0, "alternatives .0. must be at least 1"),
    ]:
        with pytest.raises(DecodingError, match=message):
            completing(own, changes, count)

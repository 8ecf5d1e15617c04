"""How few and how many tokens a translation may have."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import DecodingConfig, LengthNormalisation
from seq2seq.decoding import beam_search, greedy_search, sample_search
from seq2seq.decoding.length_penalty import PENALTIES
from seq2seq.decoding.lengths import FewestTokens, fewest_tokens, most_tokens


@given(source=st.integers(0, 400), tenths=st.integers(0, 40), least=st.integers(0, 30))
def test_fewest_tokens_is_the_larger_one_rounded_up(source, tenths, least):
    settings = DecodingConfig(min_length=least, min_length_ratio=tenths / 10)
    assert fewest_tokens(settings, source) == max(least, math.ceil(Fraction(tenths, 10) * source))


@given(source=st.integers(0, 400), most=st.integers(0, 300))
def test_most_tokens_is_the_smaller_one(source, most):
    settings = DecodingConfig(max_length_ratio=1.5, max_length=most)
    assert most_tokens(settings, source) == min([3 * source // 2 + 10, *([most] if most else [])])


LENGTHS = st.tuples(st.integers(0, 6), st.integers(1, 6))  # fewest, most


@given(seed=st.integers(0, 10**6), rows=st.lists(LENGTHS, min_size=1, max_size=4))
def test_every_row_has_its_own_fewest(toys, seed, rows):
    fewest, limits = [row[0] for row in rows], [row[1] for row in rows]
    model = toys.Markov.random(seed, sentences=len(rows), positions=7, vocab=5)
    common = {"eos_id": toys.EOS, "max_length": limits, "rules": [FewestTokens(fewest, eos_id=toys.EOS)]}
    beam = beam_search(model, model.start(), model.prompt(), beam_size=3, **common)
    for result in (
        beam,
        greedy_search(model, model.start(), model.prompt(), **common),
        sample_search(model, model.start(), model.prompt(), n_best=2, **common),
    ):
        for hypotheses, few, limit in zip(result.hypotheses, fewest, limits, strict=True):
            assert all(min(few, limit) <= len(h.tokens) <= limit for h in hypotheses)
    for sentence, (few, limit) in enumerate(rows):
        expected = toys.slow_beam(
            model, sentence, beam_size=3, max_length=limit, min_length=few,
            penalty=lambda length: PENALTIES[LengthNormalisation.average](length, 1.0),
        )[0]  # fmt: skip
        assert beam.hypotheses[sentence][0].tokens == expected[0]


def test_a_rule_moves_with_its_rows():
    rule = FewestTokens([3, 0], eos_id=1)
    after = rule(torch.zeros(3, 4), torch.zeros(3, 2, dtype=torch.long), torch.tensor([1, 0, 0]))
    assert after.tolist() == [[0, 0, 0, 0], [0, -math.inf, 0, 0], [0, -math.inf, 0, 0]]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"min_length": 9, "max_length": 9}, "decoding.min_length (9) leaves no room for the end token within decodi"),
        ({"min_length_ratio": 2.5}, "decoding.min_length_ratio (2.5) is more than decoding.max_length_ratio (2.0)"),
    ],
)
def test_lengths_that_exclude_each_other(changes, sentence):
    (problem,) = DecodingConfig(**changes).problems()
    assert problem.startswith(sentence)

"""Diverse beam search beside an obvious one, a group and a candidate at a time."""

import collections
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import DecodingConfig
from seq2seq.decoding import beam_search


def slow(toys, model, sentence, *, groups, size, penalty, max_length, patience):
    """All outputs of all groups: (score, tokens, log-probability), best first, each text once."""
    live = [[(0.0, 0.0, ())] for _ in range(groups)]  # value, log-probability, tokens
    ended = [[] for _ in range(groups)]
    done = [False] * groups
    for length in range(1, max_length + 1):
        written = collections.Counter()
        for group in range(groups):
            if done[group]:
                continue
            candidates = sorted(
                (
                    (value + step - penalty * written[token], log_prob + step, (*tokens, token))
                    for value, log_prob, tokens in live[group]
                    for token, step in enumerate(model.log_prob(sentence, tokens))
                ),
                reverse=True,
            )
            last = length == max_length
            ended[group] += [
                (value / length, tokens, log_prob)
                for value, log_prob, tokens in candidates[:size]
                if last or tokens[-1] == toys.EOS
            ]
            live[group] = [candidate for candidate in candidates if candidate[2][-1] != toys.EOS][:size]
            written.update(tokens[-1] for _, _, tokens in live[group])
            kept = sorted(ended[group], reverse=True)[:size]
            hopeless = len(kept) == size and live[group][0][0] / max_length <= kept[-1][0]
            enough = patience and len(ended[group]) >= max(size, math.ceil(patience * size))
            done[group] = bool(hopeless or enough)
    everything = sorted((one for group in ended for one in sorted(group, reverse=True)[:size]), reverse=True)
    best = {}
    for score, tokens, log_prob in everything:
        best.setdefault(tokens, (score, tokens, log_prob))
    return list(best.values())


@given(
    seed=st.integers(0, 10**6), shape=st.sampled_from([(2, 1), (2, 2), (3, 1), (3, 2), (2, 3)]),
    penalty=st.sampled_from([0.2, 0.8, 3.0]), patience=st.sampled_from([0, 1, 1.5]),
    limits=st.lists(st.integers(1, 6), min_size=1, max_size=4),
)  # fmt: skip
def test_every_group_is_a_search_that_sees_those_before_it(toys, seed, shape, penalty, patience, limits):
    groups, size = shape
    model = toys.Markov.random(seed, sentences=len(limits), positions=7, vocab=7)
    result = beam_search(
        model, model.start(), model.prompt(), eos_id=toys.EOS, max_length=limits, beam_size=groups * size,
        n_best=groups * size, num_beam_groups=groups, diversity_penalty=penalty, patience=patience,
    )  # fmt: skip
    for sentence, limit in enumerate(limits):
        expected = slow(
            toys, model, sentence, groups=groups, size=size, penalty=penalty, max_length=limit, patience=patience
        )
        found = result.hypotheses[sentence]
        assert [h.score for h in found] == pytest.approx([score for score, _, _ in expected], abs=1e-9)
        assert [(*h.tokens, *[toys.EOS] * h.finished) for h in found] == [tokens for _, tokens, _ in expected]
        assert [h.log_prob for h in found] == pytest.approx([log_prob for *_, log_prob in expected], abs=1e-9)


def test_a_large_penalty_makes_every_group_begin_its_own_way(toys):
    model = toys.Markov.random(5, sentences=3, positions=7, vocab=9)
    result = beam_search(
        model, model.start(), model.prompt(), eos_id=toys.EOS, max_length=6, min_length=2, beam_size=4, n_best=4,
        num_beam_groups=4, diversity_penalty=100.0,
    )  # fmt: skip
    for hypotheses in result.hypotheses:
        assert len({h.tokens[0] for h in hypotheses}) == 4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_beam_groups": 2, "diversity_penalty": 1.0}, "decoding.num_beam_groups (2) does not divide"),
        ({"num_beam_groups": 5}, "decoding.num_beam_groups (5) needs decoding.diversity_penalty above 0"),
        ({"diversity_penalty": 0.5}, "decoding.diversity_penalty=0.5 has no effect with decoding.num_beam_groups=1"),
    ],
)
def test_settings_that_are_refused(changes, sentence):
    (problem,) = DecodingConfig(**changes).problems()
    assert problem.startswith(sentence)

import collections
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.decoding import sample_search
from seq2seq.decoding.sample import drawer, uniform_numbers


def run(toys, model, **arguments):
    return sample_search(model, model.start(), model.prompt(), eos_id=toys.EOS, max_length=5, **arguments)


def shares(toys, logits, count=4000, **arguments):
    """How often each token is drawn first."""
    model = toys.Markov(torch.tensor(logits, dtype=torch.float64).expand(count, 1, len(logits), -1))
    result = sample_search(model, model.start(), model.prompt(), eos_id=toys.EOS, max_length=1, **arguments)
    drawn = collections.Counter(h.tokens[0] if h.tokens else toys.EOS for [h] in result.hypotheses)
    return [drawn[token] / count for token in range(len(logits))]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (dict(), [0.1, 0.2, 0.3, 0.4]),
        (dict(temperature=0.5), [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
        (dict(top_k=2), [0, 0, 3 / 7, 4 / 7]),
        (dict(top_p=0.8), [0, 2 / 9, 3 / 9, 4 / 9]),
        (dict(top_p=0.3), [0, 0, 0, 1]),
        (dict(forbidden_ids=(3,)), [1 / 6, 2 / 6, 3 / 6, 0]),
        (dict(min_length=1), [0, 2 / 9, 3 / 9, 4 / 9]),
    ],
)
def test_tokens_are_drawn_by_their_probability(toys, settings, expected):
    logits = [math.log(p) for p in (0.1, 0.2, 0.3, 0.4)]
    # Three standard deviations of 4,000 draws are below 0.025; the seed is fixed.
    assert shares(toys, logits, seed=11, **settings) == pytest.approx(expected, abs=0.025)


@given(seed=st.integers(0, 2**40), line=st.integers(0, 10**9), sentences=st.integers(1, 5), n_best=st.integers(1, 3))
def test_neighbours_change_nothing(toys, seed, line, sentences, n_best):
    model = toys.Markov.random(seed % 1000, sentences=sentences)
    settings = dict(seed=seed, n_best=n_best, top_p=0.9)
    together = run(toys, model, row_seeds=range(line, line + sentences), **settings)
    for sentence in range(sentences):
        alone = run(toys, model.only(sentence), row_seeds=[line + sentence], **settings)
        assert alone.hypotheses == [together.hypotheses[sentence]]
        assert alone.margins == [together.margins[sentence]]


def test_same_seed_same_text_other_seed_other_text(toys):
    model = toys.Markov.random(5, sentences=20)
    assert run(toys, model, seed=1) == run(toys, model, seed=1)
    assert run(toys, model, seed=1) != run(toys, model, seed=2)


def test_rows_and_draws_have_chances_of_their_own(toys):
    same = toys.Markov(toys.Markov.random(5).logits.repeat(20, 1, 1, 1))
    result = run(toys, same, n_best=5)
    assert len({h.tokens for hypotheses in result.hypotheses for h in hypotheses}) > 20
    numbers = uniform_numbers(range(50), seed=0, draws=2, limits=[40] * 50)
    assert len(numbers.unique()) == numbers.numel()
    assert numbers.min() > 0 and numbers.max() < 1


def test_a_longer_neighbour_does_not_shift_chance():
    short = uniform_numbers([7], seed=3, draws=1, limits=[4])
    beside = uniform_numbers([7, 8], seed=3, draws=1, limits=[4, 9])
    assert torch.equal(beside[0, :4], short[0])


def test_several_draws_come_best_first(toys):
    model = toys.Markov.random(5, sentences=6)
    for hypotheses in run(toys, model, n_best=4).hypotheses:
        assert len(hypotheses) == 4
        assert all(a.score >= b.score for a, b in zip(hypotheses, hypotheses[1:], strict=False))


def test_log_prob_is_the_models_own(toys):
    model = toys.Markov.random(8)
    [[h]] = run(toys, model, temperature=0.7, top_k=2).hypotheses
    tokens = (*h.tokens, toys.EOS) if h.finished else h.tokens
    assert h.log_prob == pytest.approx(sum(model.log_prob(0, tokens[:at])[t] for at, t in enumerate(tokens)))
    assert h.score == pytest.approx(h.log_prob / len(tokens))


@pytest.mark.parametrize("chance", [2.0**-54, 1 - 2.0**-53])
def test_the_ends_of_chance_hit_possible_tokens(chance):
    logits = torch.full((1, 9), -math.inf)
    logits[0, [3, 5, 6]] = torch.tensor([0.0, -1.0, -2.0])
    tokens, margin = drawer(torch.tensor([[chance]], dtype=torch.float64))(logits, torch.tensor([0]), 0)
    assert tokens.tolist() == [3 if chance < 0.5 else 6]
    assert margin > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(n_best=0), "n_best"),
        (dict(temperature=0.0), "temperature"),
        (dict(top_k=-1), "top_k"),
        (dict(top_p=0.0), "top_p"),
        (dict(seed=-1), "seed"),
        (dict(row_seeds=[-1]), "row_seeds"),
        (dict(row_seeds=[1, 2]), "2 numbers for 1 rows"),
    ],
)
def test_refuses_what_cannot_be(toys, settings, message):
    with pytest.raises(ValueError, match=message):
        run(toys, toys.Markov.random(0), **settings)

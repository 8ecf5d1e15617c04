"""A result with a wide margin is the same whatever small noise (say, rounding) the model's neighbours bring."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import DecodingConfig, LengthNormalisation, Search
from seq2seq.decoding import search

STEPS = 5
CONFIGS = {
    "greedy": DecodingConfig(search=Search.greedy),
    "beam": DecodingConfig(beam_size=3),
    "beam, all of it": DecodingConfig(beam_size=3, n_best=3, length_normalisation=LengthNormalisation.gnmt),
    "beam, unnormalised": DecodingConfig(beam_size=2, n_best=2, length_normalisation=LengthNormalisation.none),
    "sample": DecodingConfig(search=Search.sample),
    "sample some": DecodingConfig(search=Search.sample, temperature=1.5, top_k=4, top_p=0.8, n_best=2),
}


def tokens(result):
    return [[(h.tokens, h.finished) for h in hypotheses] for hypotheses in result.hypotheses]


@pytest.mark.parametrize("kind", CONFIGS)
@given(seed=st.integers(0, 10**6), noise=st.sampled_from([1e-6, 1e-3, 0.02, 0.1]))
def test_a_wide_margin_means_the_same_output(toys, kind, seed, noise):
    model = toys.Markov.random(seed, sentences=8, positions=STEPS, vocab=6)

    def run(model):
        return search(
            model, model.start(), model.prompt(), config=CONFIGS[kind], eos_id=toys.EOS, max_length=STEPS, seed=seed
        )

    calm, shaken = run(model), run(model.noisy(noise, seed))
    sure = [margin > 4 * noise * STEPS for margin in calm.margins]
    for same, before, after in zip(sure, tokens(calm), tokens(shaken), strict=True):
        assert before == after or not same
    if noise <= 1e-3:
        assert any(sure)  # the law must not hold for want of cases


@pytest.mark.parametrize("kind", CONFIGS)
def test_margins_are_as_wide_as_the_decisions(toys, kind):
    """Not uselessly small: noise of a few margins does change outputs."""
    changed = 0
    for seed in range(30):
        model = toys.Markov.random(seed, sentences=4, positions=STEPS, vocab=6)

        def run(model, seed=seed):
            return search(
                model, model.start(), model.prompt(), config=CONFIGS[kind], eos_id=toys.EOS, max_length=STEPS, seed=seed
            )

        calm = run(model)
        assert all(margin > 0 for margin in calm.margins)
        shaken = run(model.noisy(4 * sorted(calm.margins)[2], seed))
        changed += sum(a != b for a, b in zip(tokens(calm), tokens(shaken), strict=True))
    assert changed > 10


def test_greedy_margin_is_the_narrowest_lead(toys):
    logits = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    logits[:, 0, :, 2], logits[:, 1, :, 3], logits[:, 2, :, toys.EOS] = 0.7, 0.25, 2.0
    model = toys.Markov(logits)
    result = search(model, model.start(), model.prompt(), config=CONFIGS["greedy"], eos_id=toys.EOS, max_length=3)
    assert result.hypotheses[0][0].tokens == (2, 3)
    assert result.margins == [pytest.approx(0.25)]


def test_nothing_to_decide_is_an_infinite_margin(toys):
    logits = torch.full((1, 3, 4, 4), -math.inf, dtype=torch.float64)
    logits[:, 0, :, 2] = logits[:, 1, :, 3] = logits[:, 2, :, toys.EOS] = 0.0
    for kind, config in CONFIGS.items():
        model = toys.Markov(logits)
        result = search(model, model.start(), model.prompt(), config=config, eos_id=toys.EOS, max_length=3)
        assert (result.hypotheses[0][0].tokens, result.margins) == ((2, 3), [math.inf]), kind

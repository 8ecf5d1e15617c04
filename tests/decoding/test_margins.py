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
    "beam of two": DecodingConfig(beam_size=2),
    "beam, all of it": DecodingConfig(beam_size=3, n_best=3, length_normalisation=LengthNormalisation.gnmt),
    "beam, unnormalised": DecodingConfig(beam_size=2, n_best=2, length_normalisation=LengthNormalisation.none),
    "sample": DecodingConfig(search=Search.sample),
    "sample some": DecodingConfig(search=Search.sample, temperature=1.5, top_k=4, top_p=0.8, n_best=2),
    "sample above min_p": DecodingConfig(search=Search.sample, min_p=0.3),
    "sample above epsilon": DecodingConfig(search=Search.sample, temperature=1.3, top_p=0.9, epsilon_cutoff=0.12),
    "beam, reward": DecodingConfig(beam_size=3, length_normalisation=LengthNormalisation.reward, length_penalty=0.7),
    "diverse": DecodingConfig(beam_size=4, n_best=2, num_beam_groups=2, diversity_penalty=0.9),
    "diverse, to the end": DecodingConfig(beam_size=3, num_beam_groups=3, diversity_penalty=0.4, patience=0),
    "greedy, repetition": DecodingConfig(search=Search.greedy, repetition_penalty=1.8, no_repeat_ngram_size=2),
    "beam, repetition": DecodingConfig(beam_size=3, n_best=2, repetition_penalty=1.8, no_repeat_ngram_size=2),
    "sample, repetition": DecodingConfig(search=Search.sample, n_best=2, repetition_penalty=1.8),
}


def tokens(result):
    return [[(h.tokens, h.finished) for h in hypotheses] for hypotheses in result.hypotheses]


def run(toys, model, kind, seed=0, max_length=STEPS):
    return search(
        model,
        model.start(),
        model.prompt(),
        config=CONFIGS[kind],
        eos_id=toys.EOS,
        max_length=max_length,
        seed=seed,
    )


@pytest.mark.parametrize("kind", CONFIGS)
@given(seed=st.integers(0, 10**6), noise=st.sampled_from([1e-5, 0.003, 0.02, 0.1]), at=st.integers(0, STEPS - 1))
def test_a_wide_margin_means_the_same_output(toys, kind, seed, noise, at):
    model = toys.Markov.random(seed, sentences=40, positions=STEPS, vocab=6)
    # At one step only: there the bound is nearly reached; over many steps most noise cancels and hides mistakes.
    signs = torch.randint(0, 2, model.logits[:, at].shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    shaken = toys.Markov(model.logits.clone())
    shaken.logits[:, at] += signs * noise

    calm = run(toys, model, kind, seed)
    sure = [margin > 4 * noise for margin in calm.margins]
    before, after = tokens(calm), tokens(run(toys, shaken, kind, seed))
    assert all(a == b for a, b, same in zip(before, after, sure, strict=True) if same)
    if noise <= 0.003:
        assert any(sure)  # the law must not hold for want of cases


@pytest.mark.parametrize("kind", CONFIGS)
@given(seed=st.integers(0, 10**6), noise=st.sampled_from([1e-3, 0.02]))
def test_noise_at_every_step_adds_up(toys, kind, seed, noise):
    model = toys.Markov.random(seed, sentences=20, positions=STEPS, vocab=6)
    calm, shaken = run(toys, model, kind, seed), run(toys, model.noisy(noise, seed), kind, seed)
    for margin, before, after in zip(calm.margins, tokens(calm), tokens(shaken), strict=True):
        assert before == after or margin <= 4 * noise * STEPS


@pytest.mark.parametrize("kind", CONFIGS)
def test_margins_are_as_wide_as_the_decisions(toys, kind):
    """Not uselessly small: noise of a few margins does change outputs."""
    changed = 0
    for seed in range(30):
        model = toys.Markov.random(seed, sentences=4, positions=STEPS, vocab=6)
        calm = run(toys, model, kind, seed)
        assert all(margin > 0 for margin in calm.margins)
        shaken = run(toys, model.noisy(4 * sorted(calm.margins)[2], seed), kind, seed)
        changed += sum(a != b for a, b in zip(tokens(calm), tokens(shaken), strict=True))
    assert changed > 10


def test_stopping_is_a_decision(toys):
    logits = torch.full((1, 2, 5, 5), -math.inf, dtype=torch.float64)
    logits[:, 0, :, [toys.EOS, 2, 3, 4]] = torch.tensor([0.5, 0.24, 0.16, 0.1], dtype=torch.float64).log()
    logits[:, 1, :, 2] = 0.0
    model = toys.Markov(logits)
    result = run(toys, model, "beam of two", max_length=2)
    assert (result.hypotheses[0][0].tokens, len(model.rows)) == ((), 1)
    # Sure to go on as it does, the second token would make a mean of log(0.24) / 2, just below log(0.5).
    assert result.margins == [pytest.approx(math.log(0.5) - math.log(0.24) / 2)]


def test_greedy_margin_is_the_narrowest_lead(toys):
    logits = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    logits[:, 0, :, 2], logits[:, 1, :, 3], logits[:, 2, :, toys.EOS] = 0.7, 0.25, 2.0
    model = toys.Markov(logits)
    result = run(toys, model, "greedy", max_length=3)
    assert result.hypotheses[0][0].tokens == (2, 3)
    assert result.margins == [pytest.approx(0.25)]


def test_nothing_to_decide_is_an_infinite_margin(toys):
    logits = torch.full((1, 3, 4, 4), -math.inf, dtype=torch.float64)
    logits[:, 0, :, 2] = logits[:, 1, :, 3] = logits[:, 2, :, toys.EOS] = 0.0
    for kind in CONFIGS:
        result = run(toys, toys.Markov(logits), kind, max_length=3)
        assert (result.hypotheses[0][0].tokens, result.margins) == ((2, 3), [math.inf]), kind

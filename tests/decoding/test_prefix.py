"""Searches within prefixes against every output there is."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import DecodingConfig, LengthNormalisation, Search
from seq2seq.decoding import search
from seq2seq.decoding.length_penalty import PENALTIES
from seq2seq.decoding.prefix import Prefixed, Struck

SURFACES = [b"", b"", b"a", b"b", b"ab", b"ba"]  # of the end token, padding and four more
GROWTH = [len(surface) for surface in SURFACES]
STEPS = 4
CONFIGS = {
    "greedy": DecodingConfig(search=Search.greedy),
    "beam": DecodingConfig(beam_size=3, n_best=2, length_normalisation=LengthNormalisation.gnmt),
    "sample": DecodingConfig(search=Search.sample, n_best=2, top_p=0.9),
}


PREFIXES = [((), b""), ((3,), b""), ((), b"ab"), ((5,), b"ba"), ((2,), b"a"), ((1,), b"b")]


@pytest.fixture(scope="session")
def prefixes(toys: Any) -> list[Any]:
    return [toys.Prefix(tokens, word, SURFACES) for tokens, word in PREFIXES]


def run(toys: Any, model: Any, prefixes: list[Any], config: DecodingConfig, *, rules: Any = ()) -> Any:
    prefixed = Prefixed(model, prefixes, GROWTH)
    return search(
        prefixed.model,
        model.start(),
        model.prompt(),
        config=config,
        eos_id=toys.EOS,
        max_length=STEPS,
        rules=[Struck([toys.PAD], torch.device("cpu")), *rules, prefixed],
    )


@settings(max_examples=4)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(LengthNormalisation))
def test_a_beam_as_wide_as_the_space_finds_the_best_of_all_that_begin_so(toys, prefixes, seed, kind):
    model = toys.Markov.random(seed, sentences=len(PREFIXES), positions=STEPS, vocab=len(SURFACES))
    config = DecodingConfig(beam_size=130, n_best=3, length_normalisation=kind, length_penalty=1.0, patience=0.0)
    result = run(toys, model, prefixes, config)
    for sentence, prefix in enumerate(prefixes):
        every = toys.exhaustive(
            model, sentence, max_length=STEPS, vocab=len(SURFACES), penalty=lambda length: PENALTIES[kind](length, 1.0)
        )
        if kind is LengthNormalisation.reward:
            every = [(tokens, log_prob + len(tokens) + ended, log_prob, ended) for tokens, _, log_prob, ended in every]
            every.sort(key=lambda found: -found[1])
        best = [found for found in every if prefix.begins(found[0]) and toys.PAD not in found[0][len(prefix.tokens) :]]
        found = [(h.tokens, h.score, h.log_prob, h.finished) for h in result.hypotheses[sentence]]
        assert [f[0] for f in found] == [b[0] for b in best[:3]]
        for ours, theirs in zip(found, best[:3], strict=True):
            assert ours[1:3] == pytest.approx(theirs[1:3])
            assert ours[3] == theirs[3]


@pytest.mark.parametrize("kind", CONFIGS)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(len(PREFIXES))))
@settings(max_examples=15)
def test_neighbours_change_nothing(toys, prefixes, kind, seed, order):
    model = toys.Markov.random(seed, sentences=len(PREFIXES), positions=STEPS, vocab=len(SURFACES))
    if kind == "sample":
        order = range(len(PREFIXES))
    together = run(toys, toys.Markov(model.logits[list(order)]), [prefixes[row] for row in order], CONFIGS[kind])
    for place, row in enumerate(order):
        if kind == "sample" and row:
            continue  # another row has another chance
        alone = run(toys, model.only(row), [prefixes[row]], CONFIGS[kind])
        assert together.hypotheses[place] == alone.hypotheses[0]
        assert together.margins[place] == pytest.approx(alone.margins[0])
        assert all(prefixes[row].begins(h.tokens) for h in together.hypotheses[place])


@pytest.mark.parametrize("kind", CONFIGS)
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), noise=st.sampled_from([1e-3, 0.02]))
def test_a_wide_margin_means_the_same_output(toys, prefixes, kind, seed, noise):
    model = toys.Markov.random(seed, sentences=24, positions=STEPS, vocab=len(SURFACES))
    calm, shaken = (run(toys, m, prefixes * 4, CONFIGS[kind]) for m in (model, model.noisy(noise, seed)))
    for margin, before, after in zip(calm.margins, calm.hypotheses, shaken.hypotheses, strict=True):
        same = [h.tokens for h in before] == [h.tokens for h in after]
        assert same or margin <= 4 * noise * STEPS


def test_what_the_search_strikes_out_changes_no_number_of_the_prefix(toys):
    model = toys.Markov.random(5, sentences=1, positions=STEPS, vocab=len(SURFACES))
    model.logits[..., toys.EOS] += 3
    [[found]] = run(
        toys, model, [toys.Prefix((3, 2), b"b", SURFACES)], DecodingConfig(beam_size=3, min_length=3)
    ).hypotheses
    tokens = (*found.tokens, toys.EOS) if found.finished else found.tokens
    own = sum(model.log_prob(0, tokens[:at])[token] for at, token in enumerate(tokens))
    assert found.log_prob == pytest.approx(own)


def test_the_prefix_comes_before_every_other_rule(toys):
    model = toys.Markov.random(3, sentences=2, positions=STEPS, vocab=len(SURFACES))
    prefixes = [toys.Prefix((3,), b"ab", SURFACES), toys.Prefix((), b"b", SURFACES)]
    found = run(toys, model, prefixes, DecodingConfig(beam_size=3), rules=[Struck([2, 3, 5], torch.device("cpu"))])
    for sentence, ([best], prefix) in enumerate(zip(found.hypotheses, prefixes, strict=True)):
        assert prefix.begins(best.tokens)
        assert not {2, 3, 5} & set(best.tokens[3:])
        tokens = (*best.tokens, toys.EOS) if best.finished else best.tokens
        own = sum(model.log_prob(sentence, tokens[:at])[token] for at, token in enumerate(tokens))
        assert best.log_prob == pytest.approx(own)
    assert 5 not in found.hypotheses[1][0].tokens  # reaches beyond the prefix, so it may be struck out

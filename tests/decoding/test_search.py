"""The table of searches, what `search` makes of a configuration, and `generate`."""

import pytest
import torch

from seq2seq.config import DecodingConfig, LengthNormalisation, Search
from seq2seq.decoding import SEARCHES, beam_search, generate, greedy_search, sample_search, search

CHANGED = DecodingConfig(
    beam_size=4,
    patience=0.25,
    num_beam_groups=4,
    diversity_penalty=0.7,
    length_penalty=0.5,
    length_normalisation=LengthNormalisation.gnmt,
    n_best=2,
    min_length=1,
    temperature=1.3,
    top_k=4,
    top_p=0.9,
    min_p=0.2,
    epsilon_cutoff=0.15,
)


def config(kind, **changes):
    settings = {name: getattr(CHANGED, name) for name in SEARCHES[kind][1]}
    common = ("min_length", "length_penalty", "length_normalisation")
    return DecodingConfig(search=kind, **settings, **{name: getattr(CHANGED, name) for name in common}, **changes)


def test_the_table_has_every_search():
    assert set(SEARCHES) == set(Search)


@pytest.mark.parametrize("kind", Search)
def test_search_runs_what_is_configured(toys, kind):
    model = toys.Markov.random(2, sentences=6, vocab=7)
    direct = {
        Search.greedy: lambda **common: greedy_search(model, model.start(), model.prompt(), **common),
        Search.beam: lambda **common: beam_search(
            model,
            model.start(),
            model.prompt(),
            beam_size=4,
            n_best=2,
            patience=0.25,
            num_beam_groups=4,
            diversity_penalty=0.7,
            **common,
        ),
        Search.sample: lambda **common: sample_search(
            model,
            model.start(),
            model.prompt(),
            n_best=2,
            temperature=1.3,
            top_k=4,
            top_p=0.9,
            min_p=0.2,
            epsilon_cutoff=0.15,
            seed=5,
            row_seeds=range(10, 16),
            **common,
        ),
    }[kind]
    common = dict(eos_id=toys.EOS, forbidden_ids=(toys.PAD,), max_length=[5, 4, 3, 2, 1, 5])
    found = search(model, model.start(), model.prompt(), config=config(kind), seed=5, row_seeds=range(10, 16), **common)
    assert found == direct(min_length=1, length_penalty=0.5, length_normalisation=LengthNormalisation.gnmt, **common)


@pytest.mark.parametrize("kind", Search)
def test_no_setting_is_ignored(toys, kind):
    def run(**changes):
        settings = {"n_best": 1, **changes}
        model = toys.Markov.random(4, sentences=30, vocab=7)
        decoding = DecodingConfig(search=kind, beam_size=8, num_beam_groups=2, diversity_penalty=0.3)
        for name, value in settings.items():
            setattr(decoding, name, value)
        return search(model, model.start(), model.prompt(), config=decoding, eos_id=toys.EOS, max_length=5)

    default = run()
    own = {name: getattr(CHANGED, name) for name in SEARCHES[kind][1]}
    rules = {"no_repeat_ngram_size": 1, "repetition_penalty": 2.0}
    for name, value in {**own, **rules, "min_length": 3, "length_penalty": 0.0, "length_normalisation": "gnmt"}.items():
        assert run(**{name: value}) != default, name


@pytest.mark.parametrize("kind", Search)
@pytest.mark.parametrize("sentence", range(5))
def test_generate_writes_what_search_finds(toys, kind, sentence):
    model = toys.Markov.random(3, sentences=5, vocab=7).only(sentence)
    settings = config(kind, repetition_penalty=1.5)
    settings.n_best = 1
    arguments = dict(config=settings, eos_id=toys.EOS, forbidden_ids=(toys.PAD,), max_length=5, seed=9, past=[3, 4])
    found = search(model, model.start(), model.prompt(), **arguments)
    written = list(generate(model, model.start(), model.prompt(), **arguments))
    assert tuple(written) == found.hypotheses[0][0].tokens


@pytest.mark.parametrize("kind", [Search.greedy, Search.sample])
def test_generate_yields_tokens_as_they_are_made(toys, kind):
    model = toys.Markov.random(3, vocab=7)
    settings = DecodingConfig(search=kind, min_length=3)
    tokens = generate(model, model.start(), model.prompt(), config=settings, eos_id=toys.EOS, max_length=5)
    next(tokens)
    assert len(model.rows) == 1
    next(tokens)
    assert len(model.rows) == 2


def test_generate_takes_one_row(toys):
    model = toys.Markov.random(3, sentences=2)
    with pytest.raises(ValueError, match="2 rows"):
        next(generate(model, model.start(), model.prompt(), config=CHANGED, eos_id=toys.EOS, max_length=5))


def test_gradients_are_off_only_inside(toys):
    model = toys.Markov.random(3)
    tokens = generate(
        model, model.start(), model.prompt(), config=DecodingConfig(search=Search.greedy), eos_id=0, max_length=5
    )
    next(tokens, None)
    assert torch.is_grad_enabled()

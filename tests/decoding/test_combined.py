"""Several models decoded as one: equal to forming every probability anew from whole texts, in float64."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seq2seq.config import DecodingConfig, LengthNormalisation, ModelConfig, Positions, Search, Task
from seq2seq.decoding import beam_search, generate, search
from seq2seq.decoding.length_penalty import PENALTIES
from seq2seq.evaluation.token_log_probs import token_log_probs
from seq2seq.model.build import build_model
from seq2seq.model.combined import CombinedState, Ensemble, Fused, next_log_probs

VOCAB, LONGEST, BEGIN_LM = 5, 4, 3
SOURCES = torch.tensor([[2, 3, 4, 2], [4, 4, 3, 1], [3, 2, 2, 2]])
MASK = torch.tensor([[True, True, True, True], [True, True, False, False], [True, True, True, False]])


@functools.cache
def network(number, task=Task.translation):
    """A model of a shape of its own, with logits far from uniform."""
    torch.manual_seed(number)
    layers = 0 if task is Task.language_modelling else 1 + number % 2
    positions = [Positions.rotary, Positions.sinusoidal, Positions.alibi][number % 3]
    config = ModelConfig(
        encoder_layers=layers, decoder_layers=1 + number % 2, dim=8 + 4 * (number % 2), num_heads=2,
        feed_forward_dim=16, positions=positions,
    )  # fmt: skip
    model = build_model(config, task=task, source_vocab_size=VOCAB, target_vocab_size=VOCAB).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 2.5
    return model


def probs(model, prefix, *, begin, sentence=None):
    """Of the next token, by reading the whole text again; the source of a sentence without any padding."""
    read = torch.tensor([[begin, *prefix]])
    with torch.no_grad():
        logits = model(read) if sentence is None else model(SOURCES[sentence][MASK[sentence]][None], read)
    return logits[0, -1].softmax(dim=0).tolist()


class Slow:
    """What a combination says, from its definition."""

    def __init__(self, toys, kind):
        self.toys, self.kind = toys, kind

    @functools.cache  # noqa: B019 - lives as long as its test
    def log_prob(self, sentence, prefix):
        one, two = (probs(network(number), prefix, begin=self.toys.PAD, sentence=sentence) for number in (1, 2))
        lm = probs(network(3, Task.language_modelling), prefix, begin=BEGIN_LM)
        match self.kind:
            case "log_probs":
                return [(math.log(a) + math.log(b)) / 2 for a, b in zip(one, two, strict=True)]
            case "weighted log_probs":
                return [0.75 * math.log(a) + 0.25 * math.log(b) for a, b in zip(one, two, strict=True)]
            case "probs":
                return [math.log((a + b) / 2) for a, b in zip(one, two, strict=True)]
            case "weighted probs":
                return [math.log(0.75 * a + 0.25 * b) for a, b in zip(one, two, strict=True)]
            case "fused":
                return [math.log(a) + 0.6 * math.log(c) for a, c in zip(one, lm, strict=True)]
            case "fused ensemble":
                return [math.log((a + b) / 2) + 2 * math.log(c) for a, b, c in zip(one, two, lm, strict=True)]

    def total(self, sentence, tokens):
        return math.fsum(self.log_prob(sentence, tokens[:at])[token] for at, token in enumerate(tokens))


KINDS = ["log_probs", "weighted log_probs", "probs", "weighted probs", "fused", "fused ensemble"]


def combined(kind, wrap=lambda model: model):
    one, two, lm = (wrap(network(1)), wrap(network(2)), wrap(network(3, Task.language_modelling)))
    return {
        "log_probs": lambda: Ensemble([one, two]),
        "weighted log_probs": lambda: Ensemble([one, two], weights=[3, 1]),
        "probs": lambda: Ensemble([one, two], of_probs=True),
        "weighted probs": lambda: Ensemble([one, two], weights=[3, 1], of_probs=True),
        "fused": lambda: Fused(one, lm, weight=0.6, begin_id=BEGIN_LM),
        "fused ensemble": lambda: Fused(Ensemble([one, two], of_probs=True), lm, weight=2, begin_id=BEGIN_LM),
    }[kind]()


def run(toys, model, config, *, rows=(0, 1, 2), max_length=LONGEST, seed=0):
    rows = list(rows)
    state = model.start(SOURCES[rows], source_mask=MASK[rows])
    prompt = torch.full((len(rows), 1), toys.PAD)
    return search(
        model, state, prompt, config=config, eos_id=toys.EOS, max_length=max_length, row_seeds=rows, seed=seed
    )


def found(hypothesis):
    return hypothesis.tokens, hypothesis.score, hypothesis.log_prob, hypothesis.finished


def assert_found(hypotheses, expected):
    assert len(hypotheses) == len(expected)
    for ours, theirs in zip(map(found, hypotheses), expected, strict=True):
        assert (ours[0], ours[3]) == (theirs[0], theirs[3])
        assert ours[1:3] == pytest.approx(theirs[1:3], abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_and_beam_equal_the_slow_search(toys, kind):
    model, slow = combined(kind), Slow(toys, kind)
    for beam_size in (1, 2, 3):
        search_config = DecodingConfig(beam_size=beam_size, n_best=beam_size, patience=0.0)
        penalty = functools.partial(PENALTIES[LengthNormalisation.average], alpha=1.0)
        for sentence, hypotheses in enumerate(run(toys, model, search_config).hypotheses):
            expected = toys.slow_beam(slow, sentence, beam_size=beam_size, max_length=LONGEST, penalty=penalty)
            assert_found(hypotheses, expected[:beam_size])


@pytest.mark.parametrize("kind", KINDS)
def test_a_beam_as_wide_as_the_search_space_finds_the_best_of_all(toys, kind):
    slow = Slow(toys, kind)
    penalty = functools.partial(PENALTIES[LengthNormalisation.gnmt], alpha=0.7)
    model = combined(kind)
    result = beam_search(
        model,
        model.start(SOURCES, source_mask=MASK),
        torch.full((3, 1), toys.PAD),
        eos_id=toys.EOS,
        max_length=LONGEST,
        length_normalisation=LengthNormalisation.gnmt,
        length_penalty=0.7,
        beam_size=(VOCAB - 1) ** LONGEST,
        n_best=6,
    )
    for sentence, hypotheses in enumerate(result.hypotheses):
        expected = toys.exhaustive(slow, sentence, max_length=LONGEST, penalty=penalty, vocab=VOCAB)
        assert_found(hypotheses, expected[:6])


class Anew:
    """A Decodable that remembers nothing but tokens: logits of the slow sums, which sampling normalises."""

    def __init__(self, slow, toys):
        self.slow, self.toys = slow, toys

    def start(self, sentences):
        state = CombinedState([])
        state.texts = [(sentence, ()) for sentence in sentences]
        state.select = lambda rows: setattr(state, "texts", [state.texts[row] for row in rows.tolist()])
        return state

    def step(self, tokens, state):
        last = tokens[:, -1].tolist()
        if tokens[0, -1] == self.toys.PAD and not state.texts[0][1] and state.length == 0:
            state.length = 1
        else:
            state.texts = [
                (sentence, (*text, token)) for (sentence, text), token in zip(state.texts, last, strict=True)
            ]
        return torch.tensor([self.slow.log_prob(*text) for text in state.texts], dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_draws_by_the_slow_probabilities(toys, kind):
    slow, model = Slow(toys, kind), combined(kind)
    for config in (
        DecodingConfig(search=Search.sample, n_best=3),
        DecodingConfig(search=Search.sample, temperature=0.8, top_k=4, top_p=0.9),
    ):
        drawn = run(toys, model, config, seed=7).hypotheses
        anew = Anew(slow, toys)
        prompt = torch.full((3, 1), toys.PAD)
        expected = search(
            anew, anew.start([0, 1, 2]), prompt, config=config, eos_id=toys.EOS, max_length=LONGEST,
            row_seeds=[0, 1, 2], seed=7,
        ).hypotheses  # fmt: skip
        for sentence, (ours, theirs) in enumerate(zip(drawn, expected, strict=True)):
            assert {h.tokens for h in ours} == {h.tokens for h in theirs}
            for hypothesis in ours:
                tokens = (*hypothesis.tokens, *([toys.EOS] if hypothesis.finished else []))
                assert hypothesis.log_prob == pytest.approx(slow.total(sentence, tokens), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_forced_scores_are_the_search_scores(toys, kind):
    model, slow = combined(kind), Slow(toys, kind)
    for sentence, (best, *_) in enumerate(run(toys, model, DecodingConfig(beam_size=3)).hypotheses):
        tokens = [*best.tokens, *([toys.EOS] if best.finished else [])]
        with torch.no_grad():
            forced = token_log_probs(
                model,
                torch.tensor([[toys.PAD, *tokens[:-1]]]),
                torch.tensor([tokens]),
                source=SOURCES[[sentence]],
                source_mask=MASK[[sentence]],
            )
        assert float(forced.sum()) == pytest.approx(best.log_prob, abs=1e-12)
        assert float(forced.sum()) == pytest.approx(slow.total(sentence, tuple(tokens)), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_does_not_depend_on_its_batch(toys, kind):
    model = combined(kind)
    for config in (DecodingConfig(search=Search.greedy), DecodingConfig(beam_size=3, n_best=2)):
        together = run(toys, model, config, max_length=9)
        for row in range(3):
            alone = run(toys, model, config, rows=[row], max_length=9)
            assert_found(alone.hypotheses[0], [found(hypothesis) for hypothesis in together.hypotheses[row]])
            assert alone.margins[0] == pytest.approx(together.margins[row], abs=1e-9)


class Shaken(nn.Module):
    """A model with every logit off by up to `noise`."""

    def __init__(self, model, noise, seed):
        super().__init__()
        self.model, self.noise = model, noise
        self.generator = torch.Generator().manual_seed(seed)

    def start(self, *inputs, **named):
        return self.model.start(*inputs, **named)

    def step(self, tokens, state):
        logits = self.model.step(tokens, state)
        signs = torch.randint(0, 2, logits.shape, generator=self.generator) * 2 - 1
        return logits + signs * self.noise


@pytest.mark.parametrize("kind", ["log_probs", "probs", "fused", "fused ensemble"])
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), noise=st.sampled_from([1e-4, 0.003, 0.03]))
def test_a_wide_margin_means_the_same_output(toys, kind, seed, noise):
    sure = 0
    for config in (
        DecodingConfig(search=Search.greedy),
        DecodingConfig(beam_size=2),
        DecodingConfig(search=Search.sample, top_p=0.9),
    ):
        calm = run(toys, combined(kind), config, seed=seed)
        shaken = run(toys, combined(kind, lambda model: Shaken(model, noise, seed)), config, seed=seed)
        for before, after, margin in zip(calm.hypotheses, shaken.hypotheses, calm.margins, strict=True):
            if margin > 4 * noise * LONGEST:
                sure += 1
                assert (before[0].tokens, before[0].finished) == (after[0].tokens, after[0].finished)
    assert sure or noise > 1e-4  # the law must not hold for want of cases


def test_margins_shrink_by_what_a_weight_adds(toys):
    one, lm = network(1), network(3, Task.language_modelling)
    model = Fused(Ensemble([one, network(2)]), lm, weight=3, begin_id=BEGIN_LM)
    assert model.sensitivity == 4
    state = model.start(SOURCES, source_mask=MASK)
    bare = beam_search(model, state, torch.full((3, 1), toys.PAD), eos_id=toys.EOS, max_length=LONGEST, patience=1.0)
    judged = run(toys, model, DecodingConfig())
    assert judged.margins == pytest.approx([margin / 4 for margin in bare.margins])


@settings(max_examples=20)
@given(weights=st.lists(st.floats(0.01, 10), min_size=2, max_size=2), of_probs=st.booleans(), rows=st.integers(1, 4))
def test_members_may_come_in_any_order_and_say_at_most_all(weights, of_probs, rows):
    tokens, source = torch.randint(0, VOCAB, (rows, 3)), torch.randint(2, VOCAB, (rows, 5))
    models = [network(1), network(2)]
    there = Ensemble(models, weights=weights, of_probs=of_probs)
    back = Ensemble(models[::-1], weights=weights[::-1], of_probs=of_probs)
    ours, theirs = (next_log_probs(model, tokens, model.start(source)) for model in (there, back))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert (ours.logsumexp(dim=1) <= 1e-12).all()
    if of_probs:
        torch.testing.assert_close(ours.logsumexp(dim=1), torch.zeros(rows, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("of_probs", [False, True])
def test_a_model_beside_itself_says_what_it_says(toys, of_probs):
    model, config = network(2), DecodingConfig(beam_size=3, n_best=3)
    alone = run(toys, model, config)
    twice = run(toys, Ensemble([model, model], of_probs=of_probs), config)
    for ours, theirs in zip(twice.hypotheses, alone.hypotheses, strict=True):
        assert_found(ours, [found(hypothesis) for hypothesis in theirs])
        if not of_probs:
            assert list(map(found, ours)) == list(map(found, theirs))  # to the last bit


def test_an_ensemble_of_language_models_writes(toys):
    one, two = (network(number, Task.language_modelling) for number in (3, 4))
    model = Ensemble([one, two])

    def written(prefix):
        tokens = []
        while len(tokens) < 8:
            a, b = (probs(member, tokens, begin=prefix) for member in (one, two))
            tokens.append(max(range(VOCAB), key=lambda token: a[token] * b[token] if token != toys.EOS else -1))
        return tokens

    config = DecodingConfig(search=Search.greedy)
    new = generate(
        model,
        model.start(1),
        torch.tensor([[2]]),
        config=config,
        eos_id=toys.EOS,
        forbidden_ids=[toys.EOS],
        max_length=8,
    )
    assert list(new) == written(2)


def test_half_precision_members_are_added_up_in_float32():
    models = [torch.nn.Module() for _ in range(2)]
    for model in models:
        model.step = lambda tokens, state: torch.randn(2, VOCAB, dtype=torch.bfloat16)
    for of_probs in (False, True):
        state = CombinedState([None, None])
        assert Ensemble(models, of_probs=of_probs).step(torch.zeros(2, 1), state).dtype == torch.float32


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf]])
def test_weights_that_are_none(weights):
    with pytest.raises(ValueError, match="weights"):
        Ensemble([network(1), network(2)], weights=weights)


@pytest.mark.parametrize("weight", [0.0, -0.1, math.inf, math.nan])
def test_a_weight_of_a_language_model_that_is_none(weight):
    with pytest.raises(ValueError, match="weight"):
        Fused(network(1), network(3, Task.language_modelling), weight=weight, begin_id=BEGIN_LM)

"""A draft changes how fast text comes, never which text: greedy to the bit, sampling in distribution."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch

import seq2seq
from seq2seq.config import DecodingConfig, Positions, Search
from seq2seq.decoding import generate, speculative
from seq2seq.decoding.speculative import Draft, speculate
from seq2seq.errors import DecodingError

CPU = torch.device("cpu")
GREEDY = DecodingConfig(search=Search.greedy)


@pytest.fixture(scope="module")
def speakers(toys):
    """Makes language models of the Markov toys: logits by position and last token."""

    class State(toys.Markov.random(0).start().__class__):
        def truncate(self, length):
            assert 0 <= length <= self.length
            self.length = length

    class Speaker(toys.Markov):
        def start(self, rows=1):
            return State(rows)

        def step(self, tokens, state):
            return self.step_each(tokens, state)[:, -1]

        def step_each(self, tokens, state):
            self.rows.append(tokens.shape[1])
            start, state.length = state.length, state.length + tokens.shape[1]
            return torch.stack(
                [self.logits[0, start + place, column].clone() for place, column in enumerate(tokens[0])]
            )[None]

    def make(seed, **shape):
        return Speaker(toys.Markov.random(seed, **shape).logits)

    return make


def draft_of(model, *, tokens=3, context=1000):
    return Draft(model, context, "", CPU, tokens)


def filtered(log_probs, config):
    """The distribution that is sampled from, the slow obvious way: what top_k and top_p leave of a list."""
    weights = [math.exp(log_prob / config.temperature) for log_prob in log_probs]
    ranked = sorted(range(len(weights)), key=lambda token: (-weights[token], token))
    if config.top_k:
        ranked = ranked[: config.top_k]
    total, kept, held = sum(weights[token] for token in ranked), [], 0.0
    for token in ranked:
        if held >= config.top_p * total:
            break
        kept.append(token)
        held += weights[token]
    return [weights[token] / held if token in kept else 0.0 for token in range(len(weights))]


def exact_distribution(model, toys, config, *, max_length):
    """The probability of every output, by enumeration: tokens written, the end token included."""
    outputs = {}

    def walk(prefix, prob):
        if prob == 0:
            return
        if prefix and (prefix[-1] == toys.EOS or len(prefix) == max_length):
            outputs[prefix] = prob
            return
        log_probs = model.log_prob(0, prefix)
        if len(prefix) < config.min_length:
            log_probs[toys.EOS] = -math.inf
        log_probs[toys.PAD] = -math.inf
        for token, share in enumerate(filtered(log_probs, config)):
            walk((*prefix, token), prob * share)

    walk((), 1.0)
    return outputs


def chi_square(counts, expected):
    """The statistic, and the value that chance exceeds once in a million (Wilson and Hilferty 1931)."""
    statistic = sum((counts.get(key, 0) - mean) ** 2 / mean for key, mean in expected.items())
    freedom = len(expected) - 1
    critical = freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3
    return statistic, critical


@pytest.mark.parametrize(
    "changes",
    [{}, {"temperature": 0.6, "min_length": 2}, {"temperature": 1.7, "top_k": 2}, {"top_p": 0.8}],
    ids=["plain", "temperature", "top_k", "top_p"],
)
def test_samples_have_the_large_models_distribution(toys, speakers, changes):
    large, small = speakers(3), speakers(1)
    config = DecodingConfig(search=Search.sample, **changes)
    draft, draws = draft_of(small), 2500
    arguments = dict(config=config, eos_id=toys.EOS, forbidden_ids=(toys.PAD,), max_length=4)
    counts = {}
    for seed in range(draws):
        tokens = tuple(speculate(large, [toys.PAD], draft=draft, exact=True, device=CPU, seed=seed, **arguments))
        tokens += (toys.EOS,) * (len(tokens) < 4)
        counts[tokens] = counts.get(tokens, 0) + 1
    exact = exact_distribution(large, toys, config, max_length=4)
    assert set(counts) <= set(exact)
    assert sum(exact.values()) == pytest.approx(1)
    # Rare outputs count together, so that every expected number is large enough for the statistic.
    rare = [key for key, prob in exact.items() if prob * draws < 5]
    groups = {key: "rare" if key in rare else key for key in exact}

    def grouped(numbers):
        sums = {}
        for key, number in numbers.items():
            sums[groups[key]] = sums.get(groups[key], 0) + number
        return sums

    expected = grouped({key: prob * draws for key, prob in exact.items()})
    statistic, critical = chi_square(grouped(counts), expected)
    assert statistic < critical
    assert 0 < draft.acceptance < 1
    # The draft's own distribution would have been found out.
    own = exact_distribution(small, toys, config, max_length=4)
    drafted = grouped({key: own.get(key, 0) * draws for key in exact})
    assert chi_square(drafted, expected)[0] > 2 * critical


def test_a_perfect_draft_is_always_kept(toys, speakers):
    for config in (DecodingConfig(search=Search.sample, temperature=0.7, top_p=0.9, min_length=19), GREEDY):
        large, small = (speakers(1, positions=30) for _ in range(2))
        large.logits[..., toys.EOS] = small.logits[..., toys.EOS] = -9
        draft = draft_of(small, tokens=4)
        arguments = dict(config=config, eos_id=toys.EOS, max_length=20)
        assert len(list(speculate(large, [toys.PAD], draft=draft, exact=True, device=CPU, **arguments))) == 20
        assert draft.acceptance == 1
        assert large.rows == [1, 5, 5, 5, 4]  # the prompt, then each time the last token and the proposals
        assert draft.proposed == 15


@pytest.mark.parametrize("tokens", [1, 2, 5])
@pytest.mark.parametrize("limit", [1, 2, 3, 9])
def test_greedy_tokens_are_those_without_a_draft(toys, speakers, tokens, limit):
    for seed in range(15):
        large, small = (speakers(number, positions=10, vocab=6) for number in (seed, seed + 100))
        config = DecodingConfig(search=Search.greedy, min_length=seed % 3)
        arguments = dict(config=config, eos_id=toys.EOS, forbidden_ids=(toys.PAD,), max_length=limit)
        wanted = list(generate(large, large.start(), torch.tensor([[toys.PAD]]), **arguments))
        draft = draft_of(small, tokens=tokens)
        assert wanted == list(speculate(large, [toys.PAD], draft=draft, exact=True, device=CPU, **arguments))
        assert draft.accepted <= draft.proposed


def test_what_is_not_a_number_is_an_error(toys, speakers):
    broken, whole = speakers(1), speakers(2)
    broken.logits = broken.logits * math.nan
    for config in (GREEDY, DecodingConfig(search=Search.sample)):
        with pytest.raises(DecodingError, match="No token has a probability"):
            list(
                speculate(
                    broken, [toys.PAD], draft=draft_of(whole), exact=True, device=CPU,
                    config=config, eos_id=toys.EOS, max_length=3,
                )
            )  # fmt: skip


# ------------------------------------------------------------------ real models

KINDS = {
    "sinusoidal": {},
    "learned": dict(positions=Positions.learned),
    "rotary, grouped": dict(positions=Positions.rotary, num_kv_heads=1),
    "alibi, window": dict(positions=Positions.alibi, attention_window=3),
}


@pytest.fixture(params=list(KINDS))
def pair(request, tiny_checkpoint):
    """A model of whole files, and its copy with other last digits in its weights."""
    folder = tiny_checkpoint("language_modelling", documents="file", max_length=24, **KINDS[request.param])
    large = seq2seq.load(folder, device="cpu")
    small = copy.deepcopy(large)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in small.model.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=generator)
    return large, small


def text(model, prompt="the dog", **changes):
    return "".join(model.generate(prompt, **{"max_new_tokens": 60, "search": "greedy", **changes}))


@pytest.mark.parametrize("context", [24, 7, 2])
def test_greedy_text_is_that_without_a_draft(pair, context):
    large, small = pair
    wanted = text(large)
    draft = small.as_draft(3)
    draft.context = context  # of a draft that remembers less than the model
    assert text(large, draft=draft) == wanted
    assert draft.proposed and draft.accepted
    assert text(large, draft=small.as_draft(40)) == wanted


def test_doubtful_decisions_are_made_as_without_a_draft(pair, monkeypatch):
    """Where every decision is doubtful, the model sees bit for bit what it sees without a draft."""
    large, small = pair
    seen = []
    step = large.model.step

    def watched(tokens, state):
        logits = step(tokens, state)
        seen.append((state.length, logits.clone()))
        return logits

    monkeypatch.setattr(large.model, "step", watched)
    wanted = text(large)
    plain, seen = seen, []
    monkeypatch.setattr(speculative, "TOLERANCE", math.inf)
    assert text(large, draft=small.as_draft(3)) == wanted
    assert [length for length, _ in seen] == [length for length, _ in plain]
    for (_, ours), (_, theirs) in zip(seen, plain, strict=True):
        assert torch.equal(ours, theirs)


def test_logits_of_several_tokens_are_those_of_one_by_one(pair):
    model = pair[0].model.double()
    tokens = torch.randint(4, model.head.out_features, (3, 9), generator=torch.Generator().manual_seed(2))
    each, one = model.start(3), model.start(3)
    many = torch.cat([model.step_each(tokens[:, :4], each), model.step_each(tokens[:, 4:], each)], dim=1)
    single = torch.stack([model.step(tokens[:, place : place + 1], one) for place in range(9)], dim=1)
    torch.testing.assert_close(many, single, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(many, model(tokens), rtol=1e-10, atol=1e-10)


def test_samples_follow_seed_and_sample(pair):
    large, small = pair

    def sampled(**changes):
        return text(large, search="sample", temperature=3.0, draft=small.as_draft(), **changes)

    assert sampled() == sampled(seed=1) == sampled(sample=0)
    assert len({sampled(), sampled(seed=2), sampled(sample=1)}) == 3
    stretches = sampled()[18:]  # of 12 tokens each, the context's half
    assert stretches[:12] != stretches[12:24]


def test_lines_end(tiny_checkpoint):
    large, small = (seq2seq.load(tiny_checkpoint("language_modelling", seed=seed), device="cpu") for seed in (1, 2))
    for prompt, least in itertools.product(["", "the ", "quick brown"], [0, 5]):
        wanted = text(large, prompt, min_length=least)
        assert text(large, prompt, min_length=least, draft=small.as_draft()) == wanted


def test_pieces_come_as_they_are_made(pair):
    large, small = pair
    assert len(list(large.generate("the ", search="greedy", max_new_tokens=30, draft=small.as_draft()))) == 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": "beam"}, "no effect with search=beam"),
        ({"rule": {"no_repeat_ngram_size": 2}}, "cannot write under no_repeat_ngram_size"),
        ({"tokenizer": "bytes"}, "another tokenizer"),
        ({"task": "translation"}, "must be a language model; this model's task is translation"),
        ({"tokens": 0}, r"draft_tokens \(0\)"),
        ({"tokens": 2.5}, r"draft_tokens \(2.5\)"),
        ({"device": torch.device("meta")}, "is on meta and the model on cpu"),
    ],
)
def test_what_is_refused(tiny_checkpoint, changes, message):
    model = seq2seq.load(tiny_checkpoint("language_modelling"), device="cpu")
    kind = {"task": "language_modelling", "tokenizer": "characters", "tokens": 4, "search": "greedy", **changes}
    with pytest.raises(DecodingError, match=message):  # noqa: PT012 - either of the two refuses
        draft = seq2seq.load(tiny_checkpoint(kind["task"], tokenizer=kind["tokenizer"]), device="cpu").as_draft(
            kind["tokens"]
        )
        draft.device = changes.get("device", draft.device)
        model.generate("the ", search=kind["search"], draft=draft, **kind.get("rule", {}))


def test_draws_follow_weights():
    weights = torch.tensor([0.0, 0.3, 0.0, 0.7, 0.0], dtype=torch.float64)

    class Chance:
        def __init__(self, value):
            self.random = lambda: value

    drawn = [speculative._drawn(weights, Chance(value)) for value in (0.0, 0.29, 0.31, 0.999, np.nextafter(1.0, 0))]
    assert drawn == [1, 1, 3, 3, 3]

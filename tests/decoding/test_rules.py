"""Rules see what each row has written and of which sentence, whatever the search has reordered and dropped."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import LengthNormalisation
from seq2seq.decoding import beam_search, greedy_search, sample_search
from seq2seq.decoding.length_penalty import PENALTIES


class Ruled:
    """A toy model whose log-probabilities obey a rule by themselves, for the slow search."""

    def __init__(self, model, rule):
        self.model, self.rule = model, rule

    def log_prob(self, sentence, prefix):
        log_probs = torch.tensor([self.model.log_prob(sentence, prefix)], dtype=torch.float64)
        return self.rule(log_probs, torch.tensor([prefix], dtype=torch.int64), torch.tensor([sentence]))[0].tolist()


class NoTokenTwiceRunning:
    """And the odd sentences like token 2 less with each that they have written."""

    stretch = 1.0

    def __call__(self, log_probs, written, sentences):
        if written.shape[1]:
            log_probs = log_probs.scatter(1, written[:, -1:].where(written[:, -1:] != 0, 1), -math.inf)
        twos = (written == 2).sum(dim=1) * (sentences % 2)
        log_probs[:, 2] -= twos
        return log_probs


class OwnToken:
    """Sentence s writes its length so far, plus s, modulo 3, plus 1: whoever is mixed up writes another text."""

    stretch = 1.0

    def __call__(self, log_probs, written, sentences):
        wanted = (written.shape[1] + sentences) % 3 + 1
        return torch.full_like(log_probs, -math.inf).scatter(1, wanted.unsqueeze(1), 0.0)


@given(
    seed=st.integers(0, 10**6), beam_size=st.integers(2, 5), limits=st.lists(st.integers(1, 7), min_size=1, max_size=4)
)
def test_beam_search_is_the_slow_search_of_a_model_that_obeys_by_itself(toys, seed, beam_size, limits):
    model = toys.Markov.random(seed, sentences=len(limits), positions=8, vocab=5)
    common = {"eos_id": toys.EOS, "max_length": limits, "rules": [NoTokenTwiceRunning()]}
    result = beam_search(model, model.start(), model.prompt(), beam_size=beam_size, n_best=beam_size, **common)
    for sentence, limit in enumerate(limits):
        expected = toys.slow_beam(
            Ruled(model, NoTokenTwiceRunning()), sentence, beam_size=beam_size, max_length=limit,
            penalty=lambda length: PENALTIES[LengthNormalisation.average](length, 1.0),
        )[:beam_size]  # fmt: skip
        found = result.hypotheses[sentence]
        assert [h.score for h in found] == pytest.approx([score for _, score, *_ in expected], abs=1e-9)
        assert all(a != b for h in found for a, b in zip(h.tokens, h.tokens[1:], strict=False))
        for h in found:  # the model's own, not what the rule made of it
            steps = (*h.tokens, toys.EOS) if h.finished else h.tokens
            log_probs = [model.log_prob(sentence, steps[:at])[token] for at, token in enumerate(steps)]
            assert h.log_prob == pytest.approx(sum(log_probs), abs=1e-9)


class NothingAfterTwo:
    stretch = 1.0

    def __call__(self, log_probs, written, sentences):
        log_probs[(written.shape[1] == 2) & (sentences == 1)] = -math.inf
        return log_probs


def test_a_text_is_cut_where_nothing_may_follow(toys):
    model = toys.Markov.random(3, sentences=2, positions=6, vocab=5)
    common = {"eos_id": toys.EOS, "max_length": 6, "min_length": 4, "rules": [NothingAfterTwo()]}
    for search in (greedy_search, sample_search):
        (free,), (cut,) = search(model, model.start(), model.prompt(), **common).hypotheses
        assert len(free.tokens) >= 4 and (len(cut.tokens), cut.finished) == (2, False)
        log_probs = [model.log_prob(1, cut.tokens[:at])[token] for at, token in enumerate(cut.tokens)]
        assert cut.log_prob == pytest.approx(sum(log_probs)) and cut.score == pytest.approx(sum(log_probs) / 2)


@given(seed=st.integers(0, 10**6), sentences=st.integers(1, 4), n_best=st.integers(1, 3))
def test_draws_and_greedy_rows_know_their_sentence_and_their_past(toys, seed, sentences, n_best):
    model = toys.Markov.random(seed, sentences=sentences, positions=8, vocab=5)
    common = {"eos_id": toys.EOS, "max_length": [3 + sentence for sentence in range(sentences)], "rules": [OwnToken()]}
    for result in (
        greedy_search(model, model.start(), model.prompt(), **common),
        sample_search(model, model.start(), model.prompt(), n_best=n_best, **common),
    ):
        for sentence, hypotheses in enumerate(result.hypotheses):
            wanted = tuple((place + sentence) % 3 + 1 for place in range(3 + sentence))
            assert {h.tokens for h in hypotheses} == {wanted}

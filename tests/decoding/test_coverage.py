"""The coverage penalty beside attention added up one token after another; rewards beside scores made at the end."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import seq2seq
from seq2seq.config import LengthNormalisation
from seq2seq.decoding import beam_search, greedy_search
from seq2seq.decoding.coverage import Attending, Coverage
from seq2seq.decoding.length_penalty import PENALTIES

SOURCE = 4


class Attentive:
    """A toy model that attends by sentence, position and last token; padded sources get no attention."""

    def __init__(self, markov, seed, lengths):
        self.markov = markov
        self.mask = torch.arange(SOURCE) < torch.tensor(lengths).unsqueeze(1)
        shape = (*markov.logits.shape[:3], SOURCE)
        scores = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.weights = scores.masked_fill(~self.mask[:, None, None], -math.inf).softmax(dim=-1)

    def step(self, tokens, state):
        self.last = self.weights[state.sentence, state.length, tokens[:, -1]]
        return self.markov.step(tokens, state)

    def penalty(self, sentence, tokens, pad):
        """Of all tokens, the end token included: the formula itself."""
        covered = [0.0] * SOURCE
        for place in range(len(tokens)):
            before = tokens[place - 1] if place else pad
            for at, weight in enumerate(self.weights[sentence, place, before].tolist()):
                covered[at] += weight
        real = int(self.mask[sentence].sum())
        return sum(math.log(min(amount, 1.0)) for amount in covered[:real])


SENTENCES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, SOURCE)), min_size=1, max_size=4)  # most, source


@given(seed=st.integers(0, 10**6), beam_size=st.integers(2, 4), weight=st.sampled_from([0.1, 0.5, 2.0]),
       sentences=SENTENCES)  # fmt: skip
def test_coverage_is_added_up_along_every_hypothesis(toys, seed, beam_size, weight, sentences):
    markov = toys.Markov.random(seed, sentences=len(sentences), positions=7, vocab=5)
    model = Attentive(markov, seed, [source for _, source in sentences])
    result = beam_search(
        model, markov.start(), markov.prompt(), eos_id=toys.EOS, max_length=[most for most, _ in sentences],
        beam_size=beam_size, n_best=beam_size, coverage=Coverage(weight, lambda rows: model.last, model.mask),
    )  # fmt: skip
    for sentence, (most, _) in enumerate(sentences):
        finished = toys.slow_beam(
            markov, sentence, beam_size=beam_size, max_length=most,
            penalty=lambda length: PENALTIES[LengthNormalisation.average](length, 1.0),
        )  # fmt: skip
        expected = sorted(
            score + weight * model.penalty(sentence, (*tokens, *[toys.EOS] * ended), toys.PAD)
            for tokens, score, _, ended in finished
        )[::-1][:beam_size]
        assert [h.score for h in result.hypotheses[sentence]] == pytest.approx(expected, abs=1e-6)


@given(seed=st.integers(0, 10**6), beam_size=st.integers(2, 5), alpha=st.sampled_from([0.0, 0.3, 1.0, 4.0]),
       limits=st.lists(st.integers(1, 6), min_size=1, max_size=4))  # fmt: skip
def test_a_reward_for_every_token(toys, seed, beam_size, alpha, limits):
    """The search may stop early only where no longer hypothesis could still win."""
    model = toys.Markov.random(seed, sentences=len(limits), positions=7, vocab=5)
    result = beam_search(
        model, model.start(), model.prompt(), eos_id=toys.EOS, max_length=limits, beam_size=beam_size,
        n_best=beam_size, length_normalisation=LengthNormalisation.reward, length_penalty=alpha,
    )  # fmt: skip
    for sentence, limit in enumerate(limits):
        finished = toys.slow_beam(model, sentence, beam_size=beam_size, max_length=limit, penalty=lambda length: 1.0)
        expected = sorted(log_prob + alpha * (len(tokens) + ended) for tokens, _, log_prob, ended in finished)
        assert [h.score for h in result.hypotheses[sentence]] == pytest.approx(expected[::-1][:beam_size], abs=1e-9)
    greedy = greedy_search(
        model, model.start(), model.prompt(), eos_id=toys.EOS, max_length=limits,
        length_normalisation=LengthNormalisation.reward, length_penalty=alpha,
    )  # fmt: skip
    for (hypothesis,) in greedy.hypotheses:
        reward = alpha * (len(hypothesis.tokens) + hypothesis.finished)
        assert hypothesis.score == pytest.approx(hypothesis.log_prob + reward)


def test_attention_is_that_of_the_last_layer(tiny_checkpoint):
    model = seq2seq.load(tiny_checkpoint(), device="cpu").model
    source, target = torch.randint(4, 20, (3, 6)), torch.randint(4, 20, (3, 5))
    mask = torch.arange(6) < torch.tensor([[6], [2], [4]])
    seen = []
    layer = model.decoder.layers[-1].cross_attention
    layer.watch = seen.append
    with torch.no_grad():
        model(source, target, source_mask=mask)
    layer.watch = None
    expected = seen[0].mean(dim=1)  # (rows, target_length, source_length)

    attending = Attending(model)
    state = attending.start(source, source_mask=mask)
    rows = [0, 1, 1, 2, 2, 2]  # beams
    for place in range(5):
        if place == 2:
            state.select(torch.tensor(rows))
            target, expected = target[rows], expected[rows]
        attending.step(target[:, place : place + 1], state)
        torch.testing.assert_close(attending.attention(len(target)), expected[:, place])
    assert layer.watch is None


def test_threads_do_not_see_each_others_attention(tiny_checkpoint):
    translator = seq2seq.load(tiny_checkpoint(), device="cpu")
    lines = [" ".join(["the dog", "a cat", "fox"][: 1 + number % 3]) for number in range(12)]
    settings = {"beam_size": 3, "coverage_penalty": 2.0, "batch_tokens": 1}
    expected = [list(translator.translate_stream([line], **settings))[0].candidates for line in lines]
    with ThreadPoolExecutor(4) as pool:
        plain = [pool.submit(translator.translate, lines, beam_size=3) for _ in range(2)]
        found = list(pool.map(lambda line: list(translator.translate_stream([line], **settings))[0].candidates, lines))
        assert plain[0].result() == plain[1].result()
    assert [candidates[0].text for candidates in found] == [candidates[0].text for candidates in expected]
    scores = [[candidates[0].score for candidates in one] for one in (found, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_threads_do_not_wait_for_each_other(tiny_checkpoint):
    """Each of two threads ends its step when the other one is in its own too."""
    model = seq2seq.load(tiny_checkpoint(), device="cpu").model
    source, target = torch.randint(4, 20, (2, 6)), torch.randint(4, 20, (2, 1))
    both = threading.Barrier(2)

    def attended(_):
        attending = Attending(model)
        attending.step(target, attending.start(source))
        return attending.attention(len(target))

    def meet(*call):
        both.wait(timeout=600)

    alone = attended(0)
    hook = model.head.register_forward_hook(meet)
    with ThreadPoolExecutor(2) as pool:
        assert all(torch.equal(found, alone) for found in pool.map(attended, range(2)))
    hook.remove()


def test_a_weight_of_nothing_is_refused():
    with pytest.raises(ValueError, match="coverage_penalty"):
        Coverage(0.0, lambda rows: torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))

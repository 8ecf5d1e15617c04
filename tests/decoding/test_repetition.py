"""Rules against repetition beside slow ones."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import DecodingConfig, LengthNormalisation
from seq2seq.decoding import search
from seq2seq.decoding.length_penalty import PENALTIES
from seq2seq.decoding.repetition import NoRepeatNgram, RepetitionPenalty

TOKENS = st.lists(st.integers(0, 4), max_size=9)


def twice(tokens, size):
    """Whether a run of this many tokens is there twice."""
    runs = [tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)]
    return len(set(runs)) < len(runs)


@given(rows=st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=4),
       length=st.integers(0, 6), past=TOKENS, size=st.integers(1, 4))  # fmt: skip
def test_no_run_is_written_twice(rows, length, past, size):
    written = torch.tensor(rows)[:, :length]
    before = torch.randn(len(rows), 5, dtype=torch.float64)
    after = NoRepeatNgram(size, past=past)(before.clone(), written, torch.arange(len(rows)))
    for row in range(len(rows)):
        text = [*past, *written[row].tolist()]
        for token in range(5):
            # New is only the run that ends in this token; older ones may be there twice, in the past.
            run = (*text, token)[-size:]
            runs = [tuple(text[at : at + size]) for at in range(len(text) - size + 1)]
            assert after[row, token] == (-math.inf if tuple(run) in runs and len(run) == size else before[row, token])


class Slow:
    """A toy model whose log-probabilities obey both rules by themselves."""

    def __init__(self, model, *, size, penalty):
        self.model, self.size, self.penalty = model, size, penalty

    def log_prob(self, sentence, prefix):
        return [
            -math.inf if self.size and twice((*prefix, token), self.size)
            else value * (self.penalty if token in prefix else 1.0)
            for token, value in enumerate(self.model.log_prob(sentence, prefix))
        ]  # fmt: skip


@given(seed=st.integers(0, 10**6), beam_size=st.integers(2, 5), size=st.integers(0, 3),
       penalty=st.sampled_from([0.7, 1, 1.3]), limits=st.lists(st.integers(1, 7), min_size=1, max_size=4))  # fmt: skip
def test_beam_search_is_the_slow_search_under_the_rules(toys, seed, beam_size, size, penalty, limits):
    model = toys.Markov.random(seed, sentences=len(limits), positions=8, vocab=5)
    config = DecodingConfig(
        beam_size=beam_size, n_best=beam_size, patience=0, no_repeat_ngram_size=size, repetition_penalty=penalty
    )
    result = search(model, model.start(), model.prompt(), config=config, eos_id=toys.EOS, max_length=limits)
    for sentence, limit in enumerate(limits):
        expected = toys.slow_beam(
            Slow(model, size=size, penalty=penalty), sentence, beam_size=beam_size, max_length=limit,
            penalty=lambda length: PENALTIES[LengthNormalisation.average](length, 1.0),
        )[:beam_size]  # fmt: skip
        found = result.hypotheses[sentence]
        assert [h.score for h in found] == pytest.approx([score for _, score, *_ in expected], abs=1e-9)
        assert not size or not any(twice(h.tokens, size) for h in found)


@pytest.mark.parametrize("make", [NoRepeatNgram, RepetitionPenalty])
def test_impossible_values(make):
    with pytest.raises(ValueError, match=r"(no_repeat_ngram_size|repetition_penalty) \(0\)"):
        make(0)

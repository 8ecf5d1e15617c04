"""Beam search with required phrases, against trying every output there is."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import DecodingConfig, LengthNormalisation, Search
from seq2seq.data.phrases import RequiredPhrase, Spelling
from seq2seq.decoding import Requirements, beam_search, search
from seq2seq.decoding.length_penalty import PENALTIES

VOCAB, STEPS = 4, 4
NO_CLASSES = np.zeros(VOCAB, dtype=np.int64)
phrases = st.lists(
    st.builds(
        lambda tokens, count: RequiredPhrase((Spelling(tuple(tokens)),), count),
        st.lists(st.integers(1, VOCAB - 1), min_size=1, max_size=2),
        st.integers(1, 2),
    ),
    max_size=2,
)


def required(*of_sentences):
    return Requirements(of_sentences, NO_CLASSES)


def count(phrase, tokens):
    """How often a phrase of one spelling is there, without overlap."""
    wanted, found, at = phrase.spellings[0].tokens, 0, 0
    while at < len(tokens):
        here = tokens[at : at + len(wanted)] == wanted
        found, at = found + here, at + (len(wanted) if here else 1)
    return found


def met(own, tokens):
    return sum(count(phrase, tokens) >= phrase.count for phrase in own)


def length(own):
    return sum(len(phrase.spellings[0].tokens) * phrase.count for phrase in own)


def average(tokens):
    return PENALTIES[LengthNormalisation.average](tokens, 1.0)


def run(toys, model, requirements, **changes):
    settings = {"eos_id": toys.EOS, "max_length": STEPS, "beam_size": 3, **changes}
    return beam_search(model, model.start(), model.prompt(), requirements=requirements, **settings)


@given(seed=st.integers(0, 10**6), own=phrases, zeros=st.sampled_from([0.0, 0.4]))
def test_a_wide_beam_finds_the_best_output_that_holds_all_phrases(toys, seed, own, zeros):
    model = toys.Markov.random(seed, positions=STEPS, vocab=VOCAB, zeros=zeros)
    outputs = toys.exhaustive(model, 0, max_length=STEPS, penalty=average, vocab=VOCAB)
    outputs = [output for output in outputs if output[2] > -math.inf]
    most = max(met(own, output[0]) for output in outputs)
    found = run(toys, model, required(own), beam_size=60).hypotheses[0][0]
    assert met(own, found.tokens) == most
    if most == len(own):
        best = next(output for output in outputs if met(own, output[0]) == most)
        assert (found.tokens, found.finished) == (best[0], best[3])
        assert (found.score, found.log_prob) == (pytest.approx(best[1]), pytest.approx(best[2]))


@given(seed=st.integers(0, 10**6), own=phrases, beam_size=st.integers(2, 6), patience=st.sampled_from([0.0, 1.0]))
def test_a_narrow_beam_gets_all_phrases_in_that_there_is_room_for(toys, seed, own, beam_size, patience):
    model = toys.Markov.random(seed, positions=8, vocab=VOCAB)
    limit = min(8, length(own) + 1)
    result = run(toys, model, required(own), beam_size=beam_size, n_best=2, patience=patience, max_length=limit)
    for hypothesis in result.hypotheses[0]:
        assert met(own, hypothesis.tokens) == len(own)
        steps = (*hypothesis.tokens, toys.EOS)[: len(hypothesis.tokens) + hypothesis.finished]
        log_probs = [model.log_prob(0, steps[:at])[token] for at, token in enumerate(steps)]
        assert hypothesis.log_prob == pytest.approx(sum(log_probs))


@settings(max_examples=50)
@given(
    seed=st.integers(0, 10**6),
    own=st.lists(phrases, min_size=1, max_size=5),
    beam_size=st.integers(2, 5),
    patience=st.sampled_from([0.0, 1.0]),
    normalisation=st.sampled_from(LengthNormalisation),
)
def test_neighbours_change_nothing_and_no_phrases_are_plain_beam_search(
    toys, seed, own, beam_size, patience, normalisation
):
    model = toys.Markov.random(seed, sentences=len(own), positions=8, vocab=VOCAB, zeros=0.1)
    limits = [8 - sentence for sentence in range(len(own))]
    common = {
        "beam_size": beam_size, "n_best": 2, "patience": patience, "min_length": 1, "forbidden_ids": (1,),
        "length_normalisation": normalisation,
    }  # fmt: skip
    together = run(toys, model, required(*own), max_length=limits, **common)
    for sentence, limit in enumerate(limits):
        for requirements in [required(own[sentence])] + [None] * (not own[sentence]):
            alone = run(toys, model.only(sentence), requirements, max_length=limit, **common)
            assert alone.hypotheses[0] == together.hypotheses[sentence]


def test_phrases_that_begin_alike_do_not_hold_each_other_up(toys):
    logits = torch.zeros(1, 8, VOCAB, VOCAB, dtype=torch.float64)
    logits[..., 1] = 9.0  # the token that both begin with, again and again
    own = [RequiredPhrase((Spelling(tokens),)) for tokens in ((1, 2, 2), (1, 3, 3))]
    result = run(toys, toys.Markov(logits), required(own), beam_size=2, max_length=7)
    assert met(own, result.hypotheses[0][0].tokens) == 2


def test_words_must_end_where_the_phrase_does(toys):
    """Token 3 goes on with a word: after it, phrase 2 has not been written."""
    logits = torch.full((1, STEPS, VOCAB, VOCAB), -9.0, dtype=torch.float64)
    logits[..., 1, 2], logits[..., 2, 3], logits[..., 2, toys.EOS], logits[..., 3, toys.EOS] = 9.0, 9.0, 4.0, 9.0
    model = toys.Markov(logits)
    classes = np.array([0, 0, 1, 3])
    for boundary, expected in ((False, (2, 3)), (True, (2,))):
        phrase = RequiredPhrase((Spelling((2,), boundary_after=boundary),))
        result = run(
            toys, model, Requirements([[phrase]], classes), beam_size=50,
            length_normalisation=LengthNormalisation.none,
        )  # fmt: skip
        assert result.hypotheses[0][0].tokens == expected


def test_what_cannot_be_done_is_left_out_and_the_output_ends_where_it_would(toys):
    model = toys.Markov.random(3, positions=8, vocab=VOCAB)
    model.logits[..., 3] = -math.inf
    model.logits[..., toys.EOS] += 4
    possible, impossible = RequiredPhrase((Spelling((2, 2)),)), RequiredPhrase((Spelling((3,)),))
    result = run(toys, model, required([possible, impossible]), beam_size=60, max_length=8)
    assert met([possible], result.hypotheses[0][0].tokens) == 1
    alone = run(toys, model, required([possible]), beam_size=60, max_length=8)
    assert result.hypotheses[0][0] == alone.hypotheses[0][0]


@given(seed=st.integers(0, 10**6), noise=st.sampled_from([1e-5, 0.003, 0.02, 0.1]), at=st.integers(0, STEPS - 1))
def test_a_wide_margin_means_the_same_output(toys, seed, noise, at):
    model = toys.Markov.random(seed, sentences=40, positions=STEPS, vocab=VOCAB + 2)
    generator = torch.Generator().manual_seed(seed)
    own = [
        [
            RequiredPhrase((Spelling(tuple(torch.randint(1, VOCAB + 2, (2,), generator=generator).tolist())),))
            for _ in range(sentence % 3)
        ]
        for sentence in range(40)
    ]
    signs = torch.randint(0, 2, model.logits[:, at].shape, generator=generator) * 2 - 1
    shaken = toys.Markov(model.logits.clone())
    shaken.logits[:, at] += signs * noise
    requirements = Requirements(own, np.random.default_rng(seed).integers(0, 4, VOCAB + 2) * [0, 1, 1, 1, 1, 1])
    settings = {"beam_size": 2, "n_best": 2, "patience": 1.0, "max_length": STEPS}
    calm, after = (run(toys, one, requirements, **settings) for one in (model, shaken))
    tokens = [[[(h.tokens, h.finished) for h in row] for row in result.hypotheses] for result in (calm, after)]
    for before, now, margin in zip(*tokens, calm.margins, strict=True):
        assert before == now or margin <= 4 * noise
    if noise <= 0.003:
        assert sum(margin > 4 * noise for margin in calm.margins) > 5


def test_only_beams_can_take_turns(toys):
    model = toys.Markov.random(1)
    with pytest.raises(ValueError, match="need a beam_size of at least 2"):
        run(toys, model, required([]), beam_size=1)
    with pytest.raises(ValueError, match="search=greedy"):
        search(
            model, model.start(), model.prompt(), config=DecodingConfig(search=Search.greedy), eos_id=0, max_length=3,
            requirements=required([]),
        )  # fmt: skip


def test_rules_are_obeyed_and_hypotheses_tell_the_models_own_log_probability(toys):
    class NoTokenTwiceRunning:
        stretch = 2.0

        def __call__(self, log_probs, written, sentences):
            last = written[:, -1:].masked_fill(written[:, -1:] == toys.EOS, 1)
            return 2 * (log_probs.scatter(1, last, -math.inf) if written.shape[1] else log_probs)

    model = toys.Markov.random(5, positions=6, vocab=VOCAB)
    possible, impossible = RequiredPhrase((Spelling((3, 2)),)), RequiredPhrase((Spelling((2, 2)),))
    for own in ([possible], [possible, impossible]):
        found = run(toys, model, required(own), beam_size=4, max_length=6, rules=[NoTokenTwiceRunning()])
        hypothesis = found.hypotheses[0][0]
        assert met(own, hypothesis.tokens) == 1
        assert all(a != b for a, b in zip(hypothesis.tokens, hypothesis.tokens[1:], strict=False))
        steps = (*hypothesis.tokens, toys.EOS)[: len(hypothesis.tokens) + hypothesis.finished]
        log_probs = [model.log_prob(0, steps[:at])[token] for at, token in enumerate(steps)]
        assert hypothesis.log_prob == pytest.approx(sum(log_probs))
        assert hypothesis.score == pytest.approx(2 * sum(log_probs) / len(steps))

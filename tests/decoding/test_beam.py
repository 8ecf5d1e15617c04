import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import LengthNormalisation
from seq2seq.decoding import beam_search, greedy_search
from seq2seq.decoding.length_penalty import PENALTIES
from seq2seq.errors import DecodingError

# Those that divide; rewards, which are added, have their test in test_coverage.py.
DIVIDING = [kind for kind in LengthNormalisation if kind is not LengthNormalisation.reward]
LENGTHS = st.tuples(st.sampled_from(DIVIDING), st.sampled_from([0.0, 0.6, 1.0, 1.7]))
SEEDS = st.integers(0, 10**6)


def penalty_of(lengths):
    normalisation, alpha = lengths
    return lambda length: PENALTIES[normalisation](length, alpha)


def run(toys, model, lengths=(LengthNormalisation.average, 1.0), **arguments):
    return beam_search(
        model,
        model.start(),
        model.prompt(),
        eos_id=toys.EOS,
        length_normalisation=lengths[0],
        length_penalty=lengths[1],
        **arguments,
    )


def assert_same(hypotheses, expected):
    assert [h.tokens for h in hypotheses] == [tokens for tokens, *_ in expected]
    assert [h.finished for h in hypotheses] == [finished for *_, finished in expected]
    assert [h.score for h in hypotheses] == pytest.approx([score for _, score, *_ in expected], abs=1e-9)
    assert [h.log_prob for h in hypotheses] == pytest.approx([log_prob for *_, log_prob, _ in expected], abs=1e-9)


@given(seed=SEEDS, lengths=LENGTHS, max_length=st.integers(1, 4), vocab=st.integers(2, 4), sentences=st.integers(1, 3))
def test_a_beam_as_wide_as_the_search_space_finds_the_best_of_all(toys, seed, lengths, max_length, vocab, sentences):
    model = toys.Markov.random(seed, sentences=sentences, vocab=vocab)
    width = vocab**max_length
    result = run(toys, model, lengths, beam_size=width, n_best=width, max_length=max_length)
    for sentence, hypotheses in enumerate(result.hypotheses):
        everything = toys.exhaustive(model, sentence, max_length=max_length, penalty=penalty_of(lengths), vocab=vocab)
        assert_same(hypotheses, everything)


@given(
    seed=SEEDS,
    lengths=LENGTHS,
    beam_size=st.integers(1, 6),
    vocab=st.integers(2, 7),
    zeros=st.sampled_from([0.0, 0.4]),
    min_length=st.integers(0, 4),
    limits=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    forbid=st.booleans(),
    data=st.data(),
)
def test_same_as_a_slow_search(toys, seed, lengths, beam_size, vocab, zeros, min_length, limits, forbid, data):
    n_best = data.draw(st.integers(1, beam_size))
    patience = data.draw(st.sampled_from([0.0, 0.5, 1.0, 1.7]))
    enough = max(n_best, math.ceil(patience * beam_size)) if patience else math.inf
    forbidden = (toys.PAD,) if forbid and vocab > 2 else ()
    model = toys.Markov.random(seed, sentences=len(limits), positions=8, vocab=vocab, zeros=zeros)
    options = dict(min_length=min_length, beam_size=beam_size)
    result = run(
        toys, model, lengths, n_best=n_best, max_length=limits, forbidden_ids=forbidden, patience=patience, **options
    )
    for sentence, (hypotheses, limit) in enumerate(zip(result.hypotheses, limits, strict=True)):
        expected = toys.slow_beam(
            model,
            sentence,
            max_length=limit,
            penalty=penalty_of(lengths),
            forbidden=forbidden,
            enough=enough,
            **options,
        )
        assert_same(hypotheses, expected[:n_best])
        tokens = [h.tokens for h in hypotheses]
        assert len(set(tokens)) == len(tokens)
        assert all(a.score >= b.score for a, b in zip(hypotheses, hypotheses[1:], strict=False))
        assert not any(set(t) & {toys.EOS, *forbidden} for t in tokens)
        assert all(
            len(t) >= min(min_length, limit) and len(t) + h.finished <= limit
            for t, h in zip(tokens, hypotheses, strict=True)
        )
        assert all(h.finished or len(h.tokens) == limit for h in hypotheses)


@given(seed=SEEDS, limits=st.lists(st.integers(1, 6), min_size=1, max_size=5), min_length=st.integers(0, 3))
def test_a_beam_of_one_is_greedy(toys, seed, limits, min_length):
    model = toys.Markov.random(seed, sentences=len(limits), positions=6, vocab=6)
    options = dict(max_length=limits, min_length=min_length, forbidden_ids=(toys.PAD,))
    greedy = greedy_search(model, model.start(), model.prompt(), eos_id=toys.EOS, **options)
    assert run(toys, model, beam_size=1, **options) == greedy
    for sentence, ([hypothesis], limit) in enumerate(zip(greedy.hypotheses, limits, strict=True)):
        expected = toys.slow_beam(
            model,
            sentence,
            beam_size=1,
            max_length=limit,
            min_length=min_length,
            forbidden=(toys.PAD,),
            penalty=penalty_of((LengthNormalisation.average, 1.0)),
        )
        assert_same([hypothesis], expected)


@given(seed=SEEDS, sentences=st.integers(1, 5), beam_size=st.integers(2, 4))
def test_neighbours_change_nothing(toys, seed, sentences, beam_size):
    model = toys.Markov.random(seed, sentences=sentences, positions=6, vocab=5)
    together = run(toys, model, beam_size=beam_size, max_length=6)
    for sentence in range(sentences):
        alone = run(toys, model.only(sentence), beam_size=beam_size, max_length=6)
        assert alone.hypotheses == [together.hypotheses[sentence]]
        assert alone.margins == [together.margins[sentence]]


def sure_to_end(toys, at, positions=20):
    """Ends at step `at` (from 0) with probability 0.99, elsewhere never; other tokens are equally likely."""
    logits = torch.zeros(1, positions, 4, 4, dtype=torch.float64)
    logits[..., toys.EOS] = -math.inf
    logits[:, at, :, toys.EOS] = math.log(99 * 3)
    return toys.Markov(logits)


def test_stops_as_soon_as_nothing_can_win(toys):
    model = sure_to_end(toys, at=0)
    # log(0.99) / 1 against log(0.01 / 3) / 20 at best: a mean of -0.01 against -0.29.
    result = run(toys, model, beam_size=3, max_length=20)
    assert result.hypotheses[0][0].tokens == ()
    assert len(model.rows) == 1


def test_goes_on_while_a_longer_hypothesis_may_win(toys):
    # With alpha = 5, 20 tokens divide a log-probability by 3.2 million: every length must be looked at.
    model = sure_to_end(toys, at=0)
    result = run(toys, model, (LengthNormalisation.average, 5.0), beam_size=3, max_length=20)
    assert len(model.rows) == 20
    assert not result.hypotheses[0][0].finished


def test_finished_sentences_leave_the_batch(toys):
    model = sure_to_end(toys, at=0)
    model.logits = model.logits.repeat(3, 1, 1, 1)
    model.logits[1, :, :, toys.EOS] = -math.inf
    run(toys, model, beam_size=2, max_length=[20, 5, 20])
    assert model.rows == [3, 2, 2, 2, 2]


def test_an_empty_batch_is_no_work(toys):
    model = toys.Markov.random(0, sentences=0)
    result = run(toys, model, beam_size=3, max_length=5)
    assert (result.hypotheses, result.margins, model.rows) == ([], [], [])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_are_sums_in_double_precision(toys, dtype):
    model = toys.Markov.random(3, positions=200, vocab=7)
    model.logits = model.logits.to(dtype)
    result = run(toys, model, beam_size=4, max_length=200, min_length=199)
    [[best]] = result.hypotheses
    exact = toys.Markov(model.logits.double())
    steps = [exact.log_prob(0, best.tokens[:at])[token] for at, token in enumerate(best.tokens)]
    assert best.log_prob == pytest.approx(sum(steps), abs=1e-4 if dtype == torch.float32 else 1e-10)
    assert result.margins[0] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(beam_size=2, n_best=3), r"n_best \(3\) must be from 1 to beam_size \(2\)"),
        (dict(beam_size=0), "beam_size"),
        (dict(max_length=0), r"max_length \(0\)"),
        (dict(max_length=[3, 3]), "2 numbers for 1 rows"),
        (dict(length_penalty=-1.0), r"length_penalty \(-1.0\)"),
    ],
)
def test_refuses_what_cannot_be(toys, options, message):
    model = toys.Markov.random(0)
    with pytest.raises(ValueError, match=message):
        beam_search(model, model.start(), model.prompt(), eos_id=toys.EOS, **{"max_length": 3, **options})


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_names_a_model_whose_output_is_no_number(toys, beam_size, value):
    model = toys.Markov(torch.full((2, 5, 4, 4), value))
    with pytest.raises(DecodingError, match="No token has a probability"):
        run(toys, model, beam_size=beam_size, max_length=4)

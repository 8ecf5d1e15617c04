import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.decoding.logits import (
    best_and_lead,
    best_continuations,
    keep_above_epsilon,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    log_probabilities,
    temper,
)

NONE = torch.tensor([], dtype=torch.long)
# Few distinct values, so that many are equal; and impossible tokens.
ROWS = st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0]), min_size=6, max_size=6).filter(
    lambda row: max(row) > -math.inf
)


def kept(logits):
    return [[token for token, value in enumerate(row) if value > -math.inf] for row in logits.tolist()]


def ranked(row):
    """Tokens by falling value, the lowest id first among equals."""
    return sorted((t for t, value in enumerate(row) if value > -math.inf), key=lambda token: (-row[token], token))


def test_log_probabilities_are_the_models_own():
    logits = torch.randn(3, 7, dtype=torch.float64)
    expected = torch.log(torch.exp(logits) / torch.exp(logits).sum(dim=1, keepdim=True))
    log_probs = log_probabilities(logits, forbidden=torch.tensor([2, 5]))
    assert (log_probs[:, [2, 5]] == -math.inf).all()
    others = [0, 1, 3, 4, 6]
    torch.testing.assert_close(log_probs[:, others], expected[:, others])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_log_probabilities_are_in_float32_at_least(dtype):
    logits = torch.randn(2, 5).to(dtype)
    expected = logits.float().log_softmax(dim=1)
    torch.testing.assert_close(log_probabilities(logits, forbidden=NONE), expected, rtol=0, atol=0)


@given(rows=st.lists(ROWS, min_size=1, max_size=3), k=st.integers(0, 8))
def test_top_k(rows, k):
    logits = torch.tensor(rows)
    result = keep_top_k(logits, k)
    assert kept(result) == [sorted(ranked(row)[: k or None]) for row in rows]
    assert torch.equal(result[result > -math.inf], logits[result > -math.inf])


@given(rows=st.lists(ROWS, min_size=1, max_size=3), p=st.sampled_from([1e-9, 0.3, 0.55, 0.91, 1.0]))
def test_top_p(rows, p):
    expected = []
    for row in rows:
        total, held, tokens = sum(math.exp(value) for value in row), 0.0, []
        for token in ranked(row):
            tokens.append(token)
            held += math.exp(row[token]) / total
            if held >= p:
                break
        expected.append(sorted(tokens))
    result = keep_top_p(torch.tensor(rows, dtype=torch.float64), p)
    assert kept(result) == expected


@given(rows=st.lists(ROWS, min_size=1, max_size=3), p=st.sampled_from([0.0, 0.04, 0.2, 0.5, 1.0]))
def test_min_p(rows, p):
    expected = []
    for row in rows:
        probs = [math.exp(value) for value in row]
        expected.append([token for token, prob in enumerate(probs) if prob > 0 and prob >= p * max(probs)])
    assert kept(keep_min_p(torch.tensor(rows, dtype=torch.float64), p)) == expected


@given(rows=st.lists(ROWS, min_size=1, max_size=3), epsilon=st.sampled_from([0.0, 0.04, 0.15, 0.3, 0.9]))
def test_epsilon(rows, epsilon):
    expected = []
    for row in rows:
        probs = [math.exp(value) for value in row]
        enough = [prob / sum(probs) >= epsilon or prob == max(probs) for prob in probs]
        expected.append([token for token, prob in enumerate(probs) if prob > 0 and enough[token]])
    assert kept(keep_above_epsilon(torch.tensor(rows, dtype=torch.float64), epsilon)) == expected


@given(rows=st.lists(ROWS, min_size=1, max_size=3), temperature=st.sampled_from([0.3, 1.0, 2.0]))
def test_temperature(rows, temperature):
    logits = torch.tensor(rows, dtype=torch.float64)
    probs = logits.softmax(dim=1) ** (1 / temperature)
    torch.testing.assert_close(temper(logits, temperature).softmax(dim=1), probs / probs.sum(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: temper(x, 0.0), "temperature"),
        (lambda x: temper(x, math.nan), "temperature"),
        (lambda x: keep_top_k(x, -1), "top_k"),
        (lambda x: keep_top_p(x, 0.0), "top_p"),
        (lambda x: keep_top_p(x, 1.5), "top_p"),
        (lambda x: keep_min_p(x, 1.1), "min_p"),
        (lambda x: keep_above_epsilon(x, 1.0), "epsilon_cutoff"),
    ],
)
def test_refuses_what_cannot_be(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(1, 3))


@given(
    seed=st.integers(0, 10**6),
    sentences=st.integers(1, 3),
    beams=st.integers(1, 4),
    vocab=st.sampled_from([1, 2, 7, 12, 64, 96, 131, 254]),  # 131 is prime, 254 twice a prime
    count=st.integers(1, 9),
    holes=st.sampled_from([0.0, 0.5]),
)
def test_best_continuations(seed, sentences, beams, vocab, count, holes):
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(sentences, beams, vocab, generator=generator, dtype=torch.float64)
    log_probs[torch.rand(log_probs.shape, generator=generator) < holes] = -math.inf
    scores = torch.randn(sentences, beams, generator=generator, dtype=torch.float64)
    values, parents, tokens = best_continuations(log_probs, scores, count)
    for s in range(sentences):
        everything = sorted(
            ((scores[s, b] + log_probs[s, b, t]).item(), b, t) for b in range(beams) for t in range(vocab)
        )[::-1]
        expected = [c for c in everything if c[0] > -math.inf][:count]
        got = list(zip(values[s].tolist(), parents[s].tolist(), tokens[s].tolist(), strict=True))
        assert got[: len(expected)] == expected
        assert len(got) == count
        assert all(value == -math.inf and b < beams and t < vocab for value, b, t in got[len(expected) :])


@given(st.data(), st.integers(1, 4), st.sampled_from([1, 2, 7, 24, 64, 130]))
def test_best_and_lead(data, rows, vocab):
    values = st.lists(st.sampled_from([-math.inf, -3.0, -1.0, -0.5]), min_size=vocab, max_size=vocab)
    log_probs = torch.tensor([data.draw(values.filter(lambda row: max(row) > -math.inf)) for _ in range(rows)])
    tokens, leads = best_and_lead(log_probs.clone())
    for row, token, lead in zip(log_probs.tolist(), tokens.tolist(), leads.tolist(), strict=True):
        first, *others = sorted(row, reverse=True)
        assert token == row.index(first)
        assert lead == (first - others[0] if others else math.inf)

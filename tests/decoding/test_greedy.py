import pytest
import torch

from seq2seq.decoding import greedy_search
from seq2seq.decoding.greedy import likeliest


def test_equal_tokens_are_told_apart_by_id():
    log_probs = torch.tensor([[-2.0, -1.0, -3.0, -1.0], [-1.0, -1.0, -1.0, -1.0]])
    tokens, margins = likeliest(log_probs, torch.arange(2), 0)
    assert (tokens.tolist(), margins.tolist()) == ([1, 0], [0.0, 0.0])


def test_takes_the_likeliest_token_at_every_step(toys):
    model = toys.Markov.random(6, sentences=8, vocab=6)
    result = greedy_search(model, model.start(), model.prompt(), eos_id=toys.EOS, max_length=5)
    for sentence, [hypothesis] in enumerate(result.hypotheses):
        tokens: tuple[int, ...] = ()
        total = 0.0
        while len(tokens) < 5 and toys.EOS not in tokens:
            log_probs = model.log_prob(sentence, tokens)
            tokens = (*tokens, log_probs.index(max(log_probs)))
            total += max(log_probs)
        assert hypothesis.finished == (tokens[-1] == toys.EOS)
        assert hypothesis.tokens == tokens[: len(tokens) - hypothesis.finished]
        assert hypothesis.log_prob == pytest.approx(total)
        assert hypothesis.score == pytest.approx(total / len(tokens))


def test_ended_rows_leave_the_batch(toys):
    logits = torch.zeros(3, 5, 4, 4)
    logits[0, ..., toys.EOS] = 9.0  # ends at once
    logits[1:, ..., 2] = 9.0  # never end
    model = toys.Markov(logits)
    result = greedy_search(model, model.start(), model.prompt(), eos_id=toys.EOS, max_length=[5, 2, 4])
    assert [h.tokens for [h] in result.hypotheses] == [(), (2, 2), (2, 2, 2, 2)]
    assert [h.finished for [h] in result.hypotheses] == [True, False, False]
    assert model.rows == [3, 2, 1, 1]


def test_least_and_most_length(toys):
    logits = torch.zeros(1, 9, 4, 4)
    logits[..., toys.EOS] = 9.0
    for least, most, written in [(0, 9, 0), (3, 9, 3), (3, 4, 3), (5, 4, 4)]:
        model = toys.Markov(logits)
        options = dict(eos_id=toys.EOS, min_length=least, max_length=most)
        [[hypothesis]] = greedy_search(model, model.start(), model.prompt(), **options).hypotheses
        assert (len(hypothesis.tokens), hypothesis.finished) == (written, written < most)


def test_an_empty_batch_is_no_work(toys):
    model = toys.Markov.random(0, sentences=0)
    result = greedy_search(model, model.start(), model.prompt(), eos_id=toys.EOS, max_length=5)
    assert (result.hypotheses, result.margins, model.rows) == ([], [], [])

"""Where a required phrase goes: beside each sentence's probabilities worked out one by one."""

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import seq2seq
from seq2seq.config import Positions
from seq2seq.data.lines import Note
from seq2seq.data.phrases import Constraint
from seq2seq.data.pieces import Piece
from seq2seq.data.tokenizer import BOS, EOS
from seq2seq.decoding.lengths import most_tokens
from seq2seq.placement import PLACES, Placement, shared_out
from seq2seq.trained import FORBIDDEN
from seq2seq.translator import Translator

Make = Callable[..., Path]
SENTENCES = ["The lazy dog sleeps.", "A fox jumps over the grey cat.", "Dogs."]
PHRASES = ["over", "the cat", "brown", "jumps", "dog", "."]
MODELS = {
    "unigram": {"tokenizer": "unigram"},
    "characters": {"tokenizer": "characters"},
    "decoder-only": {"tokenizer": "characters", "encoder_layers": 0, "decoder_layers": 2},
    "learned positions": {"tokenizer": "characters", "positions": Positions.learned},
}


@pytest.fixture(scope="module", params=MODELS)
def model(tiny_checkpoint: Make, request: pytest.FixtureRequest) -> Translator:
    return seq2seq.load(tiny_checkpoint(max_length=60, **MODELS[request.param]), device="cpu")


@torch.no_grad()
def score(model: Translator, sentence: str, phrase: str) -> float:
    """The log-probability of a phrase at the best of the likeliest places of a greedy translation, one by one."""
    source = torch.tensor([[*model.tokenizers.source.encode(sentence), EOS]])
    tokens = model.tokenizers.target.encode(phrase)

    def log_probs(read: list[int]) -> torch.Tensor:
        return model.model(source, torch.tensor([[BOS, *read]])).log_softmax(dim=-1)[0, -1]

    limit = most_tokens(model.settings(max_length_ratio=6), source.shape[1] - 1)
    written = list[int]()
    places = []
    if model.config.model.positions is Positions.learned:
        limit = min(limit, 60)
    while len(written) < limit:
        said = log_probs(written)
        places.append((float(said[tokens[0]]), len(written)))
        said[list(FORBIDDEN)] = -math.inf
        written.append(int(said.argmax()))
        if written[-1] == EOS:
            break
    likeliest = sorted((place for place in places if place[1] + len(tokens) <= limit), key=lambda place: -place[0])
    return max(
        sum(float(log_probs([*written[:place], *tokens[:number]])[token]) for number, token in enumerate(tokens))
        for _, place in likeliest[: PLACES if len(tokens) > 1 else 1]
    )


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_goes_where_it_is_likeliest(model: Translator, phrase: str) -> None:
    scores = [score(model, sentence, phrase) for sentence in SENTENCES]
    best = scores.index(max(scores))
    expected = [
        model.translate([sentence], constraints=[[phrase] if part == best else []], max_length_ratio=6)[0]
        for part, sentence in enumerate(SENTENCES)
    ]
    lines, phrases = ["", " ".join(SENTENCES), "A cat."], [[], [phrase], ["the"]]
    answer = list(model.translate_stream(lines, constraints=phrases, max_length_ratio=6))[1]
    assert Note.sentences in answer.notes and list(answer.candidates[0].parts) == expected


def test_neither_neighbours_nor_the_size_of_batches_change_it(model: Translator) -> None:
    lines, phrases = [" ".join(SENTENCES), " ".join(SENTENCES[::-1])], [["over", "dog"], ["cat", "cat"]]
    whole = model.translate(lines, constraints=phrases, max_length_ratio=6)
    assert whole == model.translate(lines, constraints=phrases, max_length_ratio=6, batch_tokens=1)
    assert whole[1:] == model.translate(lines[1:], constraints=phrases[1:], max_length_ratio=6)


@pytest.mark.parametrize("close", [0.0, 1e-3, 1e3])
def test_what_is_close_is_judged_alone(model: Translator, close: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours move each number by far more than they do, and by another amount in each batch."""
    lines = [" ".join([*SENTENCES, SENTENCES[0]]), " ".join(SENTENCES[::-1])]
    phrases = [["over", "dog", "dog", "dog"], ["cat", "cat"]]
    quiet = model.translate(lines, constraints=phrases, max_length_ratio=6)
    real, noise = Placement._scores, random.Random(1)

    def noisy(self: Placement, pieces: Sequence[Piece]) -> tuple[list[list[float]], list[float]]:
        scores, margins = real(self, pieces)
        if len(pieces) > 1:
            scores = [[score + noise.uniform(-9, 9) for score in row] for row in scores]
        return scores, [math.inf] * len(margins)

    monkeypatch.setattr(Placement, "_scores", noisy)
    monkeypatch.setattr("seq2seq.placement.CLOSE", close)
    again = [model.translate(lines, constraints=phrases, max_length_ratio=6) for _ in range(10)]
    assert all(one == quiet for one in again) == (close > 100)


def test_one_of_repeated_sentences_has_it(model: Translator) -> None:
    (answer,) = model.translate_stream(["A dog. " * 5], constraints=[["over"]], max_length_ratio=6)
    (plain,) = model.translate_stream(["A dog. " * 5], max_length_ratio=6)
    parts = answer.candidates[0].parts
    assert "over" in parts[0].lower() and parts[1:] == plain.candidates[0].parts[1:]


LOSSES = st.integers(1, 4).flatmap(
    lambda pieces: st.lists(
        st.tuples(
            st.lists(st.just(math.inf) | st.integers(0, 9).map(float), min_size=pieces, max_size=pieces),
            st.integers(1, 5),
        ),
        min_size=1,
        max_size=20,
    )
)


@given(LOSSES)
def test_a_phrase_that_is_required_often_goes_to_the_best_then_the_next(table: list[tuple[list[float], int]]) -> None:
    """By a table of how badly each phrase fits each piece; inf: it cannot be written there."""
    pieces = [Piece(0, part, [3], constraints=(Constraint("own"),)) for part in range(len(table[0][0]))]
    phrases = [Constraint(f"phrase{number}", count=count) for number, (_, count) in enumerate(table)]
    scores = [[-losses[part] for losses, _ in table] for part in range(len(pieces))]
    found = shared_out(pieces, phrases, scores)
    assert [piece.constraints[-1] for piece in found] == [Constraint("own")] * len(pieces)
    for phrase, (losses, count) in zip(phrases, table, strict=True):
        counts = [sum(one.count for one in piece.constraints if one.phrase == phrase.phrase) for piece in found]
        order = [part for _, part in sorted((loss, part) for part, loss in enumerate(losses) if loss < math.inf)]
        order = order or list(range(len(pieces)))
        assert sum(counts) == count
        for rank, part in enumerate(order):
            assert counts[part] == len(range(rank, count, len(order)))

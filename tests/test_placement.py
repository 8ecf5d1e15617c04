"""Where a required phrase goes: beside each sentence of a line translated by itself, with the phrase and without."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seq2seq
from seq2seq.answering import Candidate
from seq2seq.data.lines import Note
from seq2seq.data.phrases import Constraint
from seq2seq.data.pieces import Piece
from seq2seq.placement import AT_ONCE, placed
from seq2seq.translator import Translator

Make = Callable[..., Path]
SENTENCES = ["The lazy dog sleeps.", "A fox jumps over the grey cat.", "Dogs."]


@pytest.fixture(scope="module", params=["unigram", "characters"])
def model(tiny_checkpoint: Make, request: pytest.FixtureRequest) -> Translator:
    return seq2seq.load(tiny_checkpoint(tokenizer=request.param, max_length=60), device="cpu")


@pytest.mark.parametrize("phrase", ["over", "the cat", "brown", "jumps", "dog"])
def test_a_phrase_goes_where_it_costs_least(model: Translator, phrase: str) -> None:
    def log_prob(sentence: str, phrases: list[str]) -> float:
        (answer,) = model.translate_stream([sentence], constraints=[phrases], max_length_ratio=6)
        assert all(one.satisfied for one in answer.constraints)
        return answer.candidates[0].log_prob

    losses = [log_prob(sentence, []) - log_prob(sentence, [phrase]) for sentence in SENTENCES]
    best = losses.index(min(losses))
    expected = [
        model.translate([sentence], constraints=[[phrase] if part == best else []], max_length_ratio=6)[0]
        for part, sentence in enumerate(SENTENCES)
    ]
    lines, phrases = ["", " ".join(SENTENCES), "A cat."], [[], [phrase], ["the"]]
    answer = list(model.translate_stream(lines, constraints=phrases, max_length_ratio=6))[1]
    assert Note.sentences in answer.notes and list(answer.candidates[0].parts) == expected


def test_the_size_of_batches_changes_nothing(model: Translator) -> None:
    lines, phrases = [" ".join(SENTENCES), " ".join(SENTENCES[::-1])], [["over", "dog"], ["cat", "cat"]]
    whole = model.translate(lines, constraints=phrases, max_length_ratio=6)
    assert whole == model.translate(lines, constraints=phrases, max_length_ratio=6, batch_tokens=1)
    assert whole[1:] == model.translate(lines[1:], constraints=phrases[1:], max_length_ratio=6)


def test_a_phrase_is_recognised_as_the_tokenizer_spells_it(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint(tokenizer="unigram", max_length=60), device="cpu")
    phrases = ["over", "the cat", "brown", "jumps", "dog"]
    wide = ["".join(chr(ord(letter) + 0xFEE0) if letter != " " else letter for letter in text) for text in phrases]
    lines = [" ".join(SENTENCES)] * len(phrases)
    texts, expected = (
        model.translate(lines, constraints=[[text] for text in given], max_length_ratio=6) for given in (wide, phrases)
    )
    assert texts == expected


ABLE = st.integers(0, 9).map(float)
LOSSES = st.integers(1, 4).flatmap(
    lambda pieces: st.lists(
        st.tuples(st.lists(st.none() | ABLE, min_size=pieces, max_size=pieces), st.integers(1, 5)),
        min_size=1,
        max_size=40,
    )
)


@given(LOSSES)
def test_phrases_go_to_the_pieces_in_the_order_of_what_they_cost(
    table: list[tuple[list[float | None], int]],
) -> None:
    """By a table of what each phrase costs in each piece; None: it cannot be written there."""
    pieces = [Piece(0, part, [3], constraints=(Constraint("own"),)) for part in range(len(table[0][0]))]
    phrases = [Constraint(f"phrase{number}", count=count) for number, (_, count) in enumerate(table)]
    cost = {(f"phrase{number}", part): loss for number, (row, _) in enumerate(table) for part, loss in enumerate(row)}

    def search(asked: Sequence[Piece]) -> list[Candidate]:
        assert len(asked) <= AT_ONCE
        outputs = []
        for piece in asked:
            phrase, *others = [constraint.phrase for constraint in piece.constraints]
            loss = cost.get((phrase, piece.part), 0.0)
            text = " ".join(["own"] if loss is None else [phrase, *others])
            outputs.append(Candidate(text, 0.0, -5.0 if loss is None else -5.0 - loss, 1))
        return outputs

    found = placed(pieces, phrases, search)
    assert [piece.constraints[-1] for piece in found] == [Constraint("own")] * len(pieces)
    for phrase, (losses, count) in zip(phrases, table, strict=True):
        counts = [sum(one.count for one in piece.constraints if one.phrase == phrase.phrase) for piece in found]
        assert sum(counts) == count
        order = sorted((loss, part) for part, loss in enumerate(losses) if loss is not None) or [(0.0, 0)]
        parts = [part for _, part in order] if any(loss is not None for loss in losses) else list(range(len(pieces)))
        for rank, part in enumerate(parts):
            assert counts[part] == len(range(rank, count, len(parts)))

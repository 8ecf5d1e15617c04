import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seq2seq
from seq2seq.answering import Answer
from seq2seq.data.pieces import Piece
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding import Hypothesis
from seq2seq.inspection import byte_pieces
from seq2seq.signals.bounds import Bounds, Flag
from seq2seq.signals.report import LineReport
from seq2seq.translator import Translator

Make = Callable[..., Path]
LINES = ["a man is here.", "", "the dog", "x" * 100, " \t", "one two. Three four, five six seven. Aha.", "ünknown 東京"]
ANY = st.lists(st.text(max_size=60) | st.text(st.sampled_from("ab .C"), max_size=120), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def translator(tiny_checkpoint: Make) -> Translator:
    return seq2seq.load(tiny_checkpoint(), device="cpu")


def same(one: LineReport, other: LineReport) -> None:
    """Equal, numbers to the rounding that neighbours in a batch make."""
    ours, theirs = one.as_dict(), other.as_dict()
    signals = ours.pop("signals"), theirs.pop("signals")
    assert ours == theirs
    if signals[0] is None:
        assert signals[1] is None
        return
    assert signals[0] == {name: pytest.approx(value, abs=1e-3) for name, value in signals[1].items()}


@settings(max_examples=20)
@given(ANY, st.randoms(use_true_random=False))
def test_one_report_a_line_whatever_its_neighbours(
    translator: Translator, lines: list[str], shuffle: random.Random
) -> None:
    bounds = Bounds(min_coverage=0.3, min_confidence=0.02)
    alone = [list(translator.translate_stream([line], bounds=bounds))[0] for line in lines]
    order = list(range(len(lines)))
    shuffle.shuffle(order)
    together = list(
        translator.translate_stream(
            [lines[index] for index in order], bounds=bounds, batch_tokens=shuffle.choice([1, 100, 10_000])
        )
    )
    assert [answer.text for answer in together] == [alone[index].text for index in order]
    assert [answer.report.line for answer in together] == list(range(len(lines)))
    for index, answer in zip(order, together, strict=True):
        same(dataclasses.replace(answer.report, line=0), alone[index].report)


def test_reports_change_no_output_and_may_come_later(translator: Translator) -> None:
    plain = list(translator.translate_stream(LINES, first_line=7))
    at_once = list(translator.translate_stream(LINES, first_line=7, bounds=Bounds()))
    assert plain == at_once
    for one, other in zip(plain, at_once, strict=True):
        same(one.report, other.report)
        assert one.report is one.report
    assert [answer.report.line for answer in plain] == list(range(7, 7 + len(LINES)))


def test_a_report_says_what_the_answer_says(translator: Translator) -> None:
    answers = {answer.source: answer for answer in translator.translate_stream(LINES, bounds=Bounds(), n_best=2)}
    for answer in answers.values():
        assert answer.report.notes == tuple(note.name for note in answer.notes)
    blank = answers[""].report
    assert (blank.parts, blank.signals, blank.flags) == (0, None, ())
    best, second = answers["the dog"].candidates
    signals = answers["the dog"].report.signals
    assert signals is not None and signals.source_tokens == len("the dog")
    assert (signals.score, signals.log_prob, signals.tokens) == (best.score, best.log_prob, best.tokens)
    assert signals.margin == pytest.approx(best.score - second.score)
    assert signals.confidence == pytest.approx(math.exp(best.log_prob / best.tokens))
    score = translator.score([best.text], ["the dog"])[0]
    if score.tokens == best.tokens:  # else the text is spelled otherwise than the search did
        assert signals.weakest == pytest.approx(math.exp(min(filter(None, score.log_probs))), abs=1e-4)
    split = answers["x" * 100].report
    assert split.parts == 6 and "split" in split.notes and split.signals is not None
    assert split.signals.source_tokens == 100
    assert split.signals.log_prob == pytest.approx(answers["x" * 100].candidates[0].log_prob)
    unread = answers["ünknown 東京"].report
    assert unread.signals is not None and unread.signals.unknown == 3 and "unread" in unread.notes


def test_pieces_of_bytes_are_counted(tiny_checkpoint: Make, tiny_tokenizers: dict[str, Tokenizer]) -> None:
    assert len(byte_pieces(tiny_tokenizers["unigram"])) == 256
    assert not byte_pieces(tiny_tokenizers["bytes"]) and not byte_pieces(tiny_tokenizers["characters"])
    model = seq2seq.load(tiny_checkpoint(tokenizer="unigram", max_length=40), device="cpu")
    answers = list(model.translate_stream(["the fox", "東京"], bounds=Bounds()))
    known, foreign = (answer.report for answer in answers)
    assert known.signals is not None and known.signals.byte_fallback == 0
    assert foreign.signals is not None and foreign.signals.byte_fallback == 6 and Flag.unreadable in foreign.flags


def test_flags_of_parts_are_flags_of_the_line(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    real = translator.searcher.search

    def search(pieces: Sequence[Piece], *arguments: Any, **more: Any) -> Any:
        found, margins = real(pieces, *arguments, **more)
        for piece, hypotheses in zip(pieces, found, strict=True):
            good = Hypothesis(tuple(range(5, 5 + len(piece.ids))), -1.0, -10.0, True)
            hypotheses[0] = Hypothesis((5,) * 30, -1.0, -30.0, False) if piece.part == 1 else good
        return found, margins

    monkeypatch.setattr(translator.searcher, "search", search)
    bounds = Bounds(min_coverage=0, min_confidence=0, min_relative_length=0, max_copied=1, max_unreadable=1)
    (answer,) = translator.translate_stream(["abcdefghijklmnopqrstuvwxyzzyxwvutsrqponmlkjihgfedcba"], bounds=bounds)
    assert answer.report.flagged_parts == (1,)
    assert set(answer.report.flags) == {Flag.unfinished, Flag.repetition}
    assert "unfinished" in answer.report.notes


def test_decisions_close_to_a_bound_are_made_alone(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["the dog", "a man is", "here and"]
    coverage = [answer.report.signals.coverage for answer in translator.translate_stream(lines)]  # type: ignore[union-attr]
    assert coverage[1] is not None
    real, sizes = translator.searcher.search, []

    def search(pieces: Sequence[Piece], *arguments: Any, **more: Any) -> Any:
        sizes.append(len(pieces))
        found, margins = real(pieces, *arguments, **more)
        return found, [1.0] * len(margins)

    monkeypatch.setattr(translator.searcher, "search", search)
    list(translator.translate_stream(lines, bounds=Bounds(min_coverage=coverage[1] + 2e-5, min_confidence=0)))
    assert sizes == [3, 1]


def test_the_usual_length_is_that_of_the_training_text(translator: Translator) -> None:
    def relative(model: Translator, bounds: Bounds | None = None) -> float:
        (answer,) = model.translate_stream(["the dog"], bounds=bounds)
        assert answer.report.signals is not None and answer.report.signals.relative_length is not None
        return answer.report.signals.relative_length

    other = Translator(translator.config, translator.model, translator.tokenizers, usual_length_ratio=3.0)
    assert relative(other) < relative(translator) == relative(other, Bounds(usual_length_ratio=1.0))


@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_reports_of_labels(tiny_checkpoint: Make, task: str) -> None:
    model = seq2seq.load(tiny_checkpoint(task), device="cpu")
    lines = ["the dog", "", "a man is here and there he is and here again", "東京 東京"]
    answers: list[Answer] = list(model.predict_stream(lines, bounds=Bounds(min_confidence=1.0)))
    for number, answer in enumerate(answers):
        report, (best,) = answer.report, answer.candidates
        assert report.line == number
        if report.signals is None:
            assert number == 1 and report.parts == 0
            continue
        assert report.signals.log_prob == pytest.approx(best.log_prob) and report.signals.tokens == best.tokens
        assert report.signals.confidence == pytest.approx(math.exp(best.log_prob / best.tokens))
        assert report.signals.margin is not None and report.signals.margin >= 0
        assert Flag.low_confidence in report.flags and report.signals.coverage is None
    assert answers[2].report.parts > 1 and Flag.unreadable in answers[3].report.flags


def test_an_answer_of_nobody_has_no_report() -> None:
    with pytest.raises(LookupError, match="without a reporter"):
        Answer("x", (), ()).report  # noqa: B018

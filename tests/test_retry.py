import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seq2seq
from seq2seq.cli.main import translate
from seq2seq.config import DecodingConfig
from seq2seq.data.pieces import Piece
from seq2seq.decoding import Hypothesis
from seq2seq.errors import DecodingError
from seq2seq.signals.bounds import Bounds, Flag
from seq2seq.translator import Translator

Make = Callable[..., Path]
COUNTED = Bounds(min_coverage=0, min_confidence=0, max_unreadable=1)
"""Bounds on what is counted alone, so that made-up hypotheses are judged as they stand."""


@pytest.fixture(scope="module")
def translator(tiny_checkpoint: Make) -> Translator:
    return seq2seq.load(tiny_checkpoint(), device="cpu")


def made_up(
    translator: Translator, monkeypatch: pytest.MonkeyPatch, found: Callable[[Piece, DecodingConfig], Hypothesis]
) -> list[int]:
    """Have searches find what `found` says; returns the sizes of their batches as they come."""
    sizes: list[int] = []

    def search(pieces: Sequence[Piece], settings: DecodingConfig, **more: Any) -> Any:
        sizes.append(len(pieces))
        return [[found(piece, settings)] for piece in pieces], [1.0] * len(pieces)

    monkeypatch.setattr(translator.searcher, "search", search)
    return sizes


def good(piece: Piece) -> Hypothesis:
    return Hypothesis(tuple(range(5, 5 + len(piece.ids))), -0.1, -1.0, True)


LOOP = Hypothesis((5,) * 40, -0.1, -4.0, False)
LONG = Hypothesis(tuple(range(4, 24)) + tuple(range(4, 24)), -0.1, -4.0, False)


def test_a_loop_is_made_again_and_both_are_reported(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(piece: Piece, settings: DecodingConfig) -> Hypothesis:
        return LOOP if piece.line == 1 and not settings.no_repeat_ngram_size else good(piece)

    sizes = made_up(translator, monkeypatch, found)
    answers = list(translator.translate_stream(["the dog", "the cat", "a man"], bounds=COUNTED, retry=True))
    assert sizes == [3, 1]
    assert [answer.report.retried for answer in answers] == [False, True, False]
    report = answers[1].report
    assert report.flags == () and report.mended and "unfinished" not in report.notes
    first, second = report.attempts
    assert (first.kept, second.kept) == (False, True) and second.text == answers[1].text != first.text
    assert {Flag.unfinished, Flag.repetition, Flag.too_long} == set(first.flags) and second.flags == ()
    assert first.search == {} and second.search == {"beam_size": 10, "no_repeat_ngram_size": 3}
    assert first.badness > second.badness == 0
    assert json.loads(json.dumps(report.as_dict()))["attempts"][1]["search"] == second.search


def test_the_least_bad_is_kept_and_of_equals_the_first(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(piece: Piece, settings: DecodingConfig) -> Hypothesis:
        if piece.line == 0:
            return LOOP
        return LONG if settings.repetition_penalty > 1 else LOOP

    sizes = made_up(translator, monkeypatch, found)
    same, better = translator.translate_stream(["the dog", "the cat"], bounds=COUNTED, retry=True)
    assert sizes == [2, 1, 1, 1, 1]
    assert [attempt.kept for attempt in same.report.attempts] == [True, False, False]
    assert [attempt.kept for attempt in better.report.attempts] == [False, False, True]
    assert better.report.flags and better.report.retried and not better.report.mended


@pytest.mark.parametrize("first", [0, 1])
def test_an_output_that_was_found_before_is_not_kept_anew(
    translator: Translator, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """Another search may give the same tokens a slightly better score; so may rounding."""
    searches = itertools.count()

    def found(piece: Piece, settings: DecodingConfig) -> Hypothesis:
        number = next(searches)
        if number < first:
            return Hypothesis(LOOP.tokens, -0.1, -160.0, False)
        tokens = tuple(range(4, 4 + len(piece.ids)))
        return Hypothesis(tokens, -0.1 + 1e-7 * number, -8.0 * len(tokens) * (1 - 1e-7 * number), True)

    made_up(translator, monkeypatch, found)
    bounds = Bounds(min_coverage=0, min_confidence=0.5, max_unreadable=1)
    (answer,) = translator.translate_stream(["the dog"], bounds=bounds, retry=True)
    attempts = answer.report.attempts
    assert attempts[first].badness > attempts[2].badness > 0 and attempts[first].text == attempts[2].text
    assert [attempt.kept for attempt in attempts] == [place == first for place in range(3)]
    assert answer.candidates[0].log_prob == attempts[first].signals.log_prob


def test_what_no_search_can_mend_is_not_made_again(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = made_up(translator, monkeypatch, lambda piece, _: good(piece))
    (answer,) = translator.translate_stream(["東京東京"], bounds=Bounds(min_coverage=0, min_confidence=0), retry=True)
    assert answer.report.flags == (Flag.unreadable,) and not answer.report.retried and sizes == [1]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), RuntimeError("can't allocate memory"), MemoryError()])
def test_a_search_too_large_for_memory_leaves_the_first(
    error: Exception, translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(piece: Piece, settings: DecodingConfig) -> Hypothesis:
        if settings.no_repeat_ngram_size:
            raise error
        return LOOP

    made_up(translator, monkeypatch, found)
    (answer,) = translator.translate_stream(["the dog"], bounds=COUNTED, retry=True)
    assert [attempt.kept for attempt in answer.report.attempts] == [True] and answer.report.flags


@settings(max_examples=8)
@given(
    st.lists(st.text(st.sampled_from("ab .C"), max_size=60), min_size=1, max_size=5), st.randoms(use_true_random=False)
)
def test_a_line_made_again_does_not_depend_on_its_neighbours(
    translator: Translator, lines: list[str], shuffle: random.Random
) -> None:
    bounds = Bounds(min_coverage=0.6, min_confidence=0.05)
    alone = [translator.translate([line], bounds=bounds, retry=True)[0] for line in lines]
    order = list(range(len(lines)))
    shuffle.shuffle(order)
    answers = list(translator.translate_stream([lines[index] for index in order], bounds=bounds, retry=True))
    assert [answer.text for answer in answers] == [alone[index] for index in order]
    plain = translator.translate([lines[index] for index in order])
    for answer, text in zip(answers, plain, strict=True):
        attempts = answer.report.attempts
        assert answer.text == text or any(attempt.kept and attempt.search for attempt in attempts)
        for part in {attempt.part for attempt in attempts}:
            tried = [attempt for attempt in attempts if attempt.part == part]
            assert [attempt.kept for attempt in tried].count(True) == 1
            assert min(attempt.badness for attempt in tried) == next(one.badness for one in tried if one.kept)


def test_bounds_without_a_use_are_refused(translator: Translator) -> None:
    with pytest.raises(DecodingError, match="bounds have no effect without retry=True"):
        translator.translate(["the dog"], bounds=Bounds())


def test_alternatives_are_not_made_again(translator: Translator) -> None:
    with pytest.raises(DecodingError, match="retry has no effect on alternatives"):
        list(translator.translate_stream(["the dog"], alternatives=2, retry=True))


def test_what_is_made_again_begins_with_its_prefix(translator: Translator) -> None:
    prefixes, bounds = ["cat", "aaaaaaaaaa"], Bounds(min_confidence=0.99)
    answers = list(translator.translate_stream(["the dog", "a man"], prefixes=prefixes, bounds=bounds, retry=True))
    for answer, prefix in zip(answers, prefixes, strict=True):
        assert answer.report.attempts and answer.text.startswith(prefix)


def test_the_command(tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_text("the dog\n\n" + "b" * 20 + "\na man is here\n")
    common = ["--threads", "1", "--ckpt", str(tiny_checkpoint()), "--input", str(tmp_path / "in"), "--retry"]
    bounds = ["--min-coverage", "0.9", "--min-confidence", "0.5"]
    assert translate([*common, *bounds, "--report", str(tmp_path / "report")]) == 0
    captured = capfd.readouterr()
    lines = captured.out.split("\n")[:-1]
    assert len(lines) == 4 and "searched again: 3 flagged lines, of which " in captured.err
    records = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    assert [record["retried"] for record in records] == [True, False, True, True]
    for record, line in zip(records, lines, strict=True):
        assert all(attempt["text"] == line for attempt in record["attempts"] if attempt["kept"])
    assert translate([*common, "--quiet"]) == 0
    assert capfd.readouterr().err == ""

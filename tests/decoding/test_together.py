"""Samples drawn side by side are those drawn alone, whatever becomes of the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seq2seq
from seq2seq.config import Positions
from seq2seq.decoding import together
from seq2seq.errors import DecodingError
from seq2seq.translator import Translator

Make = Callable[..., Path]
HOT = {"search": "sample", "temperature": 4.0, "max_new_tokens": 40}


@pytest.fixture(scope="module", params=["file", "line"])
def writer(request: pytest.FixtureRequest, tiny_checkpoint: Make) -> Translator:
    folder = tiny_checkpoint("language_modelling", documents=request.param, max_length=16)
    return seq2seq.load(folder, device="cpu")


def alone(model: Translator, count: int, **changes: Any) -> list[str]:
    return ["".join(model.generate("the ", sample=sample, **{**HOT, **changes})) for sample in range(count)]


def together_(model: Translator, count: int, **changes: Any) -> list[str]:
    return ["".join(pieces) for pieces in model.generate_samples("the ", samples=count, **{**HOT, **changes})]


@pytest.mark.parametrize(
    "changes",
    [{}, {"top_k": 3}, {"top_p": 0.5, "seed": 9}, {"min_p": 0.2}, {"max_new_tokens": 5}, {"no_repeat_ngram_size": 2}],
)
def test_samples_are_those_drawn_alone(writer: Translator, changes: dict[str, Any]) -> None:
    texts = together_(writer, 7, **changes)
    assert texts == alone(writer, 7, **changes)
    assert len(set(texts)) == 7


def test_batches_hold_what_is_set(writer: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, rows = together_(writer, 5), []
    sampled = together.Together._sampled

    def watched(self: together.Together, samples: list[int], room: int) -> Any:
        rows.append(len(samples))
        return sampled(self, samples, room)

    monkeypatch.setattr(together.Together, "_sampled", watched)
    monkeypatch.setattr(writer.config.decoding, "batch_tokens", 2 * 16)
    assert together_(writer, 5) == expected
    assert max(rows) == 2


def test_some_end_before_others(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint("language_modelling", max_length=16), device="cpu")
    texts = together_(model, 12)
    assert texts == alone(model, 12)
    assert len({len(text) for text in texts}) > 2 and max(map(len, texts)) > 16  # beyond one stretch
    assert together_(model, 5, min_length=30) == alone(model, 5, min_length=30)


@pytest.mark.parametrize("positions", Positions)
def test_every_kind_of_positions_goes_beyond_the_context(tiny_checkpoint: Make, positions: Positions) -> None:
    model = seq2seq.load(
        tiny_checkpoint("language_modelling", documents="file", max_length=8, positions=positions), device="cpu"
    )
    assert together_(model, 3) == alone(model, 3)


def test_the_order_in_which_they_are_read_changes_nothing(writer: Translator) -> None:
    expected = alone(writer, 4)
    texts = writer.generate_samples("the ", samples=4, **HOT)
    found = ["", "", "", ""]
    going_on = {3: texts[3], 0: texts[0], 2: texts[2], 1: texts[1]}
    while going_on:
        for sample in list(going_on):
            piece = next(going_on[sample], None)
            if piece is None:
                del going_on[sample]
            else:
                found[sample] += piece
    assert found == expected


def test_what_rounding_may_have_decided_is_drawn_again_alone(
    writer: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, rows = alone(writer, 3), []
    sampled = together.Together._sampled

    def watched(self: together.Together, samples: list[int], room: int) -> Any:
        rows.append(len(samples))
        return sampled(self, samples, room)

    monkeypatch.setattr(together.Together, "_sampled", watched)
    monkeypatch.setattr(together, "TOLERANCE", 1e9)
    assert together_(writer, 3) == expected
    assert rows[:4] == [3, 1, 1, 1]


def test_a_text_that_has_stopped_is_drawn_no_further(tiny_checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = seq2seq.load(tiny_checkpoint("language_modelling", documents="file", max_length=16), device="cpu")
    rows = []
    sampled = together.Together._sampled

    def watched(self: together.Together, samples: list[int], room: int) -> Any:
        rows.append(list(samples))
        return sampled(self, samples, room)

    monkeypatch.setattr(together.Together, "_sampled", watched)
    first, second = writer.generate_samples("the ", samples=2, **HOT)
    next(first)
    first.close()  # type: ignore[attr-defined]
    "".join(second)
    assert rows[0] == [0, 1] and len(rows) > 2 and all(samples == [1] for samples in rows[1:])


def test_with_a_draft_each_is_drawn_alone(writer: Translator) -> None:
    expected = ["".join(writer.generate("the ", sample=n, draft=writer.as_draft(), **HOT)) for n in range(3)]
    assert together_(writer, 3, draft=writer.as_draft()) == expected


def test_texts_stop_at_a_stop_text(writer: Translator) -> None:
    for whole, text in zip(alone(writer, 6), together_(writer, 6, stop=["q", "ab"]), strict=True):
        ends = [place for stop in ("q", "ab") if (place := whole.find(stop)) >= 0]
        assert text == whole[: min(ends, default=None)]
    whole = "".join(writer.generate("the ", search="greedy", max_new_tokens=30))
    assert (
        "".join(writer.generate("the ", search="greedy", max_new_tokens=30, stop=[whole[3:5]]))
        == (whole[: whole.find(whole[3:5])])
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 2, "search": "greedy"}, "samples has no effect with search=greedy"),
        ({"samples": 0}, r"samples \(0\) must be a whole number"),
        ({"samples": 1.5}, r"samples \(1.5\) must be a whole number"),
        ({"samples": 1, "stop": ["a", ""]}, "empty stop text"),
    ],
)
def test_what_is_refused(writer: Translator, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodingError, match=message):
        writer.generate_samples("the ", **{"search": "sample", **changes})


def test_a_stop_text_is_a_list(writer: Translator) -> None:
    with pytest.raises(TypeError, match="give a list"):
        writer.generate("the ", stop="abc")

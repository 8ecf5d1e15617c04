"""Minimum Bayes risk decoding through `translate`: against its definition, and independent of neighbours."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

import seq2seq
from seq2seq.cli.main import translate
from seq2seq.config import DecodingConfig, Search, Utility
from seq2seq.errors import DecodingError
from seq2seq.translator import Translator

Make = Callable[..., Path]

LINES = ["a man is here.", "the dog", "", "one two. three four, five six seven eight nine ten.", "x" * 60, "the dog"]
KINDS: dict[str, dict[str, Any]] = {
    "samples": dict(search="sample", mbr="chrf", mbr_candidates=8, seed=3),
    "beam": dict(beam_size=4, mbr="bleu"),
    "some of a beam": dict(beam_size=4, mbr="chrf", mbr_candidates=3),
}


@pytest.fixture(scope="module")
def translator(tiny_checkpoint: Make) -> Translator:
    return seq2seq.load(tiny_checkpoint(), device="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_the_candidate_most_like_all_candidates(translator: Translator, kind: str) -> None:
    chosen = KINDS[kind]
    metric = sacrebleu.sentence_chrf if chosen["mbr"] == "chrf" else sacrebleu.sentence_bleu
    plain = {name: value for name, value in chosen.items() if not name.startswith("mbr")}
    count = chosen.get("mbr_candidates", 4)
    lines = [line for line in LINES if len(line) < 24]  # in one piece
    everything = translator.translate_stream(lines, n_best=count, **plain)
    changed = 0
    for line, best, candidates in zip(lines, translator.translate_stream(lines, **chosen), everything, strict=True):
        if not line:
            assert best.text == ""
            continue
        texts = [candidate.text for candidate in candidates.candidates]
        expected = {text: sum(metric(text, [other]).score for other in texts) / count for text in texts}
        assert best.candidates[0].score == pytest.approx(expected[best.text], abs=1e-9)
        assert best.candidates[0].score == pytest.approx(max(expected.values()), abs=1e-9)
        assert best.candidates[0].log_prob in [c.log_prob for c in candidates.candidates if c.text == best.text]
        changed += best.text != texts[0]
    assert changed or kind != "samples"  # a beam's best are much alike


def test_several_come_best_first_and_differ(translator: Translator) -> None:
    (answer,) = translator.translate_stream(["a man is here."], search="sample", mbr="chrf", n_best=3)
    scores = [candidate.score for candidate in answer.candidates]
    assert scores == sorted(scores, reverse=True)
    assert len({candidate.text for candidate in answer.candidates}) == 3


@settings(max_examples=6)
@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=5), st.randoms(use_true_random=False))
@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_and_batches_change_nothing(
    translator: Translator, kind: str, lines: list[str], shuffle: random.Random
) -> None:
    chosen = KINDS[kind]

    def told(**more: Any) -> list[tuple[str, float]]:
        return [(a.text, a.candidates[0].score) for a in translator.translate_stream(lines, **chosen, **more)]

    expected = [
        (answer.text, answer.candidates[0].score)
        for number, line in enumerate(lines)
        for answer in translator.translate_stream([line], first_line=number, **chosen)
    ]
    assert told() == told(batch_tokens=shuffle.choice([1, 100, 500])) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(mbr="ter"), "mbr .ter. must be one of none, chrf, bleu"),
        (dict(mbr_candidates=5), "mbr_candidates=5 has no effect without mbr=chrf or bleu"),
        (dict(search="greedy", mbr="chrf"), "mbr has no effect with search=greedy; use it with search=beam or"),
        (dict(search="sample", mbr="chrf", mbr_candidates=1), "mbr=chrf chooses between several candidates"),
        (dict(mbr="chrf", mbr_candidates=9), "mbr_candidates .9. is more than beam_size .3. keeps"),
        (dict(search="sample", mbr="chrf", mbr_candidates=4, n_best=5), "n_best .5. is more than the 4 candidates"),
        (dict(search="sample", mbr="chrf", length_penalty=0.5), "length_penalty has no effect with search=sample and"),
    ],
)
def test_what_is_refused(translator: Translator, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodingError, match=message):
        translator.translate(["the dog"], **changes)


def test_a_checkpoints_own_settings_give_way(translator: Translator) -> None:
    own = DecodingConfig(search=Search.sample, mbr=Utility.chrf, mbr_candidates=64)
    assert translator.settings(own).num_candidates == 64
    assert translator.settings(own, mbr="none").mbr_candidates == 0
    assert translator.settings(own, search="beam").num_candidates == 5
    assert translator.settings(own, search="greedy").mbr is Utility.none


def test_command_line(tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES))
    words = ["--ckpt", str(tiny_checkpoint()), "--threads", "1", "--input", str(tmp_path / "in"), "--quiet"]
    assert translate([*words, "--search", "sample", "--mbr", "bleu", "--mbr-candidates", "6"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == len(LINES)
    assert translate([*words, "--mbr-candidates", "6"]) == 2
    error = capfd.readouterr().err
    assert "--mbr-candidates 6 has no effect without --mbr chrf or bleu" in error and error.count("\n") == 1

"""Translations that begin as they are told to, through `translate` and the command line."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seq2seq
from seq2seq.cli.main import translate
from seq2seq.config import Positions
from seq2seq.data.lines import Line, Note
from seq2seq.data.pieces import cut_text
from seq2seq.data.tokenizer import BOS, EOS
from seq2seq.errors import DataError
from seq2seq.translator import Translator

Make = Callable[..., Path]

LINES = ["a man is here.", "the dog", "", "one two. three four, five six seven eight nine ten.", "x", "the dog"]
PREFIXES = ["the qu", "a fox ", "lazy", "and the slow gr", "", "東京 j"]
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": dict(search="greedy"),
    "beam": dict(beam_size=4, n_best=2),
    "sample": dict(search="sample", n_best=2),
    "suppressed": dict(suppress_text=["the", "q"], no_repeat_ngram_size=2),
}


@pytest.fixture(scope="module", params=["unigram", "characters"])
def translator(tiny_checkpoint: Make, request: pytest.FixtureRequest) -> Translator:
    return seq2seq.load(tiny_checkpoint(tokenizer=request.param), device="cpu")


@pytest.mark.parametrize("kind", SEARCHES)
def test_every_output_begins_with_its_prefix(translator: Translator, kind: str) -> None:
    free = list(translator.translate_stream(LINES, **SEARCHES[kind]))
    for line, prefix, answer, unbound in zip(
        LINES, PREFIXES, translator.translate_stream(LINES, prefixes=PREFIXES, **SEARCHES[kind]), free, strict=True
    ):
        for candidate in answer.candidates:
            assert candidate.text.startswith(prefix)
        if not prefix:
            assert answer.text == unbound.text
        if not line:
            assert answer.text == prefix


@pytest.mark.parametrize("kind", ["greedy", "beam", "sample"])
def test_scores_are_those_of_the_whole_output(translator: Translator, kind: str) -> None:
    lines, texts = ["a man is here.", "the dog", "x"], ["the quick brown ", "over a", "東 dog and the"]
    pieces = [piece for found, _ in cut_text([Line(line) for line in lines], translator.tokenizers.source,
              max_length=24) for piece in found]  # fmt: skip
    prefixes = [translator.prefix_reader.read(text) for text in texts]
    found, _ = translator.searcher.search(pieces, translator.settings(**SEARCHES[kind]), seed=1, prefixes=prefixes)
    for piece, prefix, hypotheses in zip(pieces, prefixes, found, strict=True):
        for hypothesis in hypotheses:
            assert hypothesis.tokens[: len(prefix.tokens)] == prefix.tokens
            tokens = [*hypothesis.tokens, EOS] if hypothesis.finished else list(hypothesis.tokens)
            with torch.no_grad():
                logits = translator.model(torch.tensor([piece.ids]), torch.tensor([[BOS, *tokens[:-1]]]))[0]
            forced = logits.log_softmax(dim=-1)[range(len(tokens)), tokens].sum()
            assert hypothesis.log_prob == pytest.approx(float(forced), abs=1e-3)
            assert hypothesis.score == pytest.approx(hypothesis.log_prob / len(tokens))  # the prefix counts


@settings(max_examples=2)
@given(rows=st.lists(st.integers(0, 5), min_size=1, max_size=5), shuffle=st.randoms(use_true_random=False))
@pytest.mark.parametrize("kind", ["beam", "sample"])
def test_neighbours_and_batches_change_nothing(
    translator: Translator, kind: str, rows: list[int], shuffle: random.Random
) -> None:
    lines, prefixes = [LINES[row] for row in rows], [PREFIXES[row] for row in rows]
    together = translator.translate_stream(
        lines, prefixes=prefixes, batch_tokens=shuffle.choice([1, 100, 4000]), **SEARCHES[kind]
    )
    for number, (line, prefix, answer) in enumerate(zip(lines, prefixes, together, strict=True)):
        (alone,) = translator.translate_stream([line], prefixes=[prefix], first_line=number, **SEARCHES[kind])
        assert alone.text == answer.text


def test_answers_of_an_earlier_call_are_left_out_with_their_prefixes(translator: Translator) -> None:
    whole = list(translator.translate_stream(LINES, prefixes=PREFIXES, done=0))
    for done in (1, 4):
        assert list(translator.translate_stream(LINES, prefixes=iter(PREFIXES), done=done)) == whole[done:]


def test_several_models_together_keep_to_prefixes(tiny_checkpoint: Make) -> None:
    first, second, writer = tiny_checkpoint(seed=1), tiny_checkpoint(seed=2), tiny_checkpoint("language_modelling")
    kinds: list[dict[str, Any]] = [dict(folders=[first, first]), dict(folders=[first, second], lm=writer)]
    for kind, same in zip(kinds, (True, False), strict=True):
        model = seq2seq.load(kind.pop("folders"), device="cpu", **kind)
        together = list(model.translate_stream(LINES, prefixes=PREFIXES, min_length=2))
        alone = list(seq2seq.load(first, device="cpu").translate_stream(LINES, prefixes=PREFIXES, min_length=2))
        for prefix, ours, theirs in zip(PREFIXES, together, alone, strict=True):
            assert ours.text.startswith(prefix)
            if same:
                assert ours.text == theirs.text
                assert ours.candidates[0].log_prob == pytest.approx(theirs.candidates[0].log_prob, abs=1e-3)
        found = model.alternatives("the dog", "a q", count=3)
        assert [candidate.score for candidate in found] == sorted((c.score for c in found), reverse=True)
        assert all(candidate.text.startswith("a q") for candidate in found)


def test_prefixes_that_are_odd(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint(positions=Positions.learned, max_length=24), device="cpu")
    long = "the fox " * 20
    answers = list(model.translate_stream(["the dog"] * 3, prefixes=[long, "a 東", "x" * 23]))
    assert answers[0].text == long and Note.prefix_too_long in answers[0].notes
    assert answers[1].text.startswith("a 東") and Note.prefix_unknown in answers[1].notes
    assert answers[2].text.startswith("x" * 23) and answers[2].candidates[0].tokens == 24
    with pytest.raises(DataError, match="There are 1 prefixes for more lines"):
        model.translate(["the dog", "the cat"], prefixes=["a"])


def test_command_line(tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, lines in (("in", LINES), ("prefixes", PREFIXES), ("few", PREFIXES[:3])):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    words = ["--ckpt", str(tiny_checkpoint()), "--threads", "1", "--input", str(tmp_path / "in")]
    assert translate([*words, "--prefix", str(tmp_path / "prefixes")]) == 0
    out, err = capfd.readouterr()
    assert all(text.startswith(prefix) for text, prefix in zip(out.splitlines(), PREFIXES, strict=True))
    assert "1  prefix with characters outside the vocabulary" in err
    for more, message in [
        (
            ["--prefix", str(tmp_path / "few")],
            f"few: --prefix has 3 lines, the input ({tmp_path}/in) has {len(LINES)}; give",
        ),
        (["--prefix", "-", "--resume", "--output", str(tmp_path / "out")], "--prefix must name a file"),
        (["--prefix", "-", "--input", "-"], "--prefix - and --input - cannot both be read from stdin"),
        (["--prefix", str(tmp_path / "nothing")], "cannot be read"),
        (["--prefix", str(tmp_path / "few"), "--output", str(tmp_path / "few")], "which it would replace"),
    ]:
        assert translate([*words, *more]) == 2
        error = capfd.readouterr().err
        assert message in error and "Traceback" not in error


@pytest.mark.parametrize("positions", [Positions.rotary, Positions.learned])
def test_a_decoder_only_translator_goes_on_with_a_prefix(tiny_checkpoint, positions):
    longest = {"max_length": 48} if positions is Positions.learned else {}
    model = seq2seq.load(tiny_checkpoint(positions=positions, encoder_layers=0, **longest), device="cpu")
    model.config.data.max_length = 24
    lines = ["the dog", "a quick brown fox", "x" * 23, "cat"]
    prefixes = ["the c", "", "b" * 22, "over the lazy"]
    found = model.translate(lines, prefixes=prefixes)
    assert all(text.startswith(prefix) for text, prefix in zip(found, prefixes, strict=True))
    assert found == [model.translate([line], prefixes=[p])[0] for line, p in zip(lines, prefixes, strict=True)]

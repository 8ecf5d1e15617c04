"""Ensembles and language models beside a translator, from checkpoints on disk to text and scores."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seq2seq
from seq2seq.checkpoint import load_checkpoint, save_checkpoint
from seq2seq.cli.main import main, translate
from seq2seq.config import Documents, EnsembleRule, Positions
from seq2seq.configure import check, register_schemas
from seq2seq.data.lines import Note
from seq2seq.data.tokenizer import CharacterTokenizer, Tokenizer, Tokenizers
from seq2seq.errors import CheckpointError, ConfigError, DecodingError
from seq2seq.evaluate import EvaluateConfig
from seq2seq.evaluate import run as evaluate
from seq2seq.signals.bounds import Bounds, Flag
from seq2seq.translator import Translator

Make = Callable[..., Path]
LINES = [
    "a man is here.",
    "",
    "the dog",
    "x" * 60,
    "one two. three four, five six",
    *("word " * n for n in range(1, 6)),
]


@pytest.fixture(scope="module")
def folders(tiny_checkpoint: Make) -> dict[str, Path]:
    return {
        "a": tiny_checkpoint(seed=1),
        "b": tiny_checkpoint(seed=2, dim=24, decoder_layers=2, positions=Positions.rotary),
        "lm": tiny_checkpoint("language_modelling", seed=3),
        "lm2": tiny_checkpoint("language_modelling", seed=4, dim=8),
        "bytes": tiny_checkpoint(tokenizer="bytes"),
        "lm of bytes": tiny_checkpoint("language_modelling", tokenizer="bytes"),
        "tagger": tiny_checkpoint("tagging"),
        "lm of files": tiny_checkpoint("language_modelling", documents="file"),
    }


def changed(folder: Path, to: Path, *, tokenizers: Tokenizers | None = None, **data: Any) -> Path:
    """A copy with other settings of data."""
    known = load_checkpoint(folder)
    for name, value in data.items():
        setattr(known.config.data, name, value)
    save_checkpoint(to, config=known.config, model=known.model, tokenizers=tokenizers or known.tokenizers, metrics={})
    return to


def load(*folders: Path, **settings: Any) -> Translator:
    return seq2seq.load(list(folders), device="cpu", **settings)


def test_sentences_go_together_only_as_far_as_every_model_knows_it(folders: dict[str, Path], tmp_path: Path) -> None:
    knowing = []
    for name, length in (("a", 40), ("b", 25)):
        known = load_checkpoint(folders[name])
        knowing.append(tmp_path / name)
        save_checkpoint(
            knowing[-1], config=known.config, model=known.model, tokenizers=known.tokenizers,
            metrics={"joined_length": length, "length_ratio": 1.5},
        )  # fmt: skip
    assert load(*knowing).joined_length == load(*knowing[::-1]).joined_length == 25
    assert load(knowing[0], folders["b"]).joined_length == 0
    assert load(knowing[0], lm=folders["lm"]).joined_length == 40
    assert load(*knowing).usual_length_ratio == 1.5


# -------------------------------------------------------------- text and scores


@pytest.mark.parametrize("search", [{"search": "greedy"}, {"beam_size": 3, "n_best": 3}, {"search": "sample"}])
def test_a_model_beside_itself_gives_its_own_text_and_scores(folders: dict[str, Path], search: dict[str, Any]) -> None:
    alone = list(load(folders["a"]).translate_stream(LINES, **search))
    assert list(load(folders["a"], folders["a"]).translate_stream(LINES, **search)) == alone
    of_probs = list(load(folders["a"], folders["a"], ensemble="probs").translate_stream(LINES, **search))
    for ours, theirs in zip(of_probs, alone, strict=True):
        assert [c.text for c in ours.candidates] == [c.text for c in theirs.candidates]
        assert [c.score for c in ours.candidates] == pytest.approx([c.score for c in theirs.candidates], abs=1e-5)


COMBINATIONS: dict[str, dict[str, Any]] = {
    "log_probs": {},
    "weighted": {"ensemble_weights": [3, 1]},
    "probs": {"ensemble": "probs"},
    "fused": {"lm": "lm", "lm_weight": 0.5},
    "fused heavily": {"lm": "lm", "lm_weight": 4},
}


def together(folders: dict[str, Path], name: str, *more: Path, **settings: Any) -> Translator:
    given = {**COMBINATIONS[name], **settings}
    return load(folders["a"], folders["b"], *more, **{**given, **({"lm": folders["lm"]} if "lm" in given else {})})


@pytest.mark.parametrize("name", COMBINATIONS)
def test_forced_scores_are_made_of_the_members_own(folders: dict[str, Path], name: str) -> None:
    """The language model's are its own `score` of a line, so what it reads before a line is what it was trained on."""
    given = COMBINATIONS[name]
    # Shorter than the context of the language model, which by itself reads more in stretches.
    sources, targets = LINES[4:], [*LINES[:3], "one two. three", *LINES[5:7]]
    a, b = (load(folders[key]).score(targets, sources) for key in "ab")
    lm = load(folders["lm"]).score(targets)
    first, second = (weight / 4 for weight in given.get("ensemble_weights", (2, 2)))
    for ours, *members in zip(together(folders, name).score(targets, sources), a, b, lm, strict=True):
        one, two, three = (torch.tensor(member.log_probs, dtype=torch.float64) for member in members)
        expected = ((one.exp() + two.exp()) / 2).log() if "ensemble" in given else first * one + second * two
        expected += given.get("lm_weight", 0) * three
        torch.testing.assert_close(torch.tensor(ours.log_probs, dtype=torch.float64), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_sums_that_are_no_probabilities_are_no_confidence(folders: dict[str, Path], name: str) -> None:
    text = [*LINES[4:], "one two. three four."]
    for answer in together(folders, name).translate_stream(text, bounds=Bounds(min_confidence=1), split="sentences"):
        read = answer.report.signals
        if read is None:
            continue
        expected = None if "lm" in COMBINATIONS[name] else pytest.approx(math.exp(read.log_prob / read.tokens))
        assert read.confidence == expected
        assert (Flag.low_confidence in answer.report.flags) == (expected is not None)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_a_search_tells_the_forced_score_of_what_it_finds(folders: dict[str, Path], name: str) -> None:
    model = together(folders, name)
    # Where nothing is lost from tokens to text and back: no spaces, no line breaks.
    answers = list(model.translate_stream(LINES, beam_size=3))
    found = [answer for answer in answers if answer.text and " " not in answer.text]
    assert found
    for answer, score in zip(found, model.score([a.text for a in found], [a.source for a in found]), strict=True):
        candidate = answer.candidates[0]
        ended = Note.unfinished not in answer.notes
        assert candidate.tokens == len(answer.text) + ended
        expected = sum(value for value in score.log_probs[: candidate.tokens] if value is not None)
        assert expected == pytest.approx(candidate.log_prob, abs=1e-4)


@pytest.mark.parametrize("name", COMBINATIONS)
@settings(max_examples=3)
@given(order=st.permutations(range(len(LINES))), batch_tokens=st.sampled_from([1, 40, 300]))
def test_a_line_does_not_depend_on_its_neighbours(
    folders: dict[str, Path], name: str, order: list[int], batch_tokens: int
) -> None:
    model = together(folders, name)
    alone = [model.translate([line])[0] for line in LINES]
    shuffled = model.translate([LINES[index] for index in order], batch_tokens=batch_tokens)
    assert shuffled == [alone[index] for index in order]


def test_members_and_their_weights_matter(folders: dict[str, Path]) -> None:
    texts = {
        tuple(model.translate(LINES))
        for model in (
            load(folders["a"]),
            load(folders["b"]),
            load(folders["a"], folders["b"]),
            load(folders["a"], folders["b"], ensemble_weights=[1, 9]),
            load(folders["a"], folders["b"], ensemble="probs"),
            load(folders["a"], lm=folders["lm"], lm_weight=3),
        )
    }
    assert len(texts) == 6


def test_the_weight_of_a_language_model_is_a_fifth(folders: dict[str, Path]) -> None:
    told = load(folders["a"], lm=folders["lm"], lm_weight=0.2).score(LINES, LINES)
    assert load(folders["a"], lm=folders["lm"]).score(LINES, LINES) == told


def test_language_models_write_together(folders: dict[str, Path]) -> None:
    alone = "".join(load(folders["lm"]).generate("the", search="greedy", max_new_tokens=60))
    twice = "".join(load(folders["lm"], folders["lm"]).generate("the", search="greedy", max_new_tokens=60))
    other = "".join(load(folders["lm"], folders["lm2"]).generate("the", search="greedy", max_new_tokens=60))
    assert alone == twice != other


def test_what_needs_one_model_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(DecodingError, match="several models together, and alignments needs one by itself"):
        load(folders["a"], folders["b"]).align(["the dog"], ["the dog"])
    one, two = load(folders["lm"]), load(folders["lm"], folders["lm2"])
    with pytest.raises(DecodingError, match="several models together, and a draft needs"):
        two.as_draft()
    with pytest.raises(DecodingError, match="several models together, and a draft needs"):
        "".join(two.generate("the", draft=one.as_draft(), search="greedy"))


def test_the_tightest_limits_are_those_of_all(tiny_checkpoint: Make) -> None:
    short, long = (tiny_checkpoint(max_length=length, positions=Positions.learned) for length in (12, 30))
    model = seq2seq.load([long, short], device="cpu")
    assert model.config.data.max_length == model.config.model.max_length == 12
    assert len(model.translate(LINES)) == len(LINES)
    assert [score.log_prob for score in model.score(["x" * 20], ["x"])] == [None]
    lm = tiny_checkpoint("language_modelling", max_length=9, positions=Positions.learned)
    beside = seq2seq.load(long, lm=lm, device="cpu")
    assert (beside.config.data.max_length, beside.config.model.max_length) == (30, 9)
    answers = list(beside.translate_stream(LINES, max_length_ratio=4.0))
    assert len(answers) == len(LINES) and max(answer.candidates[0].tokens for answer in answers) >= 9
    free = tiny_checkpoint(max_length=30, positions=Positions.rotary)
    assert seq2seq.load(free, lm=lm, device="cpu").config.model.max_length == 9


# --------------------------------------------------------------------- refused


REFUSED: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "no vocabulary in common": (["a", "bytes"], {}, r"{bytes} has another vocabulary than {a}, .*checkpoint={a}"),
    "not the translator's": (["a"], {"lm": "lm of bytes"}, r"{lm of bytes} has another vocabulary than {a}"),
    "tasks": (["a", "lm"], {}, r"{lm} is a model of task=language_modelling and {a} of task=translation"),
    "labels": (["tagger", "tagger"], {}, "{tagger} is a model of task=tagging and {tagger} of task=tagging"),
    "documents": (["lm", "lm of files"], {}, "{lm of files} was trained with data.documents=file and {lm} with line"),
    "lm of files": (["a"], {"lm": "lm of files"}, "lm={lm of files} was trained on whole files"),
    "lm is none": (["a"], {"lm": "b"}, "lm={b} is a model of task=translation; name a language model"),
    "lm beside lm": (["lm"], {"lm": "lm2"}, "lm={lm2} has no effect: {lm} is no translator"),
    "rule of one": (["a"], {"ensemble": "probs"}, "ensemble=probs has no effect with one checkpoint"),
    "weights of one": (["a"], {"ensemble_weights": [1]}, "ensemble_weights has no effect with one checkpoint"),
    "rule": (["a", "b"], {"ensemble": "sum"}, "ensemble .sum. must be one of log_probs, probs"),
    "too few weights": (["a", "b"], {"ensemble_weights": [1]}, "ensemble_weights has 1 numbers for 2 checkpoints"),
    "no weight": (["a", "b"], {"ensemble_weights": [1, 0]}, "ensemble_weights .1 0. must all be finite and above 0"),
    "weight of no lm": (["a"], {"lm_weight": 0.1}, "lm_weight .0.1. has no effect without lm"),
    "no weight of an lm": (["a"], {"lm": "lm", "lm_weight": 0.0}, "lm_weight .0.0. must be a finite number above 0"),
    "none": ([], {}, "ckpt is not set"),
}


@pytest.mark.parametrize(("names", "given", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(
    folders: dict[str, Path], names: list[str], given: dict[str, Any], sentence: str
) -> None:
    given = {name: folders[value] if name == "lm" else value for name, value in given.items()}
    with pytest.raises(ConfigError, match=sentence.format(**folders)) as caught:
        load(*(folders[name] for name in names), **given)
    assert len(caught.value.problems) == 1


def test_languages_that_do_not_fit_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    there = changed(folders["a"], tmp_path / "there", source_language="en", target_language="de")
    back = changed(folders["a"], tmp_path / "back", source_language="de", target_language="en")
    english = changed(folders["lm"], tmp_path / "english", source_language="en")
    german = changed(folders["lm"], tmp_path / "german", source_language="de")
    with pytest.raises(ConfigError, match=f"{back} translates the other way round than {there}"):
        load(there, back)
    with pytest.raises(ConfigError, match=f"lm={english} is a model of en, from which {there} translates.*one of de"):
        load(there, lm=english)
    assert load(there, folders["b"], lm=german).translate(["the dog"])  # a language that is not told is no other one


def test_each_side_has_its_vocabulary(
    folders: dict[str, Path], tiny_tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    ours = tiny_tokenizers["characters"]
    other = CharacterTokenizer(" abcdefghijklmnopqrstuvwxyz.,:\nABD")
    assert other.vocab_size == ours.vocab_size
    source = changed(folders["a"], tmp_path / "source", tokenizers=Tokenizers(other, ours))
    target = changed(folders["a"], tmp_path / "target", tokenizers=Tokenizers(ours, other))
    for folder, side in ((source, "source"), (target, "target")):
        with pytest.raises(ConfigError, match=f"{folder} has another vocabulary of the {side} than {folders['a']}"):
            load(folders["a"], folder)
    assert load(source, lm=folders["lm"]).translate(["the dog"])
    with pytest.raises(ConfigError, match="has another vocabulary of the target than"):
        load(target, lm=folders["lm"])


def test_a_folder_that_is_no_checkpoint_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    for arguments in ([folders["a"], tmp_path / "gone"], [tmp_path / "gone"]):
        with pytest.raises(CheckpointError, match="gone: there is no such folder"):
            load(*arguments)
    with pytest.raises(CheckpointError, match="gone: there is no such folder"):
        load(folders["a"], lm=tmp_path / "gone")


# ------------------------------------------------------------- the command line


def test_translate_and_score_take_several(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, lm = folders["a"], folders["b"], folders["lm"]
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES))
    files = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--threads", "1", "--quiet"]
    for words, model in (
        (["--ckpt", a, b], load(a, b)),
        (["--ckpt", a, "--ckpt", b, "--ensemble", "probs"], load(a, b, ensemble="probs")),
        (["--ckpt", a, b, "--ensemble-weights", 1, 3], load(a, b, ensemble_weights=[1, 3])),
        (["--ckpt", a, "--lm", lm, "--lm-weight", 0.7], load(a, lm=lm, lm_weight=0.7)),
    ):
        assert translate([*map(str, words), *files]) == 0
        assert (tmp_path / "out").read_text().split("\n") == [*model.translate(LINES), ""]
    score = ["score", "--source", tmp_path / "in", "--target", tmp_path / "in", "--threads", 1, "--quiet"]
    capsys.readouterr()
    assert main([str(word) for word in [*score, "--ckpt", a, b, "--lm", lm]]) == 0
    printed = [float(line.split("\t")[0]) for line in capsys.readouterr().out.splitlines()]
    assert printed == pytest.approx([s.log_prob for s in load(a, b, lm=lm).score(LINES, LINES)], abs=1e-4)
    assert (
        main(["generate", "--ckpt", str(lm), str(folders["lm2"]), "--search", "greedy", "--max-new-tokens", "5"]) == 0
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["translate", "--ckpt", "{a}", "{bytes}"], "has another vocabulary than"),
        (["translate", "--ckpt", "{a}", "--ensemble", "probs"], "--ensemble probs has no effect with one checkpoint"),
        (["translate", "--ckpt", "{a}", "--lm-weight", "0.3"], "--lm-weight (0.3) has no effect without --lm"),
        (["translate", "--ckpt", "x", "y", "--alignments", "z"],
         "--alignments reads the attention of one model, but --ckpt x y makes it several together; name one folder"),
        (["translate", "--ckpt", "x", "--ckpt", "x", "--alignments", "z"], "but --ckpt x x makes it several"),
        (["translate", "--ckpt", "x", "--lm", "y", "--alignments", "z"], "but --lm makes it several together"),
        (["generate", "--ckpt", "{lm}", "{a}"], "is a model of task=translation"),
        (["score", "--reference", "x", "--hypothesis", "x", "--lm", "{lm}"], "--lm has no effect without --ckpt"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence_and_exit_code_two(
    folders: dict[str, Path], words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(**folders) for word in words]) == 2
    out, errors = capsys.readouterr()
    assert not out and sentence in errors and len(errors.splitlines()) == 1


def test_evaluate_takes_several(folders: dict[str, Path], tmp_path: Path) -> None:
    a, b = (changed(folders[name], tmp_path / name, source_language="in", target_language="out") for name in "ab")
    lm = changed(folders["lm"], tmp_path / "lm", documents=Documents.line)
    for language in ("in", "out"):
        (tmp_path / f"text.{language}").write_text("the dog\na man is here.\nhere\n")
    register_schemas(evaluate_schema=EvaluateConfig)

    def scores(*words: str) -> dict[str, Any]:
        fixed = ["device=cpu", "precision=float32", "threads=1", f"data={tmp_path}/text", f"output_dir={tmp_path}/out"]
        return evaluate(check("evaluate", [*fixed, *words], EvaluateConfig))

    alone = [scores(f"ckpt={folder}") for folder in (a, b)]
    both = scores(f"ckpt=[{a},{b}]", "decoding.beam_size=2")
    assert both["loss"] == pytest.approx(sum(found["loss"] for found in alone) / 2, rel=1e-5)
    assert both["ckpt"] == [str(a), str(b)] and json.loads((tmp_path / "out" / "scores.json").read_text()) == both
    sources = ["the dog", "a man is here.", "here"]
    expected = load(a, b).translate(sources, decoding=EvaluateConfig().decoding, beam_size=2)
    assert (tmp_path / "out" / "translations.txt").read_text().splitlines() == expected
    of_probs = scores(f"ckpt=[{a},{b}]", "ensemble=probs", "ensemble_weights=[2,1]")
    assert of_probs["loss"] < 2 * alone[0]["loss"] + alone[1]["loss"] and of_probs["ensemble"] == EnsembleRule.probs
    fused = scores(f"ckpt={a}", f"lm={lm}", "lm_weight=0.5")
    assert fused["loss"] > alone[0]["loss"] and (fused["lm"], fused["lm_weight"]) == (str(lm), 0.5)
    for words, sentence in (
        ([f"ckpt=[{a},{b}]", "output_dir=null"], "output_dir is not set, and several models"),
        ([f"ckpt=[{a},3]"], "must be a checkpoint folder, or a list of them"),
        ([f"ckpt={a}", "ensemble=probs"], "ensemble=probs has no effect with one checkpoint"),
        (["ckpt=[]"], "ckpt is not set"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            scores(*words)


def test_a_decoder_only_translator_is_a_member_like_any(tiny_checkpoint: Make) -> None:
    two_stacks, one_stack = tiny_checkpoint(seed=1), tiny_checkpoint(seed=2, encoder_layers=0)
    model = load(one_stack, two_stacks)
    alone = [model.translate([line])[0] for line in LINES]
    assert model.translate(LINES) == alone
    assert alone not in (load(one_stack).translate(LINES), load(two_stacks).translate(LINES))
    tables = [tiny_checkpoint(positions=Positions.learned, encoder_layers=layers) for layers in (1, 0)]
    with pytest.raises(ConfigError, match="of which one is decoder-only, count positions differently"):
        load(*tables)
    lm = tiny_checkpoint("language_modelling", positions=Positions.learned)
    with pytest.raises(ConfigError, match="has a table of positions for a target alone"):
        load(one_stack, lm=lm)

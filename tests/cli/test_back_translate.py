"""`seq2seq back-translate` on tiny untrained models: which lines become pairs, and that the pairs can be trained on."""

import gzip
import json
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seq2seq
from seq2seq.checkpoint import load_checkpoint, save_checkpoint
from seq2seq.cli.back_translate import Counts, _good, _usable
from seq2seq.cli.main import main
from seq2seq.cli.pair_output import PairOutput
from seq2seq.config import TokenizerKind
from seq2seq.configure import check, register_schemas
from seq2seq.data.filters import Filter
from seq2seq.data.lines import Line
from seq2seq.data.tokenizer import Tokenizer, Tokenizers
from seq2seq.train import run as train

Make = Callable[..., Path]

MONO = [b"the dog", b"", b"the  cat", b"a \xff fox", b"the dog", b"the cat ", b"a fox", b" \t", b"over\xe2\x80\xa8it"]


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the reverse direction, whose outputs may be of any length."""
    checkpoint = load_checkpoint(tiny_checkpoint())
    config = checkpoint.config
    config.data.train, config.data.valid, config.data.max_pairs = "old/train", "old/valid", 3
    config.data.source_language, config.data.target_language = "de", "en"
    config.data.source_field, config.data.target_field = "german", "english"
    folder = tmp_path_factory.mktemp("reverse") / "best"
    save_checkpoint(folder, config=config, model=checkpoint.model, tokenizers=checkpoint.tokenizers, metrics={})
    return folder


def call(*arguments: str | Path) -> int:
    return main(["back-translate", *map(str, arguments)])


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def written(path: Path, lines: list[bytes]) -> Path:
    content = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_lines_become_pairs_whose_source_is_the_models_output(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = written(tmp_path / "mono.de.gz", MONO[:5]), written(tmp_path / "more.de", MONO[5:])
    # an untrained model does not end its outputs, and those are left out
    monkeypatch.setattr("seq2seq.cli.back_translate._kept", kept_whatever_its_length)
    more = ["--ckpt", checkpoint, "--input", one, two, "--pair-ratio", 9]
    assert call(*more, "--output", tmp_path / "bt" / "train") == 0
    targets = ["the dog", "the  cat", "a fox", "over it"]
    assert lines_of(tmp_path / "bt" / "train.de") == targets
    made = seq2seq.load(checkpoint).translate(targets)
    assert lines_of(tmp_path / "bt" / "train.en") == made
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    counts = {name: summary[name] for name in ("read", "blank", "damaged", "repeated", "pairs")}
    assert counts == {"read": 9, "blank": 2, "damaged": 1, "repeated": 2, "pairs": 4}
    assert "left out: repeated lines                                     2" in captured.err
    assert "data.max_pairs=3 also limits the new pairs" in captured.err

    for tag, symbol in ((["--tag"], "<bt>"), (["--tag", "<made>"], "<made>")):
        output = tmp_path / symbol / "train"
        assert call(*more, *tag, "--output", output, "--quiet") == 0
        assert lines_of(Path(f"{output}.en")) == [f"{symbol} {line}" for line in made]
        assert lines_of(Path(f"{output}.de")) == targets


def test_no_pair_left_is_an_error_and_leaves_no_corpus(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An untrained model ends none of its outputs."""
    mono = written(tmp_path / "mono.de", MONO)
    assert call("--ckpt", checkpoint, "--input", mono, "--output", tmp_path / "bt" / "train") == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "no pair is left to train on" in captured.err
    assert not (tmp_path / "bt" / "train.de").exists()


def kept_whatever_its_length(answer: Any, _: None) -> dict[str, Any]:
    return {"text": answer.text, "too_long": False, "unfinished": False}


def test_stopped_and_gone_on_is_never_stopped(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mono = written(tmp_path / "mono.de", [f"dog {number} fox".encode() for number in range(50)])
    monkeypatch.setattr("seq2seq.cli.back_translate._kept", kept_whatever_its_length)
    more = ["--ckpt", checkpoint, "--input", mono, "--search", "sample", "--seed", 3, "--pair-ratio", 9, "--output"]
    assert call(*more, tmp_path / "whole") == 0
    real = PairOutput.add

    def add(self: PairOutput, record: dict[str, Any]) -> None:
        if self.done == 17:
            raise KeyboardInterrupt
        real(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(PairOutput, "add", add)
        assert call(*more, tmp_path / "cut") == 130
    assert "17 of 50 lines are done" in capsys.readouterr().err
    assert call(*more, tmp_path / "cut", "--seed", "4") == 2  # another draw
    mono.write_bytes(mono.read_bytes() + b"one more\n")
    assert call(*more, tmp_path / "cut") == 2
    assert "was begun with another model, text or search" in capsys.readouterr().err
    mono.write_bytes(mono.read_bytes().removesuffix(b"one more\n"))
    assert call(*more, tmp_path / "cut", "--tag") == 0  # the tag is put on at the end, so it may still change
    assert (tmp_path / "cut.de").read_bytes() == (tmp_path / "whole.de").read_bytes()
    assert lines_of(tmp_path / "cut.en") == [f"<bt> {line}" for line in lines_of(tmp_path / "whole.en")]


@given(
    st.lists(
        st.one_of(st.sampled_from(MONO), st.binary(max_size=6).map(lambda raw: raw.replace(b"\n", b""))), max_size=40
    )
)
def test_every_line_is_usable_or_counted_once(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = written(tmp_path_factory.mktemp("mono") / "mono.de", lines)
    usable, counts = _usable([str(path)])
    assert len(usable) == counts.read == len(lines)
    assert counts.blank + counts.damaged + counts.repeated + int(usable.sum()) == counts.read
    chosen = [lines[index] for index in np.flatnonzero(usable)]
    assert len({b" ".join(line.split()) for line in chosen}) >= len(chosen) - counts.read  # never an error
    kept = [line for line in chosen if line in MONO]
    assert len(kept) == len(set(kept))


def record(text: str, **flags: bool) -> dict[str, Any]:
    return {"text": text, "too_long": False, "unfinished": False, **flags}


ANSWERED = {
    "pairs": (record("a dog"), "the cat"),
    "too_long": (record("a dog", too_long=True), "the cat"),
    "unfinished": (record("a dog", unfinished=True), "the cat"),
    "copied": (record("The  cat"), "the cat"),
    "empty": (record(""), "the cat"),
    "length_ratio": (record("a"), "abcdefghijklmnop"),
}


def test_each_rule_counts_what_it_leaves_out(tiny_tokenizers: dict[str, Tokenizer]) -> None:
    characters = tiny_tokenizers["characters"]
    counts = Counts()
    answered = ((made, Line(line)) for made, line in [*ANSWERED.values(), (record("a fox", too_long=False), "x" * 30)])
    rules = Filter(max_length=24, max_length_ratio=3.0)
    pairs = list(_good(answered, rules, Tokenizers(characters, characters), counts))
    assert pairs == [("a dog", "the cat")]
    left_out = {name: getattr(counts, name) for name in ANSWERED if name != "pairs"}
    assert left_out == {"too_long": 2, "unfinished": 1, "copied": 1, "empty": 1, "length_ratio": 1}


REFUSED = {
    "ratio": (["--pair-ratio", "0.5"], "--pair-ratio (0.5) must be 1 or more"),
    "no ratio": (["--pair-ratio", "nan"], "--pair-ratio (nan) must be 1 or more"),
    "stdin": (["--input", "-"], "--input -: the text is read more than once"),
    "two words": (["--tag", "made up"], "--tag ('made up') must be one word"),
    "special": (["--tag", "</s>"], "--tag (</s>) is a special symbol"),
    "characters": (["--tag"], "tokenizer.kind=characters cannot"),
    "missing": (["--input", "nowhere.de"], "nowhere.de: cannot be read"),
}


@pytest.mark.parametrize(("more", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(
    checkpoint: Path, tmp_path: Path, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mono = written(tmp_path / "mono.de", MONO)
    folder = load_checkpoint(checkpoint)
    if sentence.startswith("tokenizer.kind"):
        folder.config.tokenizer.kind, folder.config.tokenizer.vocab_size = TokenizerKind.characters, None
    save_checkpoint(
        tmp_path / "ckpt", config=folder.config, model=folder.model, tokenizers=folder.tokenizers, metrics={}
    )
    assert call("--ckpt", tmp_path / "ckpt", "--input", mono, "--output", tmp_path / "new" / "bt", *more) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_from_the_reverse_model_to_training_on_both_corpora(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a user types: the reverse model, the command, and the line that it shows."""
    chance = random.Random(1)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "slow", "grey", "cat"]
    lines = [" ".join(chance.choices(words, k=chance.randint(2, 6))) for _ in range(200)]
    for name, part in (
        ("train.en", lines),
        ("train.de", lines[::-1]),
        ("valid.en", lines[:5]),
        ("valid.de", lines[:5]),
    ):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in part))
    mono = written(tmp_path / "mono.de", [line.encode() for line in lines[:30]])
    register_schemas()
    shared = [
        "model=small", "model.encoder_layers=1", "model.decoder_layers=1", "model.dim=16", "model.num_heads=2",
        "model.feed_forward_dim=32", "tokenizer.vocab_size=40", "tokenizer.byte_fallback=false", "decoding=greedy",
        f"data.train={tmp_path}/train", f"data.valid={tmp_path}/valid", f"data.cache_dir={tmp_path}/cache",
        "training.threads=1", "device=cpu", "precision=float32", "training.batch_tokens=512",
    ]  # fmt: skip
    reverse = [*shared, "data.source_language=de", "data.target_language=en", f"run_dir={tmp_path}/reverse"]
    train(check("train", [*reverse, "training.steps=2"]))
    capsys.readouterr()
    monkeypatch.setattr("seq2seq.cli.back_translate._kept", kept_whatever_its_length)  # two steps teach no end
    more = ["--ckpt", tmp_path / "reverse", "--input", mono, "--tag", "--max-length-ratio", 1, "--pair-ratio", 50]
    assert call(*more, "--output", tmp_path / "bt/train") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["pairs"] > 20
    config = check("train", words := shlex.split(summary["train"])[3:])
    assert config.data.train == [f"{tmp_path}/train", f"{tmp_path}/bt/train"] and config.data.weights == [1.0, 1.0]
    assert (config.data.source_language, config.data.target_language) == ("en", "de")
    assert config.tokenizer.user_symbols == ["<bt>"]
    train(check("train", [*words, "training.steps=2"]))
    tokenizer = load_checkpoint(config.run_dir).tokenizers.source
    tagged, plain = tokenizer.encode("<bt> the dog"), tokenizer.encode("the dog")
    assert tokenizer.decode(tagged) == "<bt> the dog"
    assert tagged[-len(plain) :] == plain and len(tagged) <= len(plain) + 2  # the tag is one token, with its space

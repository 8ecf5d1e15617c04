import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.config import Config, DataConfig, Documents, Positions, Task, TokenizerConfig, TokenizerKind
from seq2seq.data import sample_corpus
from seq2seq.data.batching import PackedBatches, PairBatches
from seq2seq.data.prepare import prepare
from seq2seq.data.token_cache import TokenDataset, TokenStream
from seq2seq.data.tokenizer import EOS, LabelVocabulary
from seq2seq.errors import DataError


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    def make(task: Task = Task.translation, *, tokenizer: TokenizerConfig | None = None, **data: Any) -> Config:
        languages = {} if task is Task.language_modelling else {"source_language": "en", "target_language": "de"}
        return Config(
            task=task,
            data=DataConfig(**{"cache_dir": str(tmp_path / "cache"), **languages, **data}),
            tokenizer=tokenizer or TokenizerConfig(vocab_size=320),
        )

    return make


def test_translation_drops_training_pairs_only(config, sentences, write_pairs) -> None:  # type: ignore[no-untyped-def]
    odd = [("", "leer"), ("the " * 200, "die " * 200), ("cat", "die Katze " * 15)]
    prepared = prepare(
        config(train=write_pairs([*sentences, *odd]), valid=write_pairs(odd, "valid"), test=write_pairs(odd, "test"))
    )
    counts = prepared.drop_counts
    assert counts is not None and isinstance(prepared.train, list)
    assert (counts.read, counts.empty, counts.too_long, counts.length_ratio) == (403, 1, 1, 1)
    assert [len(dataset) for dataset in prepared.train] == [400]
    (kept,) = prepared.train
    tokens = [sum(len(side(index)) - 1 for index in range(400)) for side in (kept.source, kept.target)]
    assert prepared.length_ratio == pytest.approx(tokens[1] / tokens[0], abs=1e-6)
    assert prepared.valid_pairs == prepared.test_pairs == odd
    for encoded in (prepared.valid, prepared.test):
        assert isinstance(encoded, TokenDataset)
        assert len(encoded) == 3
        batches = PairBatches([encoded], batch_tokens=64, seed=1, shuffle=False).epoch(0)
        assert sum(batch.num_tokens for batch in batches) == encoded.target_lengths.sum()
    assert (prepared.corpus_name, prepared.notice) == ("files", None)
    assert prepared.tokenizers.joint


def test_second_run_touches_neither_text_nor_trainer(  # type: ignore[no-untyped-def]
    config, sentences, write_pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(train=write_pairs(sentences), valid=write_pairs(sentences[:9], "valid"))
    first = prepare(settings)
    monkeypatch.setattr("seq2seq.data.files.Lines.__iter__", None)
    monkeypatch.setattr("sentencepiece.SentencePieceTrainer.train", None)
    second = prepare(settings)
    assert isinstance(first.train, list) and isinstance(second.train, list)
    assert second.tokenizers.source.fingerprint == first.tokenizers.source.fingerprint
    assert second.drop_counts == first.drop_counts
    assert second.train[0].source(7).tolist() == first.train[0].source(7).tolist()


def test_given_tokenizers_are_used(config, sentences, write_pairs, tokenizers) -> None:  # type: ignore[no-untyped-def]
    text = write_pairs(sentences)
    prepared = prepare(config(train=text, valid=text, tokenizer=TokenizerConfig(vocab_size=1_000_000)),
                       tokenizers=tokenizers)  # fmt: skip
    assert prepared.tokenizers is tokenizers


def test_unequal_files_are_refused_before_anything_is_learned(config, sentences, write_pairs, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    text = write_pairs(sentences)
    with (tmp_path / "train.de").open("a") as file:
        file.write("noch eine\n")
    with pytest.raises(DataError, match=r"train\.en has 400 lines and .*train\.de has 401"):
        prepare(config(train=text, valid=text))
    assert not list((tmp_path / "cache").rglob("*"))


def test_nothing_left_and_nothing_to_validate_on(config, sentences, write_pairs) -> None:  # type: ignore[no-untyped-def]
    text, none = write_pairs(sentences), write_pairs([], "none")
    with pytest.raises(DataError, match="no training pair is left.\n.*pairs read +400"):
        prepare(config(train=text, valid=text, max_length=2))
    with pytest.raises(DataError, match="none.en and .*none.de: no line in it to validate or test on"):
        prepare(config(train=text, valid=none))


def test_a_held_out_line_beyond_learned_positions_is_refused(config, sentences, write_pairs) -> None:  # type: ignore[no-untyped-def]
    text = write_pairs(sentences)
    settings = config(train=text, valid=write_pairs([("a", "b"), ("the cat", "die Katze " * 50)], "valid"))
    settings.model.max_length = 128
    prepare(settings)
    settings.model.positions = Positions.learned
    with pytest.raises(DataError, match=r"valid\.de:2: \d+ tokens, but .* ends at model.max_length \(128\)"):
        prepare(settings)


def test_several_corpora(config, sentences, write_pairs, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rows = [json.dumps({"en": english, "de": german}) for english, german in sentences[:50]]
    (tmp_path / "more.jsonl").write_text("\n".join(rows) + "\n")
    text = write_pairs(sentences)
    prepared = prepare(config(train=[text, str(tmp_path / "more.jsonl")], valid=text, max_pairs=100))
    assert isinstance(prepared.train, list)
    assert [len(dataset) for dataset in prepared.train] == [100, 50]
    plan = PairBatches(prepared.train, weights=[1.0, 2.0], batch_tokens=256, seed=1, shuffle=True).epoch(0)
    assert sum(len(plan.examples(position)) for position in range(len(plan))) == 200


def test_characters_like_nanogpt(config, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    text = "ROMEO:\n  But, soft!\n\nwhat light?\n" * 30
    (tmp_path / "input.txt").write_text(text)
    prepared = prepare(
        config(
            Task.language_modelling,
            train=str(tmp_path / "input.txt"),
            documents=Documents.file,
            tokenizer=TokenizerConfig(kind=TokenizerKind.characters, vocab_size=None),
        )
    )
    assert isinstance(prepared.train, TokenStream) and isinstance(prepared.valid, TokenStream)
    cut = int(len(text) * 0.9)
    tokenizer = prepared.tokenizers.target
    assert tokenizer.vocab_size == len(set(text)) + 4
    assert tokenizer.decode(prepared.train.read(0, len(prepared.train)).tolist()) == text[:cut]
    assert tokenizer.decode(prepared.valid.read(0, len(prepared.valid)).tolist()) == text[cut:]
    assert prepared.drop_counts is None
    batch = PackedBatches(prepared.train, context=8, batch_tokens=32, seed=1, shuffle=True).epoch(0)[0]
    assert batch.target_in is not None and batch.target_in.shape == (4, 8)


@pytest.mark.shared
def test_tinyshakespeare_has_65_characters(config, shared_data: Path) -> None:  # type: ignore[no-untyped-def]
    prepared = prepare(
        config(
            Task.language_modelling,
            train=str(shared_data / "tinyshakespeare" / "input.txt"),
            documents=Documents.file,
            tokenizer=TokenizerConfig(kind=TokenizerKind.characters, vocab_size=None),
        )
    )
    # The figures of nanoGPT's data/shakespeare_char/prepare.py.
    assert prepared.tokenizers.target.vocab_size == 65 + 4
    assert (len(prepared.train), len(prepared.valid)) == (1_003_854, 111_540)  # type: ignore[arg-type]


def test_pieces_of_a_whole_file_join_to_the_file(config, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    text = "ROMEO:\n    But, soft!  what  light\n\nthrough yonder window breaks?\n" * 30
    (tmp_path / "input.txt").write_text(text)
    prepared = prepare(
        config(
            Task.language_modelling,
            train=str(tmp_path / "input.txt"),
            documents=Documents.file,
            tokenizer=TokenizerConfig(vocab_size=290),
        )
    )
    stream = prepared.train
    assert isinstance(stream, TokenStream)
    assert prepared.tokenizers.target.decode(stream.read(0, len(stream)).tolist()) == text[: int(len(text) * 0.9)]


def test_lines_as_documents(config, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "input.txt").write_text("one line\nanother line\n" * 50)
    prepared = prepare(
        config(
            Task.language_modelling,
            train=str(tmp_path / "input.txt"),
            tokenizer=TokenizerConfig(kind=TokenizerKind.bytes, vocab_size=None),
        )
    )
    stream = prepared.train
    assert isinstance(stream, TokenStream)
    ids = stream.read(0, len(stream)).tolist()
    assert ids.count(EOS) == 90 and ids[len("one line")] == EOS


def test_classification_and_tagging(config, sentences, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name, language in (("text", None), ("label", 0), ("tag", 1)):
        with (tmp_path / f"c.{name}").open("w") as file:
            for english, _ in sentences:
                words = english.split()
                line = {None: english, 0: "long" if len(words) > 6 else "short",
                        1: " ".join("W" if word[0] > "m" else "V" for word in words)}[language]  # fmt: skip
                file.write(line + "\n")
    for task, column in ((Task.classification, "label"), (Task.tagging, "tag")):
        settings = config(task, train=str(tmp_path / "c"), valid=str(tmp_path / "c"))
        settings.data.source_language, settings.data.target_language = "text", column
        settings.tokenizer.vocab_size = 290
        prepared = prepare(settings)
        assert isinstance(prepared.train, list) and isinstance(prepared.tokenizers.target, LabelVocabulary)
        assert prepared.tokenizers.target.vocab_size == 2
        assert len(prepared.train[0]) == 400  # no length ratio for labels
        batch = PairBatches(prepared.train, batch_tokens=200, seed=1, shuffle=True).epoch(0)[0]
        assert batch.source is not None
        expected = (len(batch.source),) if task is Task.classification else tuple(batch.source.shape)
        assert tuple(batch.target_out.shape) == expected


def test_sample(config, monkeypatch: pytest.MonkeyPatch, sentences) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sample_corpus, "sample_pairs", lambda split: sentences)
    prepared = prepare(config(train="sample", valid="sample"))
    assert prepared.corpus_name == "sample" and prepared.valid_pairs == sentences and prepared.test_pairs is None

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import DataConfig, Documents, Task, WhenOffline
from seq2seq.data import corpus as corpus_module
from seq2seq.data import hub, offline, sample_corpus
from seq2seq.data.corpus import FirstPairs, TextPart, open_corpus, open_text
from seq2seq.data.files import TsvFile
from seq2seq.data.offline import ENGLISH
from seq2seq.errors import DataError

PAIRS = [("one", "eins"), ("two", "zwei"), ("three", "drei")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, language in enumerate(("en", "de")):
        text = "".join(pair[index] + "\n" for pair in PAIRS)
        (tmp_path / f"plain.{language}").write_text(text)
        (tmp_path / f"zipped.{language}.gz").write_bytes(gzip.compress(text.encode()))
        (tmp_path / f"{language}_side.txt").write_text(text)
    rows = "".join("\t".join(pair) + "\n" for pair in PAIRS)
    objects = "".join(json.dumps({"en": english, "translation": {"de": german}}) + "\n" for english, german in PAIRS)
    for name, text in (("t.tsv", rows), ("j.jsonl", objects)):
        (tmp_path / name).write_text(text)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path


def config(**settings: Any) -> DataConfig:
    return DataConfig(**{"source_language": "en", "target_language": "de", **settings})


@pytest.mark.parametrize(
    "spec", ["plain", "zipped", "{language}_side.txt", "t.tsv", "t.tsv.gz", "j.jsonl", "j.jsonl.gz"]
)
def test_every_kind_of_spec(folder: Path, spec: str) -> None:
    text = open_text(f"{folder}/{spec}", config(), task=Task.translation, key="data.train")
    assert list(text) == list(text) == PAIRS
    assert text.where(1).endswith(":2")
    text.fingerprint.encode()


def test_fields_come_before_languages(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"en": "x", "de": "y", "from": "a", "to": {"deep": "b"}}\n')
    settings = config(source_field="from", target_field="to.deep")
    assert list(open_text(str(path), settings, task=Task.translation, key="data.train")) == [("a", "b")]


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        ("nowhere", {}, r"data\.valid=.*nowhere: no source file; looked for .*nowhere\.en and .*nowhere\.en\.gz"),
        ("plain", {"target_language": "fr"}, r"no target file; looked for .*plain\.fr and .*\.gz\. .*target_language"),
        ("plain", {"source_language": None}, r"needs data\.source_language"),
        ("plain.en", {}, r"is one file, and two sides are needed"),
        ("no.tsv", {}, r"data\.valid: no such file, .*no\.tsv\. Correct the path; relative ones start at /"),
        ("no.jsonl.gz", {}, r"data\.valid: no such file"),
        ("j.jsonl", {"target_language": None}, r"neither data\.target_field nor data\.target_language is set"),
    ],
)
def test_what_is_missing_is_named(folder: Path, spec: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_text(f"{folder}/{spec}", config(**settings), task=Task.translation, key="data.valid")


def test_classification_reads_the_same_kinds(folder: Path) -> None:
    (folder / "c.text").write_text("a b\n")
    (folder / "c.label").write_text("x\n")
    settings = config(source_language="text", target_language="label")
    assert list(open_text(f"{folder}/c", settings, task=Task.classification, key="data.train")) == [("a b", "x")]
    assert list(open_text(f"{folder}/t.tsv", DataConfig(), task=Task.tagging, key="data.train")) == PAIRS


def test_language_models_read_files_and_one_side(folder: Path) -> None:
    def read(spec: str, **settings: Any) -> list[str]:
        text = open_text(f"{folder}/{spec}", DataConfig(**settings), task=Task.language_modelling, key="data.train")
        return [document for source, document in text if source == ""]

    assert read("plain.en") == ["one", "two", "three"]
    assert read("zipped.en.gz", documents=Documents.file) == ["one\n", "two\n", "three\n"]
    assert read("plain", source_language="de") == ["eins", "zwei", "drei"]
    assert read("{language}_side.txt", source_language="de") == ["eins", "zwei", "drei"]
    assert read("j.jsonl", source_field="en") == ["one", "two", "three"]
    with pytest.raises(DataError, match=r"data\.train: no such file; looked for .*nope\. Correct"):
        read("nope")


def test_corpus_of_files(folder: Path) -> None:
    found = open_corpus(
        config(train=[f"{folder}/plain", f"{folder}/t.tsv"], valid=f"{folder}/zipped", max_pairs=2),
        task=Task.translation,
    )
    assert [list(text) for text in found.train] == [PAIRS[:2], PAIRS[:2]]
    assert list(found.valid) == PAIRS  # the limit is for training text
    assert (found.test, found.name, found.notice) == (None, "files", None)
    with (folder / "plain.de").open("a") as file:
        file.write("one more\n")
    found = open_corpus(config(train=f"{folder}/plain", valid=f"{folder}/zipped", max_pairs=2), task=Task.translation)
    with pytest.raises(DataError, match="plain.en has 3 lines and .*plain.de has 4; .* Align them again"):
        list(found.train[0])  # though the first two are there
    (text,) = open_corpus(config(train=f"{folder}/plain", valid=f"{folder}/plain"), task=Task.translation).train
    assert len({text.fingerprint, FirstPairs(text, 2).fingerprint, FirstPairs(text, 1).fingerprint}) == 3


@given(
    lines=st.lists(st.text("abcü", max_size=9).map(lambda line: line + "\n"), min_size=1),
    share=st.floats(0.05, 0.95),
    by_characters=st.booleans(),
)
def test_held_out_end_of_a_text(listed, lines: list[str], share: float, by_characters: bool) -> None:  # type: ignore[no-untyped-def]
    source = listed([("", line) for line in lines])
    kept, held_out = (
        TextPart(source, last=share, held_out=part, by_characters=by_characters) for part in (False, True)
    )
    total = sum(map(len, lines)) if by_characters else len(lines)
    cut = int(total * (1 - share))  # nanoGPT: data/shakespeare_char/prepare.py
    if not 0 < cut < total:
        with pytest.raises(DataError, match=r"too few to keep \d+% for validation\. Name .* data\.valid, raise"):
            list(kept)
        return
    if by_characters:
        text = "".join(lines)
        assert "".join(part for _, part in kept) == text[:cut]
        assert "".join(part for _, part in held_out) == text[cut:]
    else:
        assert [line for _, line in kept] == lines[:cut]
        assert [line for _, line in held_out] == lines[cut:]
    assert kept.fingerprint != held_out.fingerprint != source.fingerprint


def test_language_model_validates_on_its_own_end(folder: Path) -> None:
    settings = DataConfig(train=f"{folder}/plain.en", valid_fraction=0.34)
    found = open_corpus(settings, task=Task.language_modelling)
    assert found.valid_from_train
    assert [[text for _, text in part] for part in (*found.train, found.valid)] == [["one"], ["two", "three"]]
    settings.train = [settings.train, settings.train]
    with pytest.raises(DataError, match=r"data\.train names 2 texts; name a validation text"):
        open_corpus(settings, task=Task.language_modelling)


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A sample corpus that takes no seconds to make, and no hub."""
    monkeypatch.setattr(sample_corpus, "sample_pairs", lambda split: [(f"{split} {n}", f"{n}.") for n in range(9)])
    monkeypatch.setattr(hub, "why_unreachable", lambda: "no such host")
    monkeypatch.setattr(offline, "offline_english", lambda: "some words\n" * 50)
    return tmp_path / "cache"


def test_sample_by_name(small_sample: Path) -> None:
    settings = config(train="sample", valid="sample", cache_dir=str(small_sample))
    found = open_corpus(settings, task=Task.translation)
    assert (found.name, found.notice) == ("sample", None)
    assert next(iter(found.train[0])) == ("train 0", "0.")
    settings.source_language, settings.target_language = "de", "en"
    assert next(iter(open_corpus(settings, task=Task.translation).valid)) == ("0.", "valid 0")
    settings.target_language = "fr"
    with pytest.raises(DataError, match=r"data\.train=sample is English-German .*target_language=fr"):
        open_corpus(settings, task=Task.translation)


@pytest.mark.parametrize(
    ("languages", "direction", "first"),
    [
        (("en", "de"), "(English-German made", ("test 0", "0.")),
        (("de", "en"), "(German-English made", ("0.", "test 0")),
        (("en", "fr"), "(English-German, not en-fr, made", ("test 0", "0.")),
    ],
)
def test_sample_stands_in_for_an_unreachable_hub(
    small_sample: Path, languages: tuple[str, str], direction: str, first: tuple[str, str]
) -> None:
    found = open_corpus(
        DataConfig(
            train=["hub:wmt/wmt14:de-en", "elsewhere"],
            valid="hub:wmt/wmt14:de-en",
            source_language=languages[0],
            target_language=languages[1],
            max_pairs=4,
            cache_dir=str(small_sample),
        ),
        task=Task.translation,
    )
    assert found.name == "sample" and found.test is not None and found.notice is not None
    assert (len(list(found.train[0])), len(list(found.valid)), next(iter(found.test))) == (4, 9, first)
    for part in ("hub:wmt/wmt14:de-en", "cannot be reached (no such host)", direction, "data.when_offline=fail"):
        assert part in found.notice


def test_english_stands_in_for_a_language_model(small_sample: Path) -> None:
    settings = DataConfig(train="hub:some/text", documents=Documents.file, cache_dir=str(small_sample))
    found = open_corpus(settings, task=Task.language_modelling)
    assert found.name == "sample" and found.valid_from_train and found.notice is not None
    assert ENGLISH in found.notice
    assert len("".join(text for _, text in found.valid)) == 55 + 1


def test_when_nothing_may_stand_in(small_sample: Path, folder: Path) -> None:
    settings = config(train="hub:a/b", valid="hub:a/b", cache_dir=str(small_sample), when_offline=WhenOffline.fail)
    reason = re.escape("data.train=hub:a/b: the Hugging Face hub cannot be reached (no such host)")
    with pytest.raises(DataError, match=reason):
        open_corpus(settings, task=Task.translation)
    settings.when_offline = WhenOffline.sample
    with pytest.raises(DataError, match="There is no embedded sample corpus for task=classification"):
        open_corpus(settings, task=Task.classification)
    # Real training text is not thrown away because its validation text cannot be had.
    settings.train = f"{folder}/plain"
    with pytest.raises(DataError, match=r"data\.valid=hub:a/b: .* cannot be reached .* Name a local file"):
        open_corpus(settings, task=Task.translation)


def test_defaults_of_the_hub_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def open_hub(spec: str, **settings: Any) -> object:
        asked[settings["key"]] = (spec, settings["default_split"], settings["limit"])
        return TsvFile(Path("unread"))

    monkeypatch.setattr(corpus_module, "open_hub", open_hub)
    found = open_corpus(config(train="hub:a:b", valid="hub:a", test="hub:c::dev", max_pairs=5), task=Task.translation)
    assert found.name == "hub"
    assert asked == {
        "data.train": ("a:b", "train", 5),
        "data.valid": ("a", "validation", None),
        "data.test": ("c::dev", "test", None),
    }

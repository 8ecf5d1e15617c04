from pathlib import Path

import pytest

from seq2seq.config import Config, Documents, Task, TokenizerKind
from seq2seq.data.changes import describe_change
from seq2seq.data.prepare import Prepared, prepare

PAIRS = [f"line {number}\tLINE {number}" for number in range(30)]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A run over two corpora of pairs, of which some are too long."""
    made = Config()
    made.tokenizer.kind, made.tokenizer.vocab_size = TokenizerKind.bytes, None
    made.data.cache_dir, made.data.workers, made.data.max_length = str(tmp_path / "cache"), 1, 20
    made.data.train = [f"{tmp_path}/first.tsv", f"{tmp_path}/second.tsv"]
    made.data.valid = f"{tmp_path}/valid.tsv"
    for name in ("first", "second", "valid"):
        write(made, name, [*PAIRS[:2], f"{'too long ' * 9}\tx", *PAIRS[2:]])
    return made


def write(config: Config, name: str, lines: list[str]) -> None:
    assert config.data.cache_dir is not None
    (Path(config.data.cache_dir).parent / f"{name}.tsv").write_text("".join(f"{line}\n" for line in lines))


def prints(prepared: Prepared) -> list[str]:
    return [source.fingerprint for source in prepared.corpus.train]


def changed(config: Config, name: str, lines: list[str]) -> str | None:
    """What is said when lines take the place of a text."""
    before = prepare(config)
    write(config, name, lines)
    sentence = describe_change(prints(before), config, prepare(config, tokenizers=before.tokenizers))
    assert sentence is None or "\n" not in sentence
    return sentence


LONG = f"{'too long ' * 9}\tx"
WHOLE = [*PAIRS[:2], LONG, *PAIRS[2:]]


def test_the_same_text_is_no_change(config: Config) -> None:
    assert changed(config, "second", WHOLE) is None
    assert changed(config, "valid", WHOLE[:5]) is None  # only what is trained on


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([*WHOLE, "a\tb"], "32 pairs instead of 31; of those not left out, pair 31 is new"),
        (WHOLE[:-2], "29 pairs instead of 31; of those not left out, pair 29 and what came after it is gone"),
        (
            ["other\tLINE 0", *WHOLE[1:]],
            "of those not left out, pair 1 is the first that differs: its source was 'line 0' and is 'other'",
        ),
        (
            [*WHOLE[:9], "line 8\tdifferent", *WHOLE[10:]],
            "of those not left out, pair 9 is the first that differs: its target was 'LINE 8' and is 'different'",
        ),
        (
            WHOLE[1:],
            "30 pairs instead of 31; of those not left out, pair 1 is the first that differs: its source was 'line 0' "
            "and is 'line 1'",
        ),
        (
            [*WHOLE[:2], f"no {LONG}", *WHOLE[3:]],
            "in the pairs that are not left out, no token differs",
        ),
        ([*WHOLE, LONG], "32 pairs instead of 31; in the pairs that are not left out, no token differs"),
    ],
)
def test_the_first_difference_is_named(config: Config, lines: list[str], sentence: str) -> None:
    assert changed(config, "second", lines) == f"{config.data.train[1]}: {sentence}"


def test_the_first_text_that_changed_is_named(config: Config) -> None:
    before = prepare(config)
    for name in ("second", "first"):
        write(config, name, WHOLE[:9])
    sentence = describe_change(prints(before), config, prepare(config, tokenizers=before.tokenizers))
    assert sentence is not None and sentence.startswith(f"{config.data.train[0]}: 9 pairs instead of 31; ")


def test_without_a_cache_the_text_alone_is_named(config: Config) -> None:
    assert "cache" in (describe_change(["gone", "gone too"], config, prepare(config)) or "")
    assert describe_change(["one"], config, prepare(config)) == "data.train has other entries"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "to be or not to be\nthat is it\n",
            r"30 tokens instead of 31; from token 28 on, it was 'the\n' ... and is 'it\n' ...",
        ),
        (
            "to be or not to be\nthat is tho\n",
            r"from token 30 on, it was 'e\n' ... and is 'o\n' ...",
        ),
        ("to be or not to be\nthat is the\nend", "34 tokens instead of 31; what is in both is the same"),
    ],
)
def test_a_language_models_text(tmp_path: Path, text: str, sentence: str) -> None:
    config = Config(task=Task.language_modelling)
    config.tokenizer.kind, config.tokenizer.vocab_size = TokenizerKind.bytes, None
    config.data.cache_dir, config.data.workers, config.data.documents = str(tmp_path / "cache"), 1, Documents.file
    config.data.train, config.data.valid = f"{tmp_path}/train.txt", f"{tmp_path}/train.txt"
    path = tmp_path / "train.txt"
    path.write_text("to be or not to be\nthat is the\n")
    before = prepare(config)
    path.write_text(text)
    change = describe_change(prints(before), config, prepare(config, tokenizers=before.tokenizers))
    assert change == f"{path}: {sentence}"

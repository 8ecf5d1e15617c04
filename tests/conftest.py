"""What all tests share; whatever serves one folder only lives in its files."""

import io
import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import pytest
import sentencepiece
import torch

from seq2seq.checkpoint import save_checkpoint
from seq2seq.config import Config, Documents, Search, Task, TiedEmbeddings
from seq2seq.data.tokenizer import (
    BOS,
    EOS,
    PAD,
    UNK,
    ByteTokenizer,
    CharacterTokenizer,
    LabelVocabulary,
    SentencePieceTokenizer,
    Tokenizer,
    Tokenizers,
)
from seq2seq.files import write_bytes
from seq2seq.model.build import build_model
from seq2seq.training.curves import draw_curves

FSYNC = os.fsync

# One thread: tiny models gain nothing from more, and several test runs may share the machine.
torch.set_num_threads(1)

# No deadline: the first example of a test pays for imports. In CI the same examples every time.
hypothesis.settings.register_profile("local", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session", autouse=True)
def quick_runs() -> Iterator[None]:
    """What most of the time of a tiny run went into is done by the tests of it only.

    These are the picture of its curves, of which a mere beginning is written here, and waiting for the disk to have
    what was written, which matters to a power cut only. Processes that are forked have this too; commands in processes
    of their own do all that they do for users.
    """

    def draw_nothing(metrics_lines: Path, picture: Path) -> None:
        assert metrics_lines.is_file()
        write_bytes(picture, b"\x89PNG")

    with mock.patch("seq2seq.train.draw_curves", draw_nothing), mock.patch("os.fsync", os.fstat):
        yield


@pytest.fixture
def real_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw their curves."""
    monkeypatch.setattr("seq2seq.train.draw_curves", draw_curves)


@pytest.fixture(scope="module")
def real_fsync() -> Iterator[None]:
    """What is written is on the disk."""
    with mock.patch("os.fsync", FSYNC):
        yield


SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of corpora that are not part of the project; tests that use it are marked `shared`."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the corpora of {SHARED_DATA.parent.name}/{SHARED_DATA.name} beside the project are not here")
    return SHARED_DATA


TINY_SHAPE = ["model.dim=32", "model.num_heads=2", "model.feed_forward_dim=64"]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Words of a training command over 600 made-up lines, none of its folders the user's.

    tiny_run("tagging", "training.steps=3", lines=600): a run_dir that is not there yet each time.
    """
    texts = tmp_path_factory.mktemp("texts")

    def make(task: str, *more: str, lines: int = 600) -> list[str]:
        shuffle = random.Random(5)
        layers = {"language_modelling": (0, 1), "translation": (1, 1)}.get(task, (1, 0))
        folder = texts / f"{task}-{lines}"
        folder.mkdir(exist_ok=True)
        for split, count in (("train", lines), ("valid", 20)):
            rows = []
            for _ in range(count):
                words = shuffle.choices(["a", "bee", "sea", "dee", "eeee"], k=shuffle.randint(1, 9))
                source = " ".join(words)
                target = {
                    "translation": " ".join(word.upper() for word in reversed(words)),
                    "classification": words[0],
                    "tagging": " ".join("long" if len(word) > 1 else "short" for word in words),
                }.get(task)
                rows.append(source if target is None else f"{source}\t{target}")
            (folder / f"{split}.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        return [
            f"task={task}", f"model.encoder_layers={layers[0]}", f"model.decoder_layers={layers[1]}", *TINY_SHAPE,
            f"data.train={folder}/train.tsv", f"data.valid={folder}/valid.tsv", f"data.cache_dir={texts}/cache",
            f"run_dir={tmp_path_factory.mktemp('runs')}/run", "tokenizer.kind=characters", "tokenizer.vocab_size=null",
            "training.threads=1", "training.tensorboard=false", "device=cpu", "precision=float32",
            *(["model.max_length=32", "decoding=sample"] if task == "language_modelling" else []),
            *(["decoding=greedy"] if task == "translation" else []), *more,
        ]  # fmt: skip

    return make


@pytest.fixture(scope="session")
def odd_lines() -> list[str]:
    """Lines to translate, plain ones and such as a translator must take care with."""
    return [
        "a man is here.",
        "",
        "the dog",
        "x" * 100,
        " \t",
        "one two. three four, five six seven eight nine ten.",
        "two\nlines",
        "\x00control\u2028separator",
        "ünknown 東京",
        "the dog",
        *("word " * number for number in range(1, 12)),
    ]


@pytest.fixture(scope="session")
def tiny_tokenizers() -> dict[str, Tokenizer]:
    """One of each kind, over a few letters where the kind learns them."""
    made: dict[str, Tokenizer] = {
        "bytes": ByteTokenizer(),
        "characters": CharacterTokenizer(" abcdefghijklmnopqrstuvwxyz.,:\nABC"),
    }
    for kind in ("unigram", "bpe"):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["the quick brown fox jumps over a lazy dog and the slow grey cat sleeps"] * 20),
            model_writer=model,
            model_type=kind,
            vocab_size=330,
            byte_fallback=True,
            hard_vocab_limit=False,
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            minloglevel=2,
        )
        made[kind] = SentencePieceTokenizer(model.getvalue())
    return made


@pytest.fixture(scope="session")
def tiny_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizers: dict[str, Tokenizer]
) -> Callable[..., Path]:
    """Makes checkpoint folders of tiny models that were never trained.

    tiny_checkpoint("translation", tokenizer="bytes", max_length=24, seed=1, positions=..., any other model setting);
    max_length is both data.max_length and model.max_length.
    """
    numbers = itertools.count()

    def make(
        task: str = "translation",
        *,
        tokenizer: str = "characters",
        max_length: int = 24,
        documents: str = "line",
        seed: int = 1,
        folder: Path | None = None,
        **model: Any,
    ) -> Path:
        config = Config(task=Task(task))
        config.data.max_length = max_length
        config.data.documents = Documents(documents)
        config.decoding.search = Search.beam
        config.decoding.beam_size = 3
        config.decoding.max_length_ratio = 1.0
        shape = {"dim": 16, "num_heads": 2, "feed_forward_dim": 32, "encoder_layers": 1, "decoder_layers": 1}
        shape["max_length"] = max_length
        shape |= {"encoder_layers": 0} if task == "language_modelling" else {}
        shape |= {"decoder_layers": 0} if task in ("classification", "tagging") else {}
        for name, value in {**shape, **model}.items():
            setattr(config.model, name, value)
        source = target = tiny_tokenizers[tokenizer]
        if task in ("classification", "tagging"):
            target = LabelVocabulary(
                ["A", "B", "long label"][: 2 if task == "tagging" else 3], per_word=task == "tagging"
            )
            config.model.tied_embeddings = TiedEmbeddings.none
        torch.manual_seed(seed)
        network = build_model(
            config.model, task=config.task, source_vocab_size=source.vocab_size, target_vocab_size=target.vocab_size
        )
        with torch.no_grad():  # as untrained models are, they say the same to everything
            for parameter in network.parameters():
                parameter.mul_(1.5)
        folder = folder or tmp_path_factory.mktemp("run") / f"checkpoint{next(numbers)}"
        save_checkpoint(
            folder, config=config, model=network, tokenizers=Tokenizers(source, target), metrics={"step": seed}
        )
        return folder

    return make

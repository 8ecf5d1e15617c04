import itertools
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seq2seq.data.workers
from seq2seq.config import Documents, Task
from seq2seq.data import token_cache
from seq2seq.data.batch import IGNORE
from seq2seq.data.encoding import PairEncoder, StreamEncoder
from seq2seq.data.files import TextSource
from seq2seq.data.filters import Filter
from seq2seq.data.token_cache import TokenDataset, TokenStream, token_dataset, token_stream
from seq2seq.data.tokenizer import EOS, UNK, ByteTokenizer, CharacterTokenizer, LabelVocabulary, Tokenizers
from seq2seq.errors import DataError


def test_translation_ids_end_with_the_end_token(  # type: ignore[no-untyped-def]
    listed, sentences, tokenizers: Tokenizers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "PAIRS", 64)  # several record batches
    encoded = token_dataset(listed(sentences), tokenizers, task=Task.translation, folder=tmp_path)
    assert len(encoded) == len(sentences)
    for index, (source, target) in enumerate(sentences):
        assert encoded.source(index).tolist() == [*tokenizers.source.encode(source), EOS]
        assert encoded.target(index).tolist() == [*tokenizers.target.encode(target), EOS]
        assert encoded.source(index).dtype == np.int32
        assert (encoded.source_lengths[index], encoded.target_lengths[index]) == (
            len(encoded.source(index)), len(encoded.target(index))
        )  # fmt: skip
    assert (encoded.drops.read, encoded.drops.kept) == (400, 400)


def test_rules_drop_and_count(listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(token_cache, "PAIRS", 2)
    pairs = [("aaa", "bbb"), ("", "b"), ("a" * 30, "b" * 30), ("a", "b" * 18), ("cc", "dd"), ("e", "")]
    tokenizer = ByteTokenizer()
    encoded = token_dataset(
        listed(pairs),
        Tokenizers(tokenizer, tokenizer),
        task=Task.translation,
        folder=tmp_path,
        filter=Filter(max_length=20, max_length_ratio=2.0),
    )
    assert [tokenizer.decode(encoded.source(index).tolist()) for index in range(len(encoded))] == ["aaa", "cc"]
    drops = encoded.drops
    assert (drops.read, drops.empty, drops.too_long, drops.length_ratio, drops.kept) == (6, 2, 1, 1, 2)
    every = token_dataset(listed(pairs), Tokenizers(tokenizer, tokenizer), task=Task.translation, folder=tmp_path)
    assert len(every) == 6
    assert every.source(1).tolist() == [EOS]


def test_classification(listed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    both = Tokenizers(ByteTokenizer(), LabelVocabulary(["de", "en"], per_word=False))
    encoded = token_dataset(listed([("a", "en"), ("bc", " de ")]), both, task=Task.classification, folder=tmp_path)
    assert [encoded.target(index).tolist() for index in (0, 1)] == [[1], [0]]
    assert encoded.source_lengths.tolist() == [2, 3]
    with pytest.raises(DataError, match="valid:2: the label 'fr' does not occur in the training text, which has 2"):
        token_dataset(listed([("a", "en"), ("b", "fr")], "valid"), both, task=Task.classification, folder=tmp_path)
    some = listed([("a", "en"), ("b", " "), ("", "en")], "train")
    rules = Filter(max_length=20, max_length_ratio=None)
    kept = token_dataset(some, both, task=Task.classification, folder=tmp_path, filter=rules)
    assert (kept.drops.read, kept.drops.empty, len(kept)) == (3, 2, 1)


def test_tagging_labels_the_first_piece_of_each_word(listed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    class Vanishing(ByteTokenizer):
        """Normalises a word away, as SentencePiece does with one of control characters."""

        def encode(self, text: str) -> list[int]:
            return [] if text == "\x07" else super().encode(text)

    words = Vanishing()
    both = Tokenizers(words, LabelVocabulary(["N", "O"], per_word=True))
    encoded = token_dataset(listed([("ab  c \x07", "N O N")]), both, task=Task.tagging, folder=tmp_path)
    assert encoded.source(0).tolist() == [*words.encode("ab"), *words.encode("c"), UNK, EOS]
    assert encoded.target(0).tolist() == [0, IGNORE, 1, 0, IGNORE]
    with pytest.raises(DataError, match="tags:1: 2 words in the source and 1 labels"):
        token_dataset(listed([("a b", "N")], "tags"), both, task=Task.tagging, folder=tmp_path)


@pytest.mark.parametrize("documents", list(Documents))
def test_stream(documents: Documents, listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(token_cache, "PAIRS", 2)
    monkeypatch.setattr(token_cache, "SHARD", 2)
    lines = ["abc", "", "defgh", "i", "jk"]
    texts = [[("", line + "\n") for line in lines], [("", "xyz")]]
    tokenizer = CharacterTokenizer("".join(text for part in texts for _, text in part))
    stream = token_stream(
        [listed(part) for part in texts], Tokenizers(tokenizer, tokenizer), documents=documents, folder=tmp_path
    )
    end = [EOS] if documents is Documents.line else []
    for part, pairs in enumerate(texts):
        expected = [token for _, text in pairs for token in tokenizer.encode(text) + end]
        assert stream.part_lengths[part] == len(expected)
        assert stream.read(0, len(expected), part=part).tolist() == expected
        assert stream.read(1, 3, part=part).tolist() == expected[1:3]
    assert len(stream) == sum(stream.part_lengths)
    with pytest.raises(DataError, match="blank: no text in it"):
        token_stream([listed([], "blank")], Tokenizers(tokenizer, tokenizer), documents=documents, folder=tmp_path)


def test_second_start_reads_no_text(listed, sentences, tokenizers: Tokenizers, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def encode(pairs, filter: Filter | None = None) -> int:  # type: ignore[no-untyped-def]
        source = listed(pairs)
        token_dataset(source, tokenizers, task=Task.translation, folder=tmp_path, filter=filter)
        return int(source.reads)

    assert encode(sentences) == 1
    assert encode(sentences) == 0
    assert encode(sentences[:-1]) == 1
    assert encode(sentences, Filter(max_length=9, max_length_ratio=4)) == 1
    assert encode(sentences, Filter(max_length=9, max_length_ratio=4)) == 0
    assert encode(sentences, Filter(max_length=8, max_length_ratio=4)) == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "removed"])
def test_damage_is_mended_and_told(  # type: ignore[no-untyped-def]
    damage: str, listed, sentences, tokenizers: Tokenizers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def encode():  # type: ignore[no-untyped-def]
        return token_dataset(listed(sentences), tokenizers, task=Task.translation, folder=tmp_path)

    good = [encode().source(index).tolist() for index in range(len(sentences))]
    assert capsys.readouterr().err == ""
    (path,) = (tmp_path / "tokens").rglob("*.arrow")
    content = path.read_bytes()
    middle = len(content) // 2
    path.unlink()
    if damage != "removed":
        path.write_bytes(
            {"cut": content[:middle], "emptied": b"",
             "flipped": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]}[damage]
        )  # fmt: skip
    assert [encode().source(index).tolist() for index in range(len(sentences))] == good
    assert "is damaged; encoding listed again" in capsys.readouterr().err
    assert path.read_bytes() == content  # the same text makes the same file


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


TEXTS = st.lists(st.tuples(st.text("ab ", max_size=12), st.text("cdé", max_size=12)), max_size=40)


@settings(max_examples=6)  # each starts processes
@given(pairs=TEXTS, workers=st.integers(2, 3), chunk=st.integers(1, 9), shard=st.integers(1, 3), stream=st.booleans())
def test_files_are_the_same_whatever_the_number_of_workers(  # type: ignore[no-untyped-def]
    listed, pairs: list[tuple[str, str]], workers: int, chunk: int, shard: int, stream: bool
) -> None:
    both = Tokenizers(ByteTokenizer(), ByteTokenizer())
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(token_cache, "PAIRS", chunk)
        patch.setattr(token_cache, "SHARD", shard)
        patch.setattr(seq2seq.data.workers, "FEW", 0)
        found = []
        for count in (1, workers):
            path = Path(folder, str(count))
            if stream:
                texts = [listed([("", "x"), *pairs])]
                token_stream(texts, both, documents=Documents.line, folder=path, workers=count)
            else:
                rules = Filter(max_length=9, max_length_ratio=1.5)
                token_dataset(listed(pairs), both, task=Task.translation, folder=path, filter=rules, workers=count)
            found.append(contents(path))
        assert found[0] == found[1] != {}


class Stopping:
    """Text that stops with an error at one of its pairs."""

    def __init__(self, text: Any, stop: int, error: BaseException) -> None:
        self.text, self.stop, self.error = text, stop, error
        self.name, self.fingerprint = text.name, text.fingerprint

    def __iter__(self) -> Iterator[tuple[str, str]]:
        yield from itertools.islice(self.text, self.stop)
        raise self.error

    def where(self, index: int) -> str:
        return str(self.text.where(index))

    def fraction(self) -> float | None:
        return None


@pytest.mark.parametrize("task", [Task.translation, Task.language_modelling])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("no answer")], ids=["interrupted", "failed"])
def test_what_was_interrupted_goes_on_where_it_stopped(  # type: ignore[no-untyped-def]
    listed, sentences, tokenizers: Tokenizers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task,
    workers: int, error: BaseException, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(token_cache, "PAIRS", 20)
    monkeypatch.setattr(token_cache, "SHARD", 3)

    def encode(text: TextSource, folder: Path) -> TokenDataset | TokenStream:
        if task is Task.language_modelling:
            return token_stream([text], tokenizers, documents=Documents.line, folder=folder, workers=workers)
        return token_dataset(text, tokenizers, task=task, folder=folder, workers=workers)

    encode(listed(sentences), tmp_path / "never stopped")
    stopped = tmp_path / "stopped"
    with pytest.raises(type(error)):
        encode(Stopping(listed(sentences), 399, error), stopped)
    finished = contents(stopped)
    assert {Path(name).name for name in finished} <= {
        f"{shard:05}.arrow{label}" for shard in range(6) for label in ("", ".label")
    }
    assert workers > 1 or len(finished) == 12  # of 20 chunks all but the last two, which make no whole shard
    encoded: list[int] = []
    whole = PairEncoder.__call__ if task is Task.translation else StreamEncoder.__call__

    def counted(self: Any, pairs: list[tuple[str, str]]) -> Any:
        encoded.append(len(pairs))
        return whole(self, pairs)

    monkeypatch.setattr(PairEncoder if task is Task.translation else StreamEncoder, "__call__", counted)
    monkeypatch.setattr(seq2seq.data.workers, "FEW", 100)  # counted here
    resumed = encode(listed(sentences), stopped)
    assert contents(stopped) == contents(tmp_path / "never stopped")
    assert sum(encoded) == 400 - 60 * (len(finished) // 2)
    if finished:
        assert f"encoding listed: going on behind pair {60 * (len(finished) // 2)}" in capsys.readouterr().err
    if isinstance(resumed, TokenDataset):
        assert (resumed.drops.read, len(resumed)) == (400, 400)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_pair_is_named_the_same(  # type: ignore[no-untyped-def]
    workers: int, listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "PAIRS", 4)
    both = Tokenizers(ByteTokenizer(), LabelVocabulary(["de", "en"], per_word=False))
    pairs = [("a", "en")] * 29 + [("b", "fr")] + [("c", "de")] * 9
    with pytest.raises(DataError, match="^listed:30: the label 'fr' does not occur in the training text"):
        # the text itself is unreadable further down, which is behind the bad pair
        text = Stopping(listed(pairs), 36, DataError("unreadable"))
        token_dataset(text, both, task=Task.classification, folder=tmp_path, workers=workers)


def test_long_documents_make_small_chunks(listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(token_cache, "CHARACTERS", 100)
    chunks: list[int] = []
    whole = StreamEncoder.__call__

    def counted(self: StreamEncoder, pairs: list[tuple[str, str]]) -> Any:
        chunks.append(len(pairs))
        return whole(self, pairs)

    monkeypatch.setattr(StreamEncoder, "__call__", counted)
    both = Tokenizers(ByteTokenizer(), ByteTokenizer())
    texts = [listed([("", "a" * 30)] * 10 + [("", "b" * 500)] * 2)]
    stream = token_stream(texts, both, documents=Documents.file, folder=tmp_path)
    assert chunks == [4, 4, 3, 1]
    assert ByteTokenizer().decode(stream.read(0, len(stream)).tolist()) == "a" * 300 + "b" * 1000


def _encode_in_process(folder: str) -> int:
    class Text:
        name, fingerprint = "text", "x"

        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter([("some text", "some more")] * 3000)

        def where(self, index: int) -> str:
            return ""

        def fraction(self) -> None:
            return None

    tokenizer = ByteTokenizer()
    encoded = token_dataset(Text(), Tokenizers(tokenizer, tokenizer), task=Task.translation, folder=Path(folder))
    return sum(encoded.source(index).sum() for index in range(0, len(encoded), 100))


def test_processes_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sums = pool.map(_encode_in_process, [str(tmp_path)] * 4)
    assert len(set(sums)) == 1
    (folder,) = (tmp_path / "tokens").iterdir()
    assert len(list(folder.iterdir())) == 2  # the file and its label, no leftovers


MEMORY = """
import sys, tracemalloc
from pathlib import Path
from seq2seq.config import Task
from seq2seq.data import token_cache
from seq2seq.data.tokenizer import ByteTokenizer, Tokenizers

class Text:
    name = "text"
    def __init__(self, pairs):
        self.pairs, self.fingerprint = pairs, str(pairs)
    def __iter__(self):
        return (("some text to encode", f"some more {index:06}") for index in range(self.pairs))
    def fraction(self):
        return None

token_cache.PAIRS = 256
both = Tokenizers(ByteTokenizer(), ByteTokenizer())
tracemalloc.start()
for pairs in (10_000, 20_000):
    tracemalloc.reset_peak()
    token_cache.token_dataset(Text(pairs), both, task=Task.translation, folder=Path(sys.argv[1]))
    print(tracemalloc.get_traced_memory()[1])
"""


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    few, many = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    # A few numbers of 4 bytes for each pair; its text and ids as lists would take over a thousand.
    assert many - few < 10_000 * 40

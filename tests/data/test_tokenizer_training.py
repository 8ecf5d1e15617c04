import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import Task, TokenizerConfig, TokenizerKind
from seq2seq.data import tokenizer_training
from seq2seq.data.corpus import Corpus, TextPart
from seq2seq.data.tokenizer import UNK, CharacterTokenizer, LabelVocabulary, SentencePieceTokenizer, Tokenizer
from seq2seq.data.tokenizer_training import evenly, train_tokenizers
from seq2seq.errors import DataError

SMALL = TokenizerConfig(kind=TokenizerKind.unigram, vocab_size=320)


def corpus(*sources) -> Corpus:  # type: ignore[no-untyped-def]
    return Corpus(list(sources), sources[0], None, "files")


@given(size=st.integers(0, 3000), count=st.integers(1, 200))
def test_evenly_spreads_over_the_whole_stream(size: int, count: int) -> None:
    kept = evenly(iter(range(size)), count)
    assert len(kept) == min(size, count)
    gaps = [after - before for before, after in zip(kept, kept[1:], strict=False)]
    if size <= count:
        assert kept == list(range(size))
    else:
        assert min(gaps, default=1) >= 1
        # No gap is much wider than the even one, and neither end is left out.
        assert max(gaps, default=1) <= 4 * size / count + 1
        assert kept[0] == 0 and size - kept[-1] <= 4 * size / count + 1


@pytest.mark.parametrize("kind", [TokenizerKind.unigram, TokenizerKind.bpe])
def test_joint_and_separate(kind: TokenizerKind, listed, sentences, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    text = corpus(listed(sentences))
    joint = train_tokenizers(
        TokenizerConfig(kind=kind, vocab_size=320), text, task=Task.translation, cache_dir=tmp_path
    )
    assert joint.joint and joint.source.vocab_size == 320
    separate = train_tokenizers(
        TokenizerConfig(kind=kind, vocab_size=310, joint=False), text, task=Task.translation, cache_dir=tmp_path
    )
    assert not separate.joint and separate.source.vocab_size == separate.target.vocab_size == 310

    def count(tokenizer: Tokenizer, side: int) -> int:
        return sum(map(len, tokenizer.encode_batch([pair[side] for pair in sentences])))

    assert count(separate.source, 0) < count(separate.target, 0)
    assert count(separate.target, 1) < count(separate.source, 1)


def test_second_time_comes_from_the_cache(listed, sentences, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first, again, other = listed(sentences), listed(sentences), listed(sentences[1:])
    made = train_tokenizers(SMALL, corpus(first), task=Task.translation, cache_dir=tmp_path)
    found = train_tokenizers(SMALL, corpus(again), task=Task.translation, cache_dir=tmp_path)
    assert (first.reads, again.reads) == (1, 0)
    assert found.source.fingerprint == made.source.fingerprint
    train_tokenizers(SMALL, corpus(other), task=Task.translation, cache_dir=tmp_path)
    assert other.reads == 1
    smaller = TokenizerConfig(kind=TokenizerKind.unigram, vocab_size=310)
    assert train_tokenizers(smaller, corpus(again), task=Task.translation, cache_dir=tmp_path).source.vocab_size == 310
    assert again.reads == 1


def test_damaged_cache_is_made_again(  # type: ignore[no-untyped-def]
    listed, sentences, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = train_tokenizers(SMALL, corpus(listed(sentences)), task=Task.translation, cache_dir=tmp_path)
    (path,) = (tmp_path / "tokenizers").glob("*.model")
    path.write_bytes(path.read_bytes()[:-5])
    again = train_tokenizers(SMALL, corpus(listed(sentences)), task=Task.translation, cache_dir=tmp_path)
    assert again.source.fingerprint == made.source.fingerprint
    assert "is damaged; learning the vocabulary again" in capsys.readouterr().err


def test_training_is_silent_and_repeatable(  # type: ignore[no-untyped-def]
    listed, sentences, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prints = {
        train_tokenizers(
            SMALL, corpus(listed(sentences)), task=Task.translation, cache_dir=tmp_path / str(attempt)
        ).source.fingerprint
        for attempt in range(3)
    }
    assert len(prints) == 1
    assert capfd.readouterr() == ("", "")


def test_only_training_lines_are_kept_in_memory(  # type: ignore[no-untyped-def]
    listed, sentences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    train = tokenizer_training.sentencepiece.SentencePieceTrainer.train

    def spy(**settings: object) -> None:
        seen.extend(settings["sentence_iterator"])  # type: ignore[call-overload]
        train(**{**settings, "sentence_iterator": iter(seen)})

    monkeypatch.setattr(tokenizer_training.sentencepiece.SentencePieceTrainer, "train", spy)
    config = TokenizerConfig(kind=TokenizerKind.unigram, vocab_size=320, training_lines=200)
    train_tokenizers(config, corpus(listed(sentences)), task=Task.translation, cache_dir=tmp_path)
    assert len(seen) == 200  # 100 pairs, both sides
    seen.clear()
    long = [("", "the cat sees the dog\n" * 1000 + "green house " * 1000)]
    train_tokenizers(
        TokenizerConfig(kind=TokenizerKind.bpe, vocab_size=310, training_lines=150),
        corpus(listed(long)),
        task=Task.language_modelling,
        cache_dir=tmp_path,
    )
    assert len(seen) == 150 and max(map(len, seen)) <= 1000 and not any("\n" in line for line in seen)


@pytest.mark.parametrize("kind", [TokenizerKind.unigram, TokenizerKind.bpe])
def test_impossible_sizes_name_the_one_that_works(kind: TokenizerKind, listed, sentences, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    text = corpus(listed(sentences))

    def train(size: int) -> None:
        config = TokenizerConfig(kind=kind, vocab_size=size)
        train_tokenizers(config, text, task=Task.translation, cache_dir=tmp_path)

    for size, works in ((9000, r"the largest that works is (\d+)"), (20, r"the smallest that works is (\d+)")):
        with pytest.raises(DataError, match=rf"tokenizer\.vocab_size \({size}\).*listed.*{works}") as caught:
            train(size)
        found = re.search(works, str(caught.value))
        assert found is not None
        train(int(found[1]))


@pytest.mark.parametrize("kind", [TokenizerKind.unigram, TokenizerKind.bpe])
def test_a_stand_in_may_fill_less(  # type: ignore[no-untyped-def]
    kind: TokenizerKind, listed, sentences, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TokenizerConfig(kind=kind, vocab_size=9000)
    stand_in = Corpus([listed(sentences)], listed(sentences), None, "sample", notice="not what was asked for")
    size = train_tokenizers(config, stand_in, task=Task.translation, cache_dir=tmp_path).source.vocab_size
    assert 300 < size < 9000
    assert f"the text fills {size:,} entries of the vocabulary, not 9,000" in capsys.readouterr().err
    # What is in the cache now does not serve a corpus that was asked for.
    with pytest.raises(DataError, match="the largest that works"):
        train_tokenizers(config, corpus(listed(sentences)), task=Task.translation, cache_dir=tmp_path)


@pytest.mark.parametrize("kind", [TokenizerKind.unigram, TokenizerKind.characters])
def test_no_text_is_one_sentence(kind: TokenizerKind, listed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    size = 300 if kind is TokenizerKind.unigram else None
    for pairs in ([], [("", "")]):
        with pytest.raises(DataError, match="listed: no text to learn a vocabulary from"):
            train_tokenizers(
                TokenizerConfig(kind=kind, vocab_size=size),
                corpus(listed(pairs)),
                task=Task.translation,
                cache_dir=tmp_path,
            )


def test_without_byte_fallback_rare_characters_are_unknown(listed, sentences, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    config = TokenizerConfig(kind=TokenizerKind.unigram, vocab_size=64, byte_fallback=False)
    tokenizer = train_tokenizers(config, corpus(listed(sentences)), task=Task.translation, cache_dir=tmp_path).source
    assert UNK in tokenizer.encode("the 語 cat")
    assert tokenizer.decode(tokenizer.encode("the語 cat")) == "the cat"


def test_character_coverage_decides_who_gets_an_entry(listed, sentences, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pairs = [*sentences, ("語", "語")]
    for coverage, own in ((1.0, True), (0.99, False)):
        config = TokenizerConfig(kind=TokenizerKind.unigram, vocab_size=320, character_coverage=coverage)
        tokenizer = train_tokenizers(config, corpus(listed(pairs)), task=Task.translation, cache_dir=tmp_path).source
        assert isinstance(tokenizer, SentencePieceTokenizer)
        assert ("語" in tokenizer.pieces(range(tokenizer.vocab_size))) == own


def test_characters_are_those_of_the_whole_text(listed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    whole = listed([("", "abcabc\n"), ("", "xyz\n")])
    parts = [TextPart(whole, last=0.3, held_out=held_out, by_characters=True) for held_out in (False, True)]
    config = TokenizerConfig(kind=TokenizerKind.characters, vocab_size=None)
    text = Corpus([parts[0]], parts[1], None, "files", valid_from_train=True)
    tokenizer = train_tokenizers(config, text, task=Task.language_modelling, cache_dir=tmp_path).target
    assert isinstance(tokenizer, CharacterTokenizer)
    assert tokenizer.characters == "\nabcxyz"


@pytest.mark.parametrize(("task", "labels"), [(Task.classification, ["N O", "O", "O N"]), (Task.tagging, ["N", "O"])])
def test_labels_of_the_training_text(task: Task, labels: list[str], listed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pairs = [("the cat", "O N"), ("cat", "O"), ("cat the", "N O"), ("", "")]
    found = train_tokenizers(
        TokenizerConfig(kind=TokenizerKind.bytes, vocab_size=None), corpus(listed(pairs)), task=task, cache_dir=tmp_path
    )
    assert isinstance(found.target, LabelVocabulary)
    assert found.target.labels == labels
    (path,) = (tmp_path / "tokenizers").glob("*.json")
    assert json.loads(path.read_text())["labels"] == labels

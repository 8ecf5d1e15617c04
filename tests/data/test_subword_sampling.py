import dataclasses
import gzip
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import Config, DataConfig, SubwordSampling, Task, TokenizerConfig, TokenizerKind
from seq2seq.data.batching import PairBatches
from seq2seq.data.corpus import open_corpus
from seq2seq.data.rows import Flat, Row
from seq2seq.data.subword_sampling import SubwordSampler, check_draws_repeat, seed_of, subword_sampler
from seq2seq.data.token_cache import TokenDataset, token_dataset
from seq2seq.data.tokenizer import BOS, EOS, PAD, UNK, SentencePieceTokenizer, Tokenizer, Tokenizers
from seq2seq.data.tokenizer_training import train_tokenizers
from seq2seq.errors import DataError

Pairs = list[tuple[str, str]]


@pytest.fixture(scope="module")
def learned(sentences: Pairs) -> dict[str, SentencePieceTokenizer]:
    """One of each kind over the sentences; "narrow" knows only the letters of their sources."""

    def train(texts: Iterable[str], kind: str, **options: Any) -> SentencePieceTokenizer:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, model_type=kind, hard_vocab_limit=False,
            pad_id=PAD, bos_id=BOS, eos_id=EOS, unk_id=UNK, minloglevel=3, **options,
        )  # fmt: skip
        return SentencePieceTokenizer(model.getvalue())

    texts = [text for pair in sentences for text in pair]
    return {
        "unigram": train(texts, "unigram", vocab_size=420, byte_fallback=True),
        "bpe": train(texts, "bpe", vocab_size=420, byte_fallback=True),
        "narrow": train([pair[0] for pair in sentences], "unigram", vocab_size=120),
    }


def encoded(tokenizer: Tokenizer, text: str) -> Row:
    return np.array([*tokenizer.encode(text), EOS], np.int32)


def draw(sampler: SubwordSampler, source: Row, target: Row, *, epoch: int, example: int) -> tuple[Row, Row]:
    """One pair in other pieces."""
    sides = sampler(Flat.of([source]), Flat.of([target]), epoch=epoch, examples=np.array([example]))
    return sides[0].rows()[0], sides[1].rows()[0]


def sampler_of(tokenizer: SentencePieceTokenizer, **settings: Any) -> SubwordSampler:
    defaults: dict[str, Any] = {"alpha": 0.1, "nbest": 64, "max_length": 1000, "seed": 1}
    return SubwordSampler(source=tokenizer, target=tokenizer, **(defaults | settings))


@given(
    kind=st.sampled_from(["unigram", "bpe", "narrow"]),
    alpha=st.floats(0.01, 1),
    nbest=st.sampled_from([-1, 2, 64]),
    index=st.integers(0, 399),
    epoch=st.integers(0, 9),
    text=st.text(max_size=30),
)
def test_other_pieces_of_the_same_text(
    learned: dict[str, SentencePieceTokenizer],
    sentences: Pairs,
    kind: str,
    alpha: float,
    nbest: int,
    index: int,
    epoch: int,
    text: str,
) -> None:
    """Of sentences, and of any text at all, with characters that the tokenizer does not know."""
    tokenizer = learned[kind]
    source, target = encoded(tokenizer, sentences[index][0]), encoded(tokenizer, text)
    sampler = sampler_of(tokenizer, alpha=alpha, nbest=nbest)
    drawn = draw(sampler, source, target, epoch=epoch, example=index)
    for plain, found in zip((source, target), drawn, strict=True):
        assert tokenizer.decode(found.tolist()) == tokenizer.decode(plain.tolist())
        assert found.dtype == np.int32 and found[-1] == EOS and EOS not in found[:-1]
        assert (UNK in found) == (UNK in plain)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_draw_depends_on_seed_epoch_example_and_side_alone(
    learned: dict[str, SentencePieceTokenizer], sentences: Pairs, kind: str
) -> None:
    tokenizer = learned[kind]
    sampler = sampler_of(tokenizer, alpha=0.5 if kind == "bpe" else 0.01, nbest=-1)
    text = encoded(tokenizer, max((pair[0] for pair in sentences), key=len))

    def ids(epoch: int, example: int, sampler: SubwordSampler = sampler) -> tuple[tuple[int, ...], ...]:
        source, target = draw(sampler, text, text, epoch=epoch, example=example)
        return tuple(source.tolist()), tuple(target.tolist())

    wanted = {(epoch, example): ids(epoch, example) for epoch in range(3) for example in range(10)}
    for (epoch, example), pair in reversed(wanted.items()):
        ids(7, example)  # what was drawn before changes nothing
        assert ids(epoch, example) == pair
    together, _ = sampler(Flat.of([text] * 10), Flat.of([text] * 10), epoch=1, examples=np.arange(10))
    assert [tuple(row.tolist()) for row in together.rows()] == [wanted[1, example][0] for example in range(10)]
    assert len(set(wanted.values())) > 25
    assert sum(source == target for source, target in wanted.values()) < 5
    assert ids(0, 0, dataclasses.replace(sampler, seed=2)) != ids(0, 0)


def test_smaller_alpha_of_unigram_and_larger_of_bpe_are_more_random(
    learned: dict[str, SentencePieceTokenizer], sentences: Pairs
) -> None:
    def growth(kind: str, alpha: float) -> float:
        tokenizer = learned[kind]
        sampler, plain, found = sampler_of(tokenizer, alpha=alpha, nbest=-1), 0, 0
        for example, (source, target) in enumerate(sentences[:100]):
            rows = encoded(tokenizer, source), encoded(tokenizer, target)
            plain += sum(map(len, rows))
            found += sum(map(len, draw(sampler, *rows, epoch=0, example=example)))
        return found / plain

    assert growth("unigram", 0.01) > growth("unigram", 0.1) > 1
    assert growth("bpe", 0.5) > growth("bpe", 0.1) > 1
    tokenizer = learned["bpe"]
    text = sentences[0][0]
    alone, _ = draw(
        sampler_of(tokenizer, alpha=1.0), encoded(tokenizer, text), encoded(tokenizer, text), epoch=0, example=0
    )
    assert len(alone) == len(text) + 2  # every merge left out: a letter each, the mark before the first word, the end


def test_too_long_and_unknown_stay_as_they_are(learned: dict[str, SentencePieceTokenizer], sentences: Pairs) -> None:
    tokenizer = learned["bpe"]
    plain = encoded(tokenizer, sentences[0][0])
    for limit in (len(plain), 2 * len(plain)):
        sampler = sampler_of(tokenizer, alpha=0.2, max_length=limit)
        drawn = [draw(sampler, plain, plain, epoch=epoch, example=0)[0] for epoch in range(50)]
        assert max(map(len, drawn)) <= limit
        assert any(len(row) > len(plain) for row in drawn) == (limit > len(plain))
    narrow = learned["narrow"]
    unknown = encoded(narrow, "the cat sees the " + "ÄÖ漢")
    assert UNK in unknown
    sampler = sampler_of(narrow, alpha=0.01, nbest=-1)
    assert all((draw(sampler, unknown, unknown, epoch=epoch, example=0)[0] == unknown).all() for epoch in range(5))


def test_seeds_are_spread_and_never_the_one_that_is_ignored() -> None:
    seeds = [seed_of(f"1 0 {example} source") for example in range(2000)]
    assert len(set(seeds)) > 1990 and min(seeds) >= 0 and max(seeds) < 2**31


@pytest.fixture(scope="module")
def dataset(
    learned: dict[str, SentencePieceTokenizer],
    sentences: Pairs,
    listed: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> TokenDataset:
    both = Tokenizers(learned["unigram"], learned["unigram"])
    return token_dataset(listed(sentences), both, task=Task.translation, folder=tmp_path_factory.mktemp("cache"))


@given(seed=st.integers(0, 3), epoch=st.integers(0, 3), data=st.data())
def test_batches_are_made_again_exactly_at_any_position(
    dataset: TokenDataset, learned: dict[str, SentencePieceTokenizer], seed: int, epoch: int, data: st.DataObject
) -> None:
    def plan(**more: Any) -> Any:
        return PairBatches([dataset], batch_tokens=300, seed=seed, shuffle=True, **more).epoch(epoch)

    sampler = sampler_of(learned["unigram"], seed=seed)
    fresh, plain = plan(sampler=sampler), plan()
    assert len(fresh) == len(plain)  # batches are of the same examples, by the lengths of the plain pieces
    for position in data.draw(st.lists(st.integers(0, len(fresh) - 1), min_size=2, max_size=5)):
        one, other = fresh[position], plan(sampler=sampler)[position]
        assert one.source is not None and other.source is not None
        assert one.source.equal(other.source) and one.target_out.equal(other.target_out)
        assert fresh.examples(position).tolist() == plain.examples(position).tolist()


def test_epochs_show_other_pieces(dataset: TokenDataset, learned: dict[str, SentencePieceTokenizer]) -> None:
    sampler = sampler_of(learned["unigram"], alpha=0.01)
    pairs = [(dataset.source(index), dataset.target(index)) for index in range(100)]
    first, second = (
        [draw(sampler, *pair, epoch=epoch, example=index)[0].tolist() for index, pair in enumerate(pairs)]
        for epoch in (0, 1)
    )
    assert sum(one != other for one, other in zip(first, second, strict=True)) > 50


@pytest.mark.parametrize("side", SubwordSampling)
def test_the_setting_chooses_the_sides(learned: dict[str, SentencePieceTokenizer], side: SubwordSampling) -> None:
    both = Tokenizers(learned["unigram"], learned["bpe"])
    config = Config(seed=5, data=DataConfig(subword_sampling=side, subword_alpha=0.3, max_length=77))
    sampler = subword_sampler(config, both)
    if side is SubwordSampling.none:
        assert sampler is None
        return
    assert sampler is not None
    assert sampler.source is (None if side is SubwordSampling.target else both.source)
    assert sampler.target is (None if side is SubwordSampling.source else both.target)
    assert (sampler.alpha, sampler.nbest, sampler.max_length, sampler.seed) == (0.3, 64, 77, 5)


def test_a_library_that_cannot_repeat_a_draw_is_refused(
    learned: dict[str, SentencePieceTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in learned.values():
        check_draws_repeat(kind)
    monkeypatch.setattr(sentencepiece, "set_random_generator_seed", lambda seed: None)
    for kind in learned.values():
        with pytest.raises(DataError, match=r"data.subword_sampling needs SentencePiece 0.2.3 or newer: \d"):
            check_draws_repeat(kind)


@pytest.mark.shared
@pytest.mark.parametrize("kind", [TokenizerKind.unigram, TokenizerKind.bpe])
def test_real_text_is_spelled_exactly(kind: TokenizerKind, shared_data: Path, tmp_path: Path) -> None:
    """Hardly a line of image captions keeps its plain pieces because others would spell another text."""
    text = f"{shared_data}/multi30k/val"
    config = DataConfig(train=text, valid=text, source_language="en", target_language="de")
    tokenizers = train_tokenizers(
        TokenizerConfig(kind=kind, vocab_size=2000), open_corpus(config, task=Task.translation),
        task=Task.translation, cache_dir=tmp_path,
    )  # fmt: skip
    tokenizer = tokenizers.target
    assert isinstance(tokenizer, SentencePieceTokenizer)
    with gzip.open(f"{text}.de.gz", "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()
    inexact = 0
    for number, line in enumerate(lines):
        plain = tokenizer.encode(line)
        spelled = tokenizer.decode(plain)
        assert tokenizer.encode(spelled) == plain
        inexact += tokenizer.decode(tokenizer.sample(spelled, alpha=0.1, nbest=-1, seed=number)) != spelled
    assert len(lines) > 1000 and inexact == 0

import dataclasses
import gzip
import io
import itertools
import math
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import Config, DataConfig, SubwordSampling, Task, TokenizerConfig, TokenizerKind
from seq2seq.data import subword_sampling
from seq2seq.data.batching import PairBatches
from seq2seq.data.corpus import open_corpus
from seq2seq.data.rows import Flat, Row
from seq2seq.data.subword_sampling import (
    BpeDropout,
    SubwordSampler,
    TextSampling,
    UnigramSampling,
    Vocabulary,
    Word,
    subword_sampler,
    uniform,
)
from seq2seq.data.token_cache import TokenDataset, token_dataset
from seq2seq.data.tokenizer import BOS, EOS, PAD, UNK, SentencePieceTokenizer, Tokenizer, Tokenizers, load_tokenizer
from seq2seq.data.tokenizer_training import train_tokenizers

Pairs = list[tuple[str, str]]
MADE_OF = [
    *"abcdefghijklmnopqrstuvwxyzäöü AKF.",
    " ",
    "  ",
    "cat",
    "Häuser",
    "<br>",
    "the ",
    "\t",
    "漢",
    "é",
    "e\u0301",
    "ﬁ",
]
"""What random texts are made of, besides any characters: what the tokenizers know, and some that they do not."""
TEXTS = st.text(max_size=30) | st.lists(st.sampled_from(MADE_OF), max_size=40).map("".join)
PLAIN = {"unigram": 1e6, "bpe": 0.0}
"""Values of alpha that leave nothing to chance."""
KINDS = ["unigram", "bpe", "narrow unigram", "narrow bpe", "crossing unigram", "crossing bpe", "spaced unigram"]


@pytest.fixture(scope="module")
def learned(sentences: Pairs) -> dict[str, SentencePieceTokenizer]:
    """Tokenizers over the sentences.

    "narrow" ones know only the letters of their sources and no bytes; "crossing" ones have pieces of several words,
    "spaced" ones of several spaces.
    """

    def train(texts: Iterable[str], kind: str, **options: Any) -> SentencePieceTokenizer:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, model_type=kind, hard_vocab_limit=False,
            pad_id=PAD, bos_id=BOS, eos_id=EOS, unk_id=UNK, minloglevel=3, **options,
        )  # fmt: skip
        return SentencePieceTokenizer(model.getvalue())

    texts = [text for pair in sentences for text in pair]
    spaced = [text.replace(" ", "   ") for text in texts]
    return {
        **{kind: train(texts, kind, vocab_size=420, byte_fallback=True, user_defined_symbols=["<br>"])
           for kind in ("unigram", "bpe")},
        **{f"narrow {kind}": train([pair[0] for pair in sentences], kind, vocab_size=120)
           for kind in ("unigram", "bpe")},
        **{f"crossing {kind}": train(texts, kind, vocab_size=320, split_by_whitespace=False)
           for kind in ("unigram", "bpe")},
        "spaced unigram": train(spaced, "unigram", vocab_size=420, byte_fallback=True, remove_extra_whitespaces=False,
                                add_dummy_prefix=False, allow_whitespace_only_pieces=True),
    }  # fmt: skip


def encoded(tokenizer: Tokenizer, text: str) -> Row:
    return np.array([*tokenizer.encode(text), EOS], np.int32)


def draw(
    sampler: SubwordSampler, source: Row, target: Row, *, epoch: int, example: int, repetition: int = 0
) -> tuple[Row, Row]:
    """One pair in other pieces."""
    sides = sampler(
        Flat.of([source]),
        Flat.of([target]),
        epoch=epoch,
        examples=np.array([example]),
        repetitions=np.array([repetition]),
    )
    return sides[0].rows()[0], sides[1].rows()[0]


def sampler_of(tokenizer: SentencePieceTokenizer, *, alpha: float, **settings: Any) -> SubwordSampler:
    sampling = TextSampling(tokenizer, alpha=alpha)
    return SubwordSampler(**({"source": sampling, "target": sampling, "max_length": 1000, "seed": 1} | settings))


def score_of(tokenizer: SentencePieceTokenizer, ids: Iterable[int]) -> float:
    """Logarithm of the probability of a unigram model's segmentation."""
    library = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    return sum(library.get_score(int(token)) for token in ids)


# ------------------------------------------------------------------------------------------- without chance


@settings(max_examples=300)
@given(kind=st.sampled_from(KINDS), texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_without_chance_the_pieces_are_those_of_the_library(
    learned: dict[str, SentencePieceTokenizer], kind: str, texts: list[str]
) -> None:
    tokenizer = learned[kind]
    rows = [encoded(tokenizer, text) for text in texts]
    sampling = TextSampling(tokenizer, alpha=PLAIN[kind.split()[-1]])
    found = sampling(Flat.of(rows), [uniform(text) for text in texts])
    for row, ids in zip(rows, found, strict=True):
        if row.tolist() != ids:  # only where two segmentations are equally probable
            assert kind.endswith("unigram") and len(ids) > 1
            assert score_of(tokenizer, ids) == pytest.approx(score_of(tokenizer, row), abs=1e-3)
            assert tokenizer.decode(ids) == tokenizer.decode(row.tolist())


def test_pieces_cross_words_only_where_the_vocabulary_has_such(learned: dict[str, SentencePieceTokenizer]) -> None:
    """So that words are drawn one by one, and the tokenizers of the test before are as they are called."""
    for kind, tokenizer in learned.items():
        inner = any("▁" in piece[1:] for piece in tokenizer.pieces(range(4, tokenizer.vocab_size)))
        assert inner == kind.startswith(("crossing", "spaced"))
        assert bool(TextSampling(tokenizer, alpha=0.1)._begins.any()) == (not inner)


# ------------------------------------------------------------------------------------------- distributions

LETTERS = {letter: (number, -2.0 - 0.3 * number) for number, letter in enumerate("abc")}
PIECES: Vocabulary = LETTERS | {
    "ab": (10, -1.5), "ba": (11, -2.5), "bc": (12, -1.7), "ca": (13, -3.0), "abc": (14, -2.2), "cab": (15, -2.4),
    "bca": (16, -2.9), "abca": (17, -4.0),
}  # fmt: skip


def assert_drawn_by(expected: dict[Word, float], drawn: Counter[Word]) -> None:
    """Pearson's chi-square; what is expected less than five times counts together."""
    count = drawn.total()
    assert drawn.keys() <= expected.keys() and sum(expected.values()) == pytest.approx(1)
    cells = [(drawn[word], count * share) for word, share in expected.items() if count * share >= 5]
    cells.append((count - sum(seen for seen, _ in cells), max(count - sum(wanted for _, wanted in cells), 1e-9)))
    cells = [cell for cell in cells if cell[1] >= 1]
    statistic = sum((seen - wanted) ** 2 / wanted for seen, wanted in cells)
    freedom = len(cells) - 1
    assert freedom >= 4 and statistic < freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("text", ["abcab", "cabcaab"])
def test_unigram_draws_every_segmentation_by_its_probability(text: str, alpha: float) -> None:
    weights: dict[Word, float] = {}
    for cuts in itertools.product([False, True], repeat=len(text) - 1):
        bounds = [0, *(place + 1 for place, cut in enumerate(cuts) if cut), len(text)]
        parts = [text[begin:end] for begin, end in itertools.pairwise(bounds)]
        if all(part in PIECES for part in parts):
            weights[tuple(PIECES[part][0] for part in parts)] = math.exp(alpha * sum(PIECES[part][1] for part in parts))
    expected = {word: weight / sum(weights.values()) for word, weight in weights.items()}
    sampling, source = UnigramSampling(PIECES, alpha=alpha), random.Random(5).random
    assert_drawn_by(expected, Counter(sampling(text, source) for _ in range(20_000)))


@pytest.mark.parametrize("dropout", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("text", ["abcab", "cabcaab"])
def test_bpe_leaves_out_merges_by_their_probability(text: str, dropout: float) -> None:
    """Against the algorithm of the paper, over every set of merges that a step can leave out."""
    texts = {token: piece for piece, (token, _) in PIECES.items()}
    scores = {token: score for token, score in PIECES.values()}
    expected: Counter[Word] = Counter()

    def follow(word: Word, share: float) -> None:
        merges = []
        for place in range(len(word) - 1):
            joined = texts[word[place]] + texts[word[place + 1]]
            if joined in PIECES:
                merges.append((place, PIECES[joined][0]))
        for kept in itertools.product([False, True], repeat=len(merges)):
            chance = share * math.prod(1 - dropout if keep else dropout for keep in kept)
            left = [merge for merge, keep in zip(merges, kept, strict=True) if keep]
            if not left:
                expected[word] += chance  # type: ignore[assignment]
            else:
                place, token = max(left, key=lambda merge: (scores[merge[1]], -merge[0]))
                follow((*word[:place], token, *word[place + 2 :]), chance)

    follow(tuple(PIECES[letter][0] for letter in text), 1.0)
    sampling, source = BpeDropout(PIECES, dropout=dropout), random.Random(6).random
    assert_drawn_by(dict(expected), Counter(sampling(text, source) for _ in range(20_000)))


def test_long_words_are_drawn_alike_though_not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    for make in (lambda: UnigramSampling(PIECES, alpha=0.2), lambda: BpeDropout(PIECES, dropout=0.3)):

        def words(make: Callable[[], Any] = make) -> list[Word]:
            sampling, source = make(), uniform("key")
            return [sampling("abcabcaabcab"[: 1 + number % 12], source) for number in range(200)]

        cached = words()
        with monkeypatch.context() as patch:
            patch.setattr(subword_sampling, "CACHED_LENGTH", 3)
            assert words() == cached


# ------------------------------------------------------------------------------------------- texts and pairs


@given(
    kind=st.sampled_from(KINDS),
    alpha=st.floats(0.01, 1),
    index=st.integers(0, 399),
    epoch=st.integers(0, 9),
    text=TEXTS,
)
def test_other_pieces_of_the_same_text(
    learned: dict[str, SentencePieceTokenizer], sentences: Pairs, kind: str, alpha: float, index: int, epoch: int,
    text: str,
) -> None:  # fmt: skip
    """Of sentences, and of any text at all, with characters that the tokenizer does not know."""
    tokenizer = learned[kind]
    source, target = encoded(tokenizer, sentences[index][0]), encoded(tokenizer, text)
    drawn = draw(sampler_of(tokenizer, alpha=alpha), source, target, epoch=epoch, example=index)
    for plain, found in zip((source, target), drawn, strict=True):
        assert tokenizer.decode(found.tolist()) == tokenizer.decode(plain.tolist())
        assert found.dtype == np.int32 and found[-1] == EOS and EOS not in found[:-1]
        assert (found == UNK).sum() == (plain == UNK).sum()


def test_what_users_defined_stays_whole(learned: dict[str, SentencePieceTokenizer]) -> None:
    for kind in ("unigram", "bpe"):
        tokenizer = learned[kind]
        row = encoded(tokenizer, "the old cat<br>sees beautiful children <br>")
        symbol = tokenizer.encode("<br>")[-1]
        drawn = [draw(sampler_of(tokenizer, alpha=0.3 if kind == "bpe" else 0.01), row, row, epoch=epoch, example=0)[0]
                 for epoch in range(20)]  # fmt: skip
        assert all((one == symbol).sum() == 2 for one in drawn) and len({tuple(one.tolist()) for one in drawn}) > 10


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_draw_depends_on_seed_epoch_example_repetition_and_side_alone(
    learned: dict[str, SentencePieceTokenizer], sentences: Pairs, kind: str
) -> None:
    tokenizer = learned[kind]
    sampler = sampler_of(tokenizer, alpha=0.5 if kind == "bpe" else 0.01)
    text = encoded(tokenizer, max((pair[0] for pair in sentences), key=len))

    def ids(epoch: int, example: int, repetition: int, sampler: SubwordSampler = sampler) -> tuple[Word, Word]:
        source, target = draw(sampler, text, text, epoch=epoch, example=example, repetition=repetition)
        return tuple(source.tolist()), tuple(target.tolist())

    keys = list(itertools.product(range(3), range(5), range(2)))
    wanted = {key: ids(*key) for key in keys}
    for key, pair in reversed(wanted.items()):
        ids(7, key[1], 0)  # what was drawn before changes nothing
        assert ids(*key) == pair
    together, _ = sampler(
        Flat.of([text] * 5), Flat.of([text] * 5), epoch=1, examples=np.arange(5), repetitions=np.ones(5, np.int64)
    )
    assert [tuple(row.tolist()) for row in together.rows()] == [wanted[1, example, 1][0] for example in range(5)]
    assert len(set(wanted.values())) > 25
    assert sum(source == target for source, target in wanted.values()) < 5
    assert ids(0, 0, 0, dataclasses.replace(sampler, seed=2)) != ids(0, 0, 0)


DRAWS = """
import sys
from pathlib import Path
import numpy as np
from seq2seq.data.rows import Flat
from seq2seq.data.subword_sampling import SubwordSampler, TextSampling
from seq2seq.data.tokenizer import EOS, load_tokenizer
tokenizer = load_tokenizer(Path(sys.argv[1]))
sampling = TextSampling(tokenizer, alpha=float(sys.argv[2]))
sampler = SubwordSampler(source=sampling, target=sampling, max_length=1000, seed=3)
rows = Flat.of([np.array([*tokenizer.encode(line.strip()), EOS]) for line in sys.stdin])
count = len(rows.lengths)
sides = sampler(rows, rows, epoch=2, examples=np.arange(count), repetitions=np.arange(count) % 3)
print([side.ids.tolist() for side in sides])
"""


@pytest.mark.parametrize(("kind", "alpha"), [("unigram", 0.1), ("bpe", 0.2)])
def test_every_process_draws_the_same(
    learned: dict[str, SentencePieceTokenizer], sentences: Pairs, tmp_path: Path, kind: str, alpha: float
) -> None:
    path = learned[kind].save(tmp_path / "tokenizer")
    lines = [source for source, _ in sentences[:100]]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", DRAWS, str(path), str(alpha)], input="\n".join(lines), text=True, check=True,
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": str(number)},
        ).stdout
        for number in (1, 2)
    }  # fmt: skip
    tokenizer = load_tokenizer(path)
    assert isinstance(tokenizer, SentencePieceTokenizer)
    rows = Flat.of([encoded(tokenizer, line) for line in lines])
    numbers = np.arange(100)
    here = sampler_of(tokenizer, alpha=alpha, seed=3)(rows, rows, epoch=2, examples=numbers, repetitions=numbers % 3)
    assert outputs == {f"{[side.ids.tolist() for side in here]}\n"}
    assert here[0].ids.tolist() != rows.ids.tolist() != here[1].ids.tolist() != here[0].ids.tolist()


def test_draws_do_not_change_from_version_to_version() -> None:
    """A run that goes on with a newer version of Python, NumPy or this package sees what it would have seen."""
    source = uniform("1 0 2 0 source")
    assert [source() for _ in range(3)] == [0.016623231345579637, 0.9847251256763427, 0.7464922467649048]
    assert [UnigramSampling(PIECES, alpha=0.2)("abcabcab", source) for _ in range(3)] == [
        (0, 1, 2, 17, 1),
        (10, 2, 10, 15),
        (0, 1, 2, 17, 1),
    ]
    assert [BpeDropout(PIECES, dropout=0.6)("abcabcab", source) for _ in range(3)] == [
        (14, 14, 10),
        (14, 10, 15),
        (10, 2, 14, 10),
    ]


def test_smaller_alpha_of_unigram_and_larger_of_bpe_are_more_random(
    learned: dict[str, SentencePieceTokenizer], sentences: Pairs
) -> None:
    def growth(kind: str, alpha: float) -> float:
        tokenizer = learned[kind]
        sampler, plain, found = sampler_of(tokenizer, alpha=alpha), 0, 0
        for example, (source, target) in enumerate(sentences[:100]):
            rows = encoded(tokenizer, source), encoded(tokenizer, target)
            plain += sum(map(len, rows))
            found += sum(map(len, draw(sampler, *rows, epoch=0, example=example)))
        return found / plain

    assert growth("unigram", 0.01) > growth("unigram", 0.1) > growth("unigram", 0.3) > 1
    assert growth("bpe", 0.5) > growth("bpe", 0.1) > 1
    tokenizer = learned["bpe"]
    text = sentences[0][0]
    row = encoded(tokenizer, text)
    alone, _ = draw(sampler_of(tokenizer, alpha=1.0), row, row, epoch=0, example=0)
    assert len(alone) == len(text) + 2  # every merge left out: a letter each, the mark before the first word, the end


def test_too_long_stays_as_it_is(learned: dict[str, SentencePieceTokenizer], sentences: Pairs) -> None:
    tokenizer = learned["bpe"]
    plain = encoded(tokenizer, sentences[0][0])
    for limit in (len(plain), 2 * len(plain)):
        sampler = sampler_of(tokenizer, alpha=0.2, max_length=limit)
        drawn = [draw(sampler, plain, plain, epoch=epoch, example=0)[0] for epoch in range(50)]
        assert max(map(len, drawn)) <= limit
        assert any(len(row) > len(plain) for row in drawn) == (limit > len(plain))


# ------------------------------------------------------------------------------------------- batches


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
        return PairBatches([dataset], weights=[2.5], batch_tokens=300, seed=seed, shuffle=True, **more).epoch(epoch)

    sampler = sampler_of(learned["unigram"], alpha=0.1, seed=seed)
    fresh, plain = plan(sampler=sampler), plan()
    assert len(fresh) == len(plain)  # batches are of the same examples, by the lengths of the plain pieces
    for position in data.draw(st.lists(st.integers(0, len(fresh) - 1), min_size=2, max_size=5)):
        one, other = fresh[position], plan(sampler=sampler)[position]
        assert one.source is not None and other.source is not None
        assert one.source.equal(other.source) and one.target_out.equal(other.target_out)
        assert fresh.examples(position).tolist() == plain.examples(position).tolist()


@given(weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.5]), min_size=2, max_size=2), shuffle=st.booleans())
def test_an_epoch_counts_how_often_it_shows_a_pair(dataset: TokenDataset, weights: list[float], shuffle: bool) -> None:
    shown: Counter[tuple[int, int]] = Counter()

    def noted(sources: Flat, targets: Flat, *, epoch: int, examples: Any, repetitions: Any) -> tuple[Flat, Flat]:
        shown.update(zip(examples.tolist(), repetitions.tolist(), strict=True))
        return sources, targets

    sampler: Any = noted
    batches = PairBatches(
        [dataset, dataset], weights=weights, batch_tokens=300, seed=1, shuffle=shuffle, sampler=sampler
    )
    plan = batches.epoch(1)
    found: Counter[int] = Counter()
    for position in range(len(plan)):
        assert plan[position].source is not None
        found.update(plan.examples(position).tolist())
    assert shown == Counter((example, time) for example, times in found.items() for time in range(times))


def test_repetitions_and_epochs_show_other_pieces(
    dataset: TokenDataset, learned: dict[str, SentencePieceTokenizer]
) -> None:
    sampler = sampler_of(learned["unigram"], alpha=0.01)
    batches = PairBatches([dataset], weights=[3.0], batch_tokens=300, seed=1, shuffle=True, sampler=sampler)
    seen: dict[int, list[Word]] = {example: [] for example in range(len(dataset))}
    for epoch in (0, 1):
        plan = batches.epoch(epoch)
        for position in range(len(plan)):
            source = plan[position].source
            assert source is not None
            for example, row in zip(plan.examples(position).tolist(), source.tolist(), strict=True):
                seen[example].append(tuple(token for token in row if token != PAD))
    assert all(len(draws) == 6 for draws in seen.values())
    long = [draws for example, draws in seen.items() if dataset.source_lengths[example] > 10]
    assert len(long) > 100 and all(len(set(draws)) == 6 for draws in long)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_no_row_is_longer_than_a_learned_position_table(
    learned: dict[str, SentencePieceTokenizer], sentences: Pairs, listed: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    """data.max_length is at most that long, and training pairs are; so are their draws, though batches grow."""
    tokenizer = learned[kind]
    both = Tokenizers(tokenizer, tokenizer)
    dataset = token_dataset(listed(sentences), both, task=Task.translation, folder=tmp_path)
    limit = int(max(dataset.source_lengths.max(), dataset.target_lengths.max()))
    sampler = sampler_of(tokenizer, alpha=0.9 if kind == "bpe" else 0.01, max_length=limit)
    plan = PairBatches([dataset], batch_tokens=300, seed=1, shuffle=True, sampler=sampler).epoch(0)
    sizes = [(batch.source.shape, batch.target_out.shape) for batch in plan if batch.source is not None]
    longest = max(max(source[1], target[1]) for source, target in sizes)
    assert longest == limit
    assert max(source.numel() for source, _ in sizes) > 1.2 * 300


# ------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("side", SubwordSampling)
@pytest.mark.parametrize("joint", [False, True])
def test_the_setting_chooses_the_sides(
    learned: dict[str, SentencePieceTokenizer], sentences: Pairs, side: SubwordSampling, joint: bool
) -> None:
    tokenizer = learned["unigram"]
    both = Tokenizers(tokenizer, tokenizer if joint else learned["narrow unigram"])
    config = Config(seed=5, data=DataConfig(subword_sampling=side, subword_alpha=0.01, max_length=77))
    sampler = subword_sampler(config, both)
    if side is SubwordSampling.none:
        assert sampler is None
        return
    assert sampler is not None and (sampler.max_length, sampler.seed) == (77, 5)
    row = encoded(both.source, sentences[0][0]), encoded(both.target, sentences[0][0])
    drawn = draw(sampler, *row, epoch=0, example=0)
    for ids, plain, other in zip(drawn, row, (SubwordSampling.target, SubwordSampling.source), strict=True):
        assert (ids.tolist() == plain.tolist()) == (side is other)


@pytest.mark.parametrize(("kind", "alpha"), [(TokenizerKind.unigram, 0.3), (TokenizerKind.bpe, 0.1)])
def test_the_default_randomness_is_that_of_the_kind(
    learned: dict[str, SentencePieceTokenizer], sentences: Pairs, kind: TokenizerKind, alpha: float
) -> None:
    tokenizer = learned[kind.value]
    row = encoded(tokenizer, sentences[1][0])

    def drawn(given: float | None) -> list[list[int]]:
        data = DataConfig(subword_sampling=SubwordSampling.both, subword_alpha=given)
        sampler = subword_sampler(
            Config(data=data, tokenizer=TokenizerConfig(kind=kind)), Tokenizers(tokenizer, tokenizer)
        )
        assert sampler is not None
        return [draw(sampler, row, row, epoch=epoch, example=0)[0].tolist() for epoch in range(30)]

    assert drawn(None) == drawn(alpha) != drawn(alpha / 2)


@pytest.mark.shared
@pytest.mark.parametrize("kind", [TokenizerKind.unigram, TokenizerKind.bpe])
def test_real_text(kind: TokenizerKind, shared_data: Path, tmp_path: Path) -> None:
    """Image captions: without chance as the library cuts them; with chance the same text in somewhat more pieces."""
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
    rows = [encoded(tokenizer, line) for line in lines]
    together = Flat.of(rows)
    plain = TextSampling(tokenizer, alpha=PLAIN[kind.value])(together, [uniform(line) for line in lines])
    different = sum(row.tolist() != ids for row, ids in zip(rows, plain, strict=True))
    assert different <= (0.005 * len(lines) if kind is TokenizerKind.unigram else 0)  # equally probable ones
    alpha = subword_sampling.DEFAULT_ALPHA[kind]
    drawn = TextSampling(tokenizer, alpha=alpha)(together, [uniform(line) for line in lines])
    for row, ids in zip(rows, drawn, strict=True):
        assert tokenizer.decode(ids) == tokenizer.decode(row.tolist())
    assert len(lines) > 1000 and 1.05 < sum(map(len, drawn)) / len(together.ids) < 1.3

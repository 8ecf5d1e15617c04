"""Learning a vocabulary from training text, in bounded memory, and keeping it for the next run."""

import io
import re
from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import TypeVar

import sentencepiece

from seq2seq.config import Documents, Task, TokenizerConfig, TokenizerKind
from seq2seq.data.cache import key_of, read_label, sweep, whole_file, write_label
from seq2seq.data.corpus import Corpus
from seq2seq.data.files import TextSource
from seq2seq.data.progress import Progress, say
from seq2seq.data.tokenizer import (
    BOS,
    EOS,
    PAD,
    SPACE,
    UNK,
    ByteTokenizer,
    CharacterTokenizer,
    LabelVocabulary,
    SentencePieceTokenizer,
    Tokenizer,
    Tokenizers,
    load_tokenizer,
)
from seq2seq.errors import DataError
from seq2seq.plain import to_dict

T = TypeVar("T")

FORMAT = 1
"""Version of the cached tokenizers."""
LONGEST_LINE = 1000
"""Characters; longer training lines are cut, so that tokenizer.training_lines alone bounds the trainer's memory."""
NO_TEXT = "no text to learn a vocabulary from. Name other text with data.train."

MANY_LINES = 20_000
"""Learning from more takes seconds, so it is announced."""
TRAINER_THREADS = 16
"""SentencePiece adds up by thread, so their number changes last digits: it must not depend on the machine."""


class _Side(str, Enum):
    """Which column of the text a vocabulary is learned from."""

    source = "source"
    target = "target"
    both = "both"
    documents = "documents"
    labels = "labels"


def train_tokenizers(config: TokenizerConfig, corpus: Corpus, *, task: Task, cache_dir: Path) -> Tokenizers:
    """Tokenizers for both sides, learned from the training text or taken from the cache when it has them.

    Args:
        config: kind and size of the vocabulary.
        corpus: the text.
        task: decides which sides are text and which are labels.
        cache_dir: the cache folder.

    Raises:
        DataError: there is no text, or not enough for tokenizer.vocab_size, or the cache cannot be written.
    """

    def learned(side: _Side) -> Tokenizer:
        return _learned(config, corpus, side=side, task=task, folder=cache_dir / "tokenizers")

    if task is Task.language_modelling or (task is Task.translation and config.joint):
        tokenizer = learned(_Side.documents if task is Task.language_modelling else _Side.both)
        return Tokenizers(tokenizer, tokenizer)
    return Tokenizers(learned(_Side.source), learned(_Side.target if task is Task.translation else _Side.labels))


def _learned(config: TokenizerConfig, corpus: Corpus, *, side: _Side, task: Task, folder: Path) -> Tokenizer:
    """One tokenizer, from the cache when it is there."""
    if side is not _Side.labels and config.kind is TokenizerKind.bytes:
        return ByteTokenizer()
    sources = list(corpus.train)
    if side is not _Side.labels and config.kind is TokenizerKind.characters and corpus.valid_from_train:
        # The text is one, cut in two; its alphabet is that of the whole (nanoGPT's data/shakespeare_char/prepare.py).
        sources.append(corpus.valid)
    key = key_of(
        format=FORMAT,
        library=sentencepiece.__version__,
        text=[source.fingerprint for source in sources],
        config={name: value for name, value in to_dict(config).items() if name != "checkpoint"},
        side=side.value,
        task=task.value,
        documents=corpus.documents.value,
        exact=corpus.notice is None,
    )
    pieces = side is not _Side.labels and config.kind in (TokenizerKind.unigram, TokenizerKind.bpe)
    path = folder / f"{key}{'.model' if pieces else '.json'}"
    label, damaged = read_label(path)
    if label is not None:
        return load_tokenizer(path)
    if damaged:
        say(f"{path} is damaged; learning the vocabulary again.")

    tokenizer: Tokenizer
    if side is _Side.labels:
        tokenizer = _labels(sources, per_word=task is Task.tagging)
    elif pieces:
        # A stand-in for the corpus that was asked for may fill less than the size chosen for that.
        exact = corpus.notice is None
        tokenizer = _train_pieces(config, sources, side=side, documents=corpus.documents, exact=exact)
    else:
        characters: set[str] = set()
        for text in _texts(sources, side):
            characters.update(text)
        tokenizer = CharacterTokenizer("".join(characters))
    if tokenizer.vocab_size <= (0 if side is _Side.labels else UNK + 1):
        raise DataError(f"{_names(sources)}: {NO_TEXT}")
    sweep(folder)
    with whole_file(path) as temporary:
        tokenizer.save(temporary)
    write_label(path)
    return tokenizer


def _train_pieces(
    config: TokenizerConfig, sources: list[TextSource], *, side: _Side, documents: Documents, exact: bool
) -> SentencePieceTokenizer:
    """Train SentencePiece on lines spread evenly over the text; unless `exact`, the vocabulary may be smaller."""
    count = -(-config.training_lines // 2) if side is _Side.both else config.training_lines
    lines = _sample(sources, side, count)
    if not lines:
        raise DataError(f"{_names(sources)}: {NO_TEXT}")
    if len(lines) >= MANY_LINES:
        say(f"learning a {config.kind.value} vocabulary of {config.vocab_size:,} from {len(lines):,} lines")
    whole = documents is Documents.file
    # A line break inside a document is a token; normalisation would make it a space.
    line_break = ["\n"] if side is _Side.documents else []
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=config.kind.value,
            vocab_size=config.vocab_size,
            hard_vocab_limit=exact,
            character_coverage=config.character_coverage,
            byte_fallback=config.byte_fallback,
            user_defined_symbols=[*line_break, *(symbol.replace(" ", SPACE) for symbol in config.user_symbols)],
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            normalization_rule_name="nmt_nfkc",
            # A whole file is encoded line by line and joined again, so nothing may be added or lost at the seams.
            add_dummy_prefix=not whole,
            remove_extra_whitespaces=not whole,
            max_sentence_length=4 * LONGEST_LINE,  # bytes
            num_threads=TRAINER_THREADS,
            minloglevel=3,
        )
    except RuntimeError as error:
        raise _explained(error, config, sources) from error
    tokenizer = SentencePieceTokenizer(model.getvalue())
    if config.vocab_size is not None and tokenizer.vocab_size < config.vocab_size:
        say(f"the text fills {tokenizer.vocab_size:,} entries of the vocabulary, not {config.vocab_size:,}")
    return tokenizer


def _explained(error: RuntimeError, config: TokenizerConfig, sources: list[TextSource]) -> DataError:
    """SentencePiece's complaint in terms of our settings."""
    start = f"tokenizer.vocab_size ({config.vocab_size})"
    if found := re.search(r"Please set it to a value <= (\d+)", str(error)):
        return DataError(
            f"{start} is more than the training text ({_names(sources)}) can fill; the largest that works is "
            f"{found[1]}."
        )
    if found := re.search(r"smaller than required_chars. \d+ vs (\d+)", str(error)):
        fallback = ", or set tokenizer.byte_fallback=false (256 fewer)" if config.byte_fallback else ""
        return DataError(
            f"{start} is too small for the characters of the training text ({_names(sources)}); the smallest that "
            f"works is {found[1]}. Raise it, or lower tokenizer.character_coverage{fallback}."
        )
    return DataError(f"{_names(sources)}: SentencePiece cannot learn a vocabulary from this text ({error}).")


def _sample(sources: list[TextSource], side: _Side, count: int) -> list[str]:
    """Training lines for SentencePiece, `count` from each side."""
    progress = Progress("reading the training text", "lines", fraction=lambda: None)

    def rows() -> Iterator[tuple[str, str]]:
        for pair in chain.from_iterable(sources):
            progress.advance(1)
            if pair[0] or pair[1]:
                yield pair

    if side is _Side.documents:  # one may hold thousands of lines, so those are sampled
        lines: Iterable[str] = evenly((line for _, text in rows() for line in _cut(text)), count)
    else:
        pairs = evenly(rows(), count)
        lines = (line for pair in pairs for text in _chosen(pair, side) for line in _cut(text))
    found = list(lines)
    progress.close()
    return found


def evenly(items: Iterable[T], count: int) -> list[T]:
    """Up to `count` items spread evenly over a stream of unknown length, holding at most twice as many at a time."""
    kept: list[T] = []
    stride = 1
    for index, item in enumerate(items):
        if index % stride == 0:
            kept.append(item)
            if len(kept) == 2 * count:
                kept, stride = kept[::2], 2 * stride
    return kept if len(kept) <= count else [kept[index * len(kept) // count] for index in range(count)]


def _cut(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        for start in range(0, len(line), LONGEST_LINE):
            yield line[start : start + LONGEST_LINE]


def _chosen(pair: tuple[str, str], side: _Side) -> tuple[str, ...]:
    match side:
        case _Side.source:
            return pair[:1]
        case _Side.both:
            return pair
        case _:
            return pair[1:]


def _texts(sources: list[TextSource], side: _Side) -> Iterator[str]:
    return (text for pair in chain.from_iterable(sources) for text in _chosen(pair, side))


def _labels(sources: list[TextSource], *, per_word: bool) -> LabelVocabulary:
    labels: set[str] = set()
    for text in _texts(sources, _Side.labels):
        labels.update(text.split() if per_word else [text.strip()])
    return LabelVocabulary(sorted(labels - {""}), per_word=per_word)


def _names(sources: list[TextSource]) -> str:
    return ", ".join(source.name for source in sources)

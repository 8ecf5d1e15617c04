"""From a configuration to everything that training and scoring need of its text."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seq2seq.config import Config, Task
from seq2seq.data.cache import cache_folder
from seq2seq.data.corpus import Corpus, open_corpus
from seq2seq.data.files import Pair, TextSource
from seq2seq.data.filters import DropCounts, Filter
from seq2seq.data.joined import joined_length
from seq2seq.data.token_cache import TokenDataset, TokenStream, token_dataset, token_stream
from seq2seq.data.tokenizer import Tokenizers
from seq2seq.data.tokenizer_training import train_tokenizers
from seq2seq.data.workers import cores
from seq2seq.errors import DataError


@dataclass
class Prepared:
    """A run's text, encoded.

    Attributes:
        corpus: the text itself.
        tokenizers: text to ids.
        train: a dataset for each entry of data.train; a language model's text is one stream.
        valid: validation text, every line of it.
        test: test text, every line of it; None without data.test.
        drop_counts: training pairs read and left out, over all corpora; None for a language model.
    """

    corpus: Corpus
    tokenizers: Tokenizers
    train: list[TokenDataset] | TokenStream
    valid: TokenDataset | TokenStream
    test: TokenDataset | TokenStream | None
    drop_counts: DropCounts | None

    @property
    def corpus_name(self) -> str:
        """Where the training text comes from: files, hub or sample."""
        return self.corpus.name

    @property
    def notice(self) -> str | None:
        """What the user must know about the text, to be shown in a box; None when all is as asked."""
        return self.corpus.notice

    @property
    def length_ratio(self) -> float | None:
        """Target tokens for each source token in the training text, end tokens left out; None without pairs."""
        if isinstance(self.train, TokenStream):
            return None
        pairs = sum(len(dataset) for dataset in self.train)
        sources, targets = (
            sum(int(lengths.sum(dtype=np.int64)) for lengths in side) - pairs
            for side in (
                [dataset.source_lengths for dataset in self.train],
                [dataset.target_lengths for dataset in self.train],
            )
        )
        return round(targets / sources, 6) if sources > 0 else None

    @cached_property
    def joined_length(self) -> int:
        """Source tokens up to which the training text often has lines of several sentences, see data/joined.py."""
        if isinstance(self.train, TokenStream):
            return 0
        return joined_length(self.train, self.tokenizers.source)

    @cached_property
    def valid_pairs(self) -> list[Pair]:
        """(source, reference) texts of the validation set; a language model's source is empty."""
        return list(self.corpus.valid)

    @cached_property
    def test_pairs(self) -> list[Pair] | None:
        """(source, reference) texts of the test set, None without one."""
        return None if self.corpus.test is None else list(self.corpus.test)


def prepare(config: Config, *, tokenizers: Tokenizers | None = None) -> Prepared:
    """Open, learn vocabularies, encode; all of it from the cache when nothing has changed.

    Args:
        config: of the run.
        tokenizers: use these instead of learning them, as when a run goes on.

    Raises:
        DataError: the text or the cache cannot be used; the message says which, why, and what to do.
    """
    task, folder, workers = config.task, cache_folder(config.data), workers_of(config)
    corpus = open_corpus(config.data, task=task)
    if tokenizers is None:
        tokenizers = train_tokenizers(config.tokenizer, corpus, task=task, cache_dir=folder)
    if task is Task.language_modelling:
        stream = token_stream(corpus.train, tokenizers, documents=corpus.documents, folder=folder, workers=workers)
        valid = encode_text(corpus.valid, config, tokenizers)
        test = encode_text(corpus.test, config, tokenizers) if corpus.test is not None else None
        return Prepared(corpus, tokenizers, stream, valid, test, None)
    rules = training_filter(config)
    train = [
        token_dataset(source, tokenizers, task=task, folder=folder, filter=rules, workers=workers)
        for source in corpus.train
    ]
    drops = sum((dataset.drops for dataset in train), DropCounts())
    if drops.kept == 0:
        names = ", ".join(source.name for source in corpus.train)
        raise DataError(f"{names}: no training pair is left.\n{drops}")
    return Prepared(
        corpus,
        tokenizers,
        train,
        encode_text(corpus.valid, config, tokenizers),
        None if corpus.test is None else encode_text(corpus.test, config, tokenizers),
        drops,
    )


def training_filter(config: Config) -> Filter:
    """The rules by which training pairs are left out."""
    ratio = config.data.max_length_ratio if config.task is Task.translation else None
    return Filter(max_length=config.data.max_length, max_length_ratio=ratio)


def encode_text(source: TextSource, config: Config, tokenizers: Tokenizers) -> TokenDataset | TokenStream:
    """Validation or test text: every line is kept, however long."""
    folder, workers = cache_folder(config.data), workers_of(config)
    if config.task is Task.language_modelling:
        documents = config.data.documents
        return token_stream([source], tokenizers, documents=documents, folder=folder, workers=workers)
    dataset = token_dataset(source, tokenizers, task=config.task, folder=folder, workers=workers)
    if len(dataset) == 0:
        raise DataError(f"{source.name}: no line in it to validate or test on.")
    longest = dataset.source_lengths
    if config.task is Task.translation:
        longest = np.maximum(longest, dataset.target_lengths)
    worst = int(longest.argmax())
    if longest[worst] > config.longest_side:
        table = "half of model.max_length" if config.translates_decoder_only else "model.max_length"
        raise DataError(
            f"{source.where(worst)}: {longest[worst]} tokens, but the learned position table ends at {table} "
            f"({config.model.max_length}). Train with a larger one or with other positions, or leave the line out."
        )
    return dataset


def workers_of(config: Config) -> int:
    """Processes that encode text."""
    return config.data.workers or cores()

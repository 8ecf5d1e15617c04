"""A small text of made-up sentences, and sources and tokenizers over it."""

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from seq2seq.config import Task, TokenizerConfig, TokenizerKind
from seq2seq.data.corpus import Corpus
from seq2seq.data.files import TextSource
from seq2seq.data.tokenizer import Tokenizers
from seq2seq.data.tokenizer_training import train_tokenizers

Pairs = list[tuple[str, str]]

LEXICON = {
    "the": "die", "cat": "Katze", "dog": "Hund", "house": "Häuser", "sees": "sieht", "finds": "findet",
    "small": "kleine", "green": "grüne", "quickly": "schnell", "today": "heute", "in": "in", "under": "unter",
    "with": "mit", "seven": "sieben", "old": "alte", "friends": "Freunde", "water": "Wasser", "bread": "Brot",
    "garden": "Garten", "window": "Fenster", "river": "Fluss", "winter": "Winter", "bridge": "Brücke",
    "morning": "Morgen", "yesterday": "gestern", "brings": "bringt", "carries": "trägt", "between": "zwischen",
    "because": "weil", "station": "Bahnhof", "beautiful": "schöne", "question": "Frage", "answers": "antwortet",
    "village": "Dorf", "mountain": "Berg", "children": "Kinder", "language": "Sprache", "always": "immer",
}  # fmt: skip


class Listed:
    """Text that a test holds in a list."""

    def __init__(self, pairs: Sequence[tuple[str, str]], name: str = "listed") -> None:
        self.pairs, self.name = list(pairs), name
        self.fingerprint = hashlib.sha256(repr(self.pairs).encode()).hexdigest()
        self.reads = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        self.reads += 1
        return iter(self.pairs)

    def where(self, index: int) -> str:
        return f"{self.name}:{index + 1}"

    def fraction(self) -> float | None:
        return None


@pytest.fixture(scope="session")
def sentences() -> Pairs:
    """400 made-up pairs of 1 to 12 words."""
    made = random.Random(3)
    pairs = []
    for _ in range(400):
        chosen = made.choices(sorted(LEXICON), k=made.randint(1, 12))
        pairs.append((" ".join(chosen) + ".", " ".join(LEXICON[word] for word in chosen) + "."))
    return pairs


@pytest.fixture(scope="session")
def listed() -> Callable[..., Listed]:
    return Listed


@pytest.fixture(scope="session")
def tokenizers(sentences: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Tokenizers:
    """A joint unigram tokenizer of the sentences."""
    source: TextSource = Listed(sentences)
    return train_tokenizers(
        TokenizerConfig(kind=TokenizerKind.unigram, vocab_size=320),
        Corpus([source], source, None, "files"),
        task=Task.translation,
        cache_dir=tmp_path_factory.mktemp("tokenizers"),
    )


@pytest.fixture
def write_pairs(tmp_path: Path) -> Callable[..., str]:
    """Writes pairs as PREFIX.en and PREFIX.de and returns the prefix."""

    def write(pairs: Pairs, name: str = "train") -> str:
        for index, language in enumerate(("en", "de")):
            text = "".join(pair[index] + "\n" for pair in pairs)
            (tmp_path / f"{name}.{language}").write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write

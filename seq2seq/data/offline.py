"""Text that is always at hand: the embedded sample corpus, and English that every Python installation carries."""

import ast
import importlib
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from seq2seq.data import sample_corpus
from seq2seq.data.cache import key_of
from seq2seq.data.files import Pair, TextSource, hash_files
from seq2seq.data.text_cache import Made, kept

ENGLISH = "Python's help topics and docstrings"
ENGLISH_CHARACTERS = 1_100_000
"""Size of the offline English text, about that of tinyshakespeare."""


def sample_text(split: str, *, reverse: bool = False, cache: Path) -> TextSource:
    """A split of the embedded English-German corpus; see `seq2seq.data.sample_corpus`.

    Args:
        split: "train", "valid" or "test".
        reverse: German to English.
        cache: the cache folder; generating takes seconds, so it is done once.
    """

    def pairs() -> Iterator[Pair]:
        for english, german in sample_corpus.sample_pairs(split):
            yield (german, english) if reverse else (english, german)

    # The generator makes the same pairs as long as its own source is the same.
    generator = hash_files(*sorted(Path(inspect.getfile(sample_corpus)).parent.glob("*.py")))
    file = key_of(generator=generator, split=split, reverse=reverse)
    name = f"the embedded sample corpus ({split})"
    return kept(cache / "sample" / file, Made(pairs), name=name, total=sample_corpus.SIZES[split])


def english_text(*, whole: bool, cache: Path) -> TextSource:
    """English prose of the Python installation: the language reference's help topics, then the library's docstrings.

    Args:
        whole: lines keep their line breaks, to be joined; else not.
        cache: the cache folder; collecting takes seconds, so it is done once for each Python version.
    """

    def pairs() -> Iterator[Pair]:
        for line in offline_english().split("\n"):
            yield "", line + "\n" if whole else line

    file = key_of(python=sys.version, characters=ENGLISH_CHARACTERS, whole=whole)
    return kept(cache / "sample" / file, Made(pairs), name=ENGLISH, total=None)


def offline_english() -> str:
    """About ENGLISH_CHARACTERS of English, the same on every call in one Python installation."""
    texts, size = [], 0
    for text in _topics_and_docstrings():
        text = "".join(character for character in text if character == "\n" or character.isprintable()).strip()
        texts.append(text)
        size += len(text) + 2
        if size >= ENGLISH_CHARACTERS:
            break
    return "\n\n".join(texts)[:ENGLISH_CHARACTERS]


def _topics_and_docstrings() -> Iterator[str]:
    try:  # some distributions put it into a package of its own, and have the docstrings all the same
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
        yield from (topics[name] for name in sorted(topics))
    except ImportError:
        pass
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old escapes in somebody else's source
                tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node)
                if docstring and len(docstring) > 200:  # short ones name arguments more than they say
                    yield docstring

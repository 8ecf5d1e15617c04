"""Write a large parallel corpus made of smaller real ones, to measure with; its pairs are no translations.

    python tools/benchmarks/make_corpus.py OUT --pairs 10000000 --languages it en --texts FOLDER/train [...]

writes OUT.it and OUT.en. The first pairs are those of the texts (FOLDER/train.it[.gz], ...); every later one is spliced
of the beginning of one pair and the end of another, so lengths and words stay those of real text. The same command
writes the same files. Memory holds the texts, not what is written.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from seq2seq.data.files import Lines, Pair, PairedFiles  # noqa: E402  (works from a checkout that is not installed)

SEED = 1


def spliced(pairs: list[Pair], count: int) -> Iterator[Pair]:
    """`pairs`, then new ones made of their halves, `count` in all."""
    yield from pairs[:count]
    made = random.Random(SEED)
    for _ in range(count - len(pairs)):
        first, second, cut = made.choice(pairs), made.choice(pairs), made.random()
        yield _joined(first[0], second[0], cut), _joined(first[1], second[1], cut)


def _joined(first: str, second: str, cut: float) -> str:
    """The beginning of one text and the end of another, cut after about the same share of both, at a space."""
    end, start = first.rfind(" ", 0, int(cut * len(first)) + 1), second.find(" ", int(cut * len(second)))
    return f"{first[: max(end, 0)]} {second[max(start, 0) :].lstrip()}".lstrip()


def read(prefix: str, languages: tuple[str, str]) -> list[Pair]:
    """The pairs of a text."""
    paths = [Path(f"{prefix}.{language}") for language in languages]
    return list(PairedFiles(*(path if path.is_file() else Path(f"{path}.gz") for path in paths)))


def write(out: Path, pairs: Iterator[Pair], languages: tuple[str, str]) -> None:
    """Write pairs as OUT.LANGUAGE, line by line."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        Path(f"{out}.{languages[0]}").open("w", encoding="utf-8") as sources,
        Path(f"{out}.{languages[1]}").open("w", encoding="utf-8") as targets,
    ):
        for source, target in pairs:
            sources.write(source + "\n")
            targets.write(target + "\n")


def lines(prefix: Path, language: str) -> int:
    """Lines that were written; 0 when there is no file."""
    path = Path(f"{prefix}.{language}")
    return Lines(path).count() if path.is_file() else 0


def make(out: Path, *, pairs: int, languages: tuple[str, str], texts: list[str]) -> None:
    """Write the corpus unless it is there."""
    if any(lines(out, language) != pairs for language in languages):
        write(out, spliced([pair for text in texts for pair in read(text, languages)], pairs), languages)


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--languages", nargs=2, required=True)
    parser.add_argument("--texts", nargs="+", required=True)
    options = parser.parse_args()
    make(options.out, pairs=options.pairs, languages=tuple(options.languages), texts=options.texts)


if __name__ == "__main__":
    main()

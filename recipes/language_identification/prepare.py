"""Text files, one or more for each language, to files of `line<TAB>language`: train.tsv, valid.tsv, test.tsv.

    python recipes/language_identification/prepare.py --output DATA --train en=english.txt --train de=german.txt.gz ...

A split has as many lines of one language as of another, mixed. A line stands once and in one split only (what the test
has is never trained on), and nowhere when two languages of a split have it: it has no one answer. Lines are compared
without regard to case and spaces. Which lines are chosen, and their order, depend on the lines and on --seed alone.
"""

import argparse
import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

Lines = dict[str, dict[str, str]]
"""By language: the lines, each under its key."""


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file, also .gz, with single spaces and none at the ends; blank ones are left out."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for raw in file:
            if line := " ".join(raw.decode("utf-8").split()):
                yield line


def untokenize(line: str) -> str:
    """Take back the spaces that a tokenizer put round punctuation, or a model knows the corpus by them."""
    line = re.sub(r"\s*(['’])\s*", r"\1", line)
    line = re.sub(r"\s+([,.;:?!%)\]])", r"\1", line)
    return re.sub(r"([(\[])\s+", r"\1", line)


def key_of(line: str) -> str:
    """Equal for lines that count as the same."""
    return "".join(line.split()).casefold()


def order_of(line: str, seed: int) -> bytes:
    """A random number that depends on the line and the seed alone."""
    return hashlib.blake2b(f"{seed}\t{line}".encode(), digest_size=8).digest()


def read_split(files: list[tuple[str, Path]], *, seed: int, tokenized: set[str], joined: set[str]) -> Lines:
    """The distinct lines of a split, in random order, without those that several languages have.

    Args:
        files: (language, file) pairs.
        seed: decides the order.
        tokenized: languages whose files have spaces round punctuation; they are taken back.
        joined: languages written without spaces, whose files have some; all are removed.
    """
    lines: Lines = {language: {} for language, _ in files}
    for language, path in files:
        for line in read_lines(path):
            line = untokenize(line) if language in tokenized else line
            line = line.replace(" ", "") if language in joined else line
            lines[language].setdefault(key_of(line), line)
    languages_with = Counter(key for by_key in lines.values() for key in by_key)
    return {
        language: {
            key: by_key[key] for key in sorted(by_key, key=lambda key: order_of(key, seed)) if languages_with[key] == 1
        }
        for language, by_key in lines.items()
    }


def split_off(lines: Lines, count: int) -> Lines:
    """Move the first `count` lines of every language out of `lines`."""
    return {language: {key: by_key.pop(key) for key in list(by_key)[:count]} for language, by_key in lines.items()}


def prepare(
    files: dict[str, list[tuple[str, Path]]],
    *,
    seed: int,
    max_lines: int,
    held_out: int,
    tokenized: set[str],
    joined: set[str],
) -> dict[str, list[tuple[str, str]]]:
    """(line, language) rows by split.

    Args:
        files: (language, file) pairs by split; valid and test may have none.
        seed: decides what is chosen, and the order.
        max_lines: most training lines of a language.
        held_out: lines of each language to take from the training text for a split that has no files.
        tokenized: see `read_split`.
        joined: see `read_split`.

    Raises:
        ValueError: a language is left without lines, is not trained, or is the only one.
    """
    read = {split: read_split(named, seed=seed, tokenized=tokenized, joined=joined) for split, named in files.items()}
    languages = sorted(read["train"])
    if len(languages) < 2:
        raise ValueError(
            "one language leaves nothing to tell apart; name more, such as --train en=FILE --train de=FILE"
        )
    for split in ("test", "valid"):
        if strange := sorted(set(read[split]) - set(languages)):
            raise ValueError(
                f"--{split} names {', '.join(strange)}, which --train does not; leave it out or train it too"
            )
        read[split] = read[split] or split_off(read["train"], held_out)

    rows: dict[str, list[tuple[str, str]]] = {}
    taken: set[str] = set()
    for split in ("test", "valid", "train"):
        left = {
            language: [line for key, line in by_key.items() if key not in taken]
            for language, by_key in read[split].items()
        }
        taken.update(*read[split].values())
        count = min(map(len, left.values()))
        if count == 0:
            without = next(language for language, lines in left.items() if not lines)
            raise ValueError(f"no line of {without} is left for {split}; give more text")
        count = min(count, max_lines) if split == "train" else count
        rows[split] = [(line, language) for language, lines in left.items() for line in lines[:count]]
        rows[split].sort(key=lambda row: order_of(row[0], seed))
    return rows


def language_and_file(text: str) -> tuple[str, Path]:
    """`en=english.txt` taken apart."""
    language, equals, name = text.partition("=")
    if not (language and equals and name) or len(language.split()) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form LANGUAGE=FILE")
    return language, Path(name)


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, write the files, say how many lines they have and what guessing scores."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the three files")
    for split, fallback in (("train", ""), ("valid", "; without it, lines of --train"), ("test", "; likewise")):
        parser.add_argument(
            f"--{split}", action="append", default=[], type=language_and_file, metavar="LANGUAGE=FILE",
            required=split == "train", help=f"text, one line an example, UTF-8 or .gz; may be repeated{fallback}",
        )  # fmt: skip
    parser.add_argument("--max-lines", type=int, default=50_000, metavar="N", help="most training lines of a language")
    parser.add_argument(
        "--held-out", type=int, default=500, metavar="N", help="lines of each language taken from --train"
    )
    parser.add_argument(
        "--tokenized", nargs="*", default=[], metavar="LANGUAGE", help="take back spaces round punctuation"
    )
    parser.add_argument(
        "--joined", nargs="*", default=[], metavar="LANGUAGE", help="remove all spaces (segmented Japanese)"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        if min(options.max_lines, options.held_out) < 1:
            raise ValueError("--max-lines and --held-out must be at least 1")
        rows = prepare(
            {"train": options.train, "valid": options.valid, "test": options.test},
            seed=options.seed,
            max_lines=options.max_lines,
            held_out=options.held_out,
            tokenized=set(options.tokenized),
            joined=set(options.joined),
        )
        options.output.mkdir(parents=True, exist_ok=True)
        for split, pairs in rows.items():
            text = "".join(f"{line}\t{language}\n" for line, language in pairs)
            (options.output / f"{split}.tsv").write_text(text, encoding="utf-8", newline="\n")
    except (OSError, EOFError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
        parser.error(str(error))
    for split in ("train", "valid", "test"):
        counts = Counter(language for _, language in rows[split])
        each = ", ".join(f"{language} {count:,}" for language, count in sorted(counts.items()))
        print(f"{split}: {len(rows[split]):,} lines ({each}); always the same language: accuracy {1 / len(counts):.2%}")


if __name__ == "__main__":
    main()

"""Ordinary text to files of `lower-case words<TAB>labels` for a tagger: train.tsv, valid.tsv, test.tsv.

    python recipes/punctuation/prepare.py --output DATA --train english.txt --train news.txt.gz ...

A label says how the word is written and which mark follows it: `U,` in "Hello, world" is a capital and a comma.

    case     l as it is    U first letter a capital    A all letters capitals    M mixed, such as McDonald
    mark     none          , comma                     . full stop               ? question mark

- Words are what stands between spaces. Marks at their ends are taken off (quotes, brackets, dashes, accents that
  stand alone); marks inside stay: don't, u.s, 3.5, well-known. The signs % & # @ are part of a word.
- Of the marks that follow a word, the strongest counts: ? before . before , . An exclamation mark and an ellipsis
  count as a full stop; a colon, a semicolon and a dash that stands alone as a comma.
- Marks that stand alone belong to the word before them; at the start of a line they are dropped.
- A word has the first case of l, U, A that gives it back from lower case, else M. So I is U, 3D is U, 2nd is l.

`restore` turns words and labels into text again; of what the labels do not tell (quotes, M), nothing comes back.

An example is 1 to --join neighbouring lines (how many is drawn), so that ends of sentences are not only ends of
examples. A line stands once and in one split only (what the test has is never trained on). All depends on the lines and
on --seed alone. An example of valid or test that has a label which train never has is left out.
"""

import argparse
import gzip
import random
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Example = tuple[list[str], list[str]]
"""Words and their labels."""

CASES: dict[str, Callable[[str], str]] = {
    "l": lambda word: word,
    "U": lambda word: _first_letter_capital(word),
    "A": lambda word: word.upper(),
}
"""From lower case to what the label says, in the order in which they are tried. M, mixed, is what none gives."""

MARKS = {"?": "?", ".": ".", "!": ".", "…": ".", ",": ",", ":": ",", ";": ","}
STRONGEST_FIRST = "?.,"
DASHES = "-–—―"
PARTS_OF_WORDS = "%&#@"


def _first_letter_capital(word: str) -> str:
    for index, letter in enumerate(word):
        if letter.upper() != letter:
            return word[:index] + letter.upper() + word[index + 1 :]
    return word


def is_edge(character: str) -> bool:
    """Whether it is taken off the ends of words: punctuation, lone accents, characters that are not to be seen."""
    category = unicodedata.category(character)
    return character not in PARTS_OF_WORDS and (category[0] in "PCZ" or category == "Sk")


def strongest(marks: Iterable[str]) -> str:
    """The mark that counts among several characters, "" for none."""
    found = {MARKS[mark] for mark in marks if mark in MARKS}
    return next((mark for mark in STRONGEST_FIRST if mark in found), "")


def case_of(word: str) -> str:
    """The label of a word's spelling."""
    return next((case for case, write in CASES.items() if write(word.lower()) == word), "M")


def annotate(text: str) -> Example:
    """Lower-case words and labels of ordinary text."""
    words: list[str] = []
    labels: list[tuple[str, str]] = []
    for token in text.replace("—", " — ").split():
        start, end = 0, len(token)
        while end > start and is_edge(token[end - 1]):
            end -= 1
        while start < end and is_edge(token[start]):
            start += 1
        marks = token[end:]
        if start < end:
            words.append(token[start:end].lower())
            labels.append((case_of(token[start:end]), strongest(marks)))
        elif words:
            case, mark = labels[-1]
            alone = "," if set(marks) <= set(DASHES) else ""
            labels[-1] = case, strongest(mark + marks + alone)
    return words, [case + mark for case, mark in labels]


def restore(words: Iterable[str], labels: Iterable[str]) -> str:
    """Text as the labels say; a mixed word stays in lower case."""
    return " ".join(
        CASES.get(label[0], CASES["l"])(word) + label[1:] for word, label in zip(words, labels, strict=True)
    )


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file, also .gz."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for raw in file:
            yield raw.decode("utf-8").strip()


def read_examples(files: list[Path], *, taken: set[str], join: int, seed: int) -> list[Example]:
    """Examples of 1 to `join` neighbouring lines, shuffled; lines whose words are in `taken` left out, others added."""
    draw = random.Random(seed)
    examples: list[Example] = []
    for path in files:
        room = 0  # lines that may still join the latest example, which never spans files
        for line in read_lines(path):
            words, labels = annotate(line)
            key = " ".join(words)
            if not words or key in taken:
                continue
            taken.add(key)
            if room == 0:
                examples.append(([], []))
                room = draw.randint(1, join)
            examples[-1][0].extend(words)
            examples[-1][1].extend(labels)
            room -= 1
    draw.shuffle(examples)
    return examples


def prepare(
    files: dict[str, list[Path]], *, seed: int, join: int, held_out: int, max_examples: int | None
) -> dict[str, list[Example]]:
    """Examples by split.

    Args:
        files: by split; valid and test may have none.
        seed: decides joining and order.
        join: most lines of an example.
        held_out: examples to take from the training text for a split that has no files.
        max_examples: most training examples; None keeps all.

    Raises:
        ValueError: a split is left without examples.
    """
    taken: set[str] = set()
    examples = {
        split: read_examples(files[split], taken=taken, join=join, seed=seed) for split in ("test", "valid", "train")
    }
    train = examples["train"]
    for split in ("test", "valid"):
        if not files[split]:
            examples[split] = train[:held_out]
            del train[:held_out]
    del train[max_examples or len(train) :]
    known = {label for _, labels in train for label in labels}
    for split in ("test", "valid"):
        examples[split] = [example for example in examples[split] if known.issuperset(example[1])]
    for split, found in examples.items():
        if not found:
            raise ValueError(f"no example is left for {split}; give more text")
    return examples


def baselines(train: list[Example], examples: list[Example]) -> tuple[float, float]:
    """Share of right labels of two guesses: the most frequent label, and the most frequent one of each word."""
    overall = Counter(label for _, labels in train for label in labels)
    by_word: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for words, labels in train:
        for word, label in zip(words, labels, strict=True):
            by_word[word][label] += 1
    constant = overall.most_common(1)[0][0]
    guesses = {word: labels.most_common(1)[0][0] for word, labels in by_word.items()}
    pairs = [pair for words, labels in examples for pair in zip(words, labels, strict=True)]
    return (
        sum(label == constant for _, label in pairs) / len(pairs),
        sum(label == guesses.get(word, constant) for word, label in pairs) / len(pairs),
    )


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, write the files, say how large they are and what guessing scores."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the three files")
    for split, fallback in (("train", ""), ("valid", "; without it, examples of --train"), ("test", "; likewise")):
        parser.add_argument(
            f"--{split}", action="append", default=[], type=Path, metavar="FILE", required=split == "train",
            help=f"text with its capitals and marks, UTF-8 or .gz; may be repeated{fallback}",
        )  # fmt: skip
    parser.add_argument("--join", type=int, default=3, metavar="N", help="most lines of an example (default: 3)")
    parser.add_argument(
        "--held-out", type=int, default=2000, metavar="N", help="examples taken from --train (default: 2000)"
    )
    parser.add_argument("--max-examples", type=int, metavar="N", help="most training examples (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if min(options.join, options.held_out, options.max_examples or 1) < 1:
        parser.error("--join, --held-out and --max-examples must be at least 1")
    try:
        examples = prepare(
            {"train": options.train, "valid": options.valid, "test": options.test},
            seed=options.seed,
            join=options.join,
            held_out=options.held_out,
            max_examples=options.max_examples,
        )
        options.output.mkdir(parents=True, exist_ok=True)
        for split, found in examples.items():
            text = "".join(f"{' '.join(words)}\t{' '.join(labels)}\n" for words, labels in found)
            (options.output / f"{split}.tsv").write_text(text, encoding="utf-8", newline="\n")
    except (OSError, EOFError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
        parser.error(str(error))
    for split in ("train", "valid", "test"):
        constant, by_word = baselines(examples["train"], examples[split])
        print(
            f"{split}: {len(examples[split]):,} examples, {sum(len(words) for words, _ in examples[split]):,} words; "
            f"most frequent label: accuracy {constant:.2%}; most frequent label of each word: {by_word:.2%}"
        )
    counts = Counter(label for _, labels in examples["train"] for label in labels)
    print("labels:", ", ".join(f"{label} {count:,}" for label, count in counts.most_common()))


if __name__ == "__main__":
    main()

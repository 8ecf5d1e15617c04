"""A glossary: terms of the source and how they must be translated."""

import gzip
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from seq2seq.data.lines import ByteStream, read_lines
from seq2seq.data.phrases import Constraint, in_word, occurrences, squeezed
from seq2seq.errors import DataError


class Glossary:
    """Source terms with their translations, found in lines of text.

    A term is found at word boundaries. One without capital letters is found in any case (`dog`: dog, Dog, DOG), one
    with capitals as it is written only (`US`: not us). White space in a term stands for any white space, and terms and
    lines are compared in Unicode NFKC: how an é or a wide letter is encoded does not matter. Of terms that
    overlap the longest is taken, of equally long ones the first in the line. A translation is required once for each
    place where its term is found, and once more for each required translation that holds it; its first letter may
    also be a capital, as at the beginning of a sentence.

    Args:
        terms: (term, translation); repaired as lines are, see data/lines.py.

    Raises:
        DataError: a term or translation is empty, or a term has two translations.
        TypeError: an entry is no pair of texts.
    """

    def __init__(self, terms: Iterable[tuple[str, str]]) -> None:
        self._fill((f"entry {number}", *_pair(number, entry)) for number, entry in enumerate(terms, 1))

    @classmethod
    def read(cls, path: str | Path) -> "Glossary":
        """A glossary from a file of lines `term, tab, translation`, gzip where its name ends in .gz.

        Blank lines are passed over.

        Raises:
            DataError: the file cannot be read, or a line is not of that form.
        """
        glossary = cls(())
        try:
            with open(path, "rb") as file:
                zipped = str(path).endswith(".gz")
                glossary._fill(_lines(cast(ByteStream, gzip.GzipFile(fileobj=file) if zipped else file), path))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: this gzip file is damaged or cut off ({error}).") from error
        except OSError as error:
            raise DataError(f"{path}: the glossary cannot be read ({error.strerror}).") from error
        if not len(glossary):
            raise DataError(f"{path}: the glossary is empty; write lines of term, tab, translation, or leave it out.")
        return glossary

    def _fill(self, entries: Iterable[tuple[str, str, str]]) -> None:
        """Take entries of (where it stands, term, translation)."""
        self._translations: dict[str, str] = {}  # by the terms as they are compared
        for where, term, translation in entries:
            term, translation = squeezed(term), squeezed(translation)
            if not term or not translation:
                empty = "translation" if term else "term"
                raise DataError(f"{where}: the {empty} is empty; write term, tab, translation.")
            above = self._translations.setdefault(_compared(term)[0], translation)
            if _normal(above) != _normal(translation):
                raise DataError(
                    f"{where}: the term {term!r} is {above!r} above and {translation!r} here; keep one of them."
                )
        self._lengths = sorted({len(term) for term in self._translations})

    def __len__(self) -> int:
        return len(self._translations)

    def matches(self, text: str, *, whole: Iterable[tuple[int, int]] = ()) -> list[tuple[int, str]]:
        """Where which terms are found, from left to right: (place, term), both in the form that is compared.

        Args:
            text: a line.
            whole: spans of it inside of which no term begins or ends.
        """
        text, ends = _compared(text, whole)
        found: list[tuple[int, int, str]] = []  # minus length, start, term
        for start in ends:
            for length in self._lengths:
                if start + length in ends and (term := self._term(text[start : start + length])) is not None:
                    found.append((-length, start, term))
        taken = [False] * len(text)
        chosen = []
        for shortage, start, term in sorted(found):
            if not any(taken[start : start - shortage]):
                taken[start : start - shortage] = [True] * -shortage
                chosen.append((start, term))
        return sorted(chosen)

    def _term(self, text: str) -> str | None:
        if text in self._translations:
            return text
        small = text.lower()
        return small if small in self._translations else None

    def constraints(self, text: str, *, whole: Iterable[tuple[int, int]] = ()) -> tuple[Constraint, ...]:
        """What a translation of this line must hold; arguments as for `matches`."""
        names: dict[str, str] = {}  # of translations, by what they are to a tokenizer
        counts: dict[str, int] = {}
        for _, term in self.matches(text, whole=whole):
            translation = self._translations[term]
            phrase = _normal(translation)
            names.setdefault(phrase, translation)
            counts[phrase] = counts.get(phrase, 0) + 1
        # `Hund` beside `großer Hund` must be there twice: each place in the source has a translation of its own.
        return tuple(
            Constraint(
                names[phrase],
                sum(number * (len(occurrences(other, phrase)) or other == phrase) for other, number in counts.items()),
                capital=True,
            )
            for phrase in counts
        )


def _pair(number: int, entry: Any) -> tuple[str, str]:
    match entry:
        case (str(term), str(translation)):
            return term, translation
    raise TypeError(f"entry {number} of the glossary is {entry!r}; give pairs of a term and its translation")


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _compared(text: str, whole: Iterable[tuple[int, int]] = ()) -> tuple[str, dict[int, None]]:
    """A text in NFKC with single spaces, and the places in that where a term may begin or end, in order.

    Words end where they end in the text as it is written, so `Acme` is a word of `Acme™`, which NFKC makes AcmeTM; and
    no place is within what stands for one character, so that `½` has no 1.

    Args:
        text: any.
        whole: spans of it inside of which there is no such place.
    """
    inside = {place for start, end in whole for place in range(start + 1, end)}
    parts: list[str] = []
    ends = {0: None}
    length = start = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and _belongs(text[start:end], text[end]):
            continue
        part = _normal(text[start:end])
        if part.isspace():
            part = " " if parts and parts[-1] != " " else ""
        if part:
            parts.append(part)
            length += len(part)
        if end not in inside and not (end < len(text) and in_word(text[end - 1]) and in_word(text[end])):
            ends[length] = None
        start = end
    return "".join(parts), ends


def _belongs(before: str, character: str) -> bool:
    """Whether a character is normalised together with what is before it: an accent, a part of a Korean syllable."""
    if before.isascii() and character.isascii():
        return False
    return unicodedata.combining(character) > 0 or _normal(before + character) != _normal(before) + _normal(character)


def _lines(file: ByteStream, path: str | Path) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(read_lines(file), 1):
        if line is None or not line.text.strip():
            continue
        where, fields = f"{path}, line {number}", line.text.split("\t")
        if len(fields) != 2:
            raise DataError(f"{where}: {len(fields) - 1} tabs; a line is a term, one tab, its translation.")
        yield where, fields[0], fields[1]

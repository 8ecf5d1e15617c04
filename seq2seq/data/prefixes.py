"""How an output may be spelled that begins with a given text, which may end anywhere, also within a word.

A model has learned one way of cutting a text into tokens, so the whole words of a prefix are the tokens that the
tokenizer gives. Its last word may still grow: "Mann" may become "Mannschaft", whose tokens need not begin with those of
"Mann". So what is fixed of the last word is how it is spelled, not how it is cut: a token may come next if it goes on
as the prefix does, and the last of them may reach beyond its end. A prefix that ends in a space ends in a whole word,
and another one follows.
"""

import bisect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from seq2seq.data.lines import Line, Note, repair
from seq2seq.data.surfaces import surfaces
from seq2seq.data.tokenizer import UNK, Tokenizer
from seq2seq.errors import DataError

KEPT = 4096
"""Lines read at once at most, and more: so many of those not answered again are kept, for the batches they share."""

_BYTE = re.compile("<0x[0-9A-F]{2}>")

CHARACTERS_A_TOKEN = 16
"""A token seldom has more: a prefix with more for each token that a model takes is too long without a count."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Tokens that may come next at a place of the last word.

    Attributes:
        inside: those that end at its end or before it.
        beyond: those that go on behind it.
    """

    inside: tuple[int, ...]
    beyond: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    """A text that an output begins with.

    Attributes:
        text: as it was given.
        head: what the tokenizer makes of it when it reads tokens back.
        tokens: of its whole words; they are what an output begins with.
        choices: what may follow them, by how many bytes of the last word are written; empty where it has none.
        notes: what was odd.
    """

    text: str
    head: str
    tokens: tuple[int, ...]
    choices: tuple[Choice, ...]
    notes: tuple[Note, ...] = ()

    @property
    def most_tokens(self) -> int:
        """Tokens that it may take at most."""
        return len(self.tokens) + len(self.choices)

    def completed(self, output: str) -> str:
        """An output's text with the prefix as it was given in place of how the tokenizer spells it."""
        return self.text if Note.prefix_too_long in self.notes else self.text + output[len(self.head) :]


NO_PREFIX = Prefix("", "", (), ())


class PrefixReader:
    """Reads prefixes for one tokenizer.

    Args:
        tokenizer: of the target.
        most_tokens: that a prefix may take.

    Attributes:
        surfaces: the bytes that each token adds to a text, by id.
        growth: how many they are.
    """

    def __init__(self, tokenizer: Tokenizer, *, most_tokens: int) -> None:
        self._tokenizer, self._most_tokens = tokenizer, most_tokens
        self.surfaces = surfaces(tokenizer)
        self.growth = [len(surface) for surface in self.surfaces]
        # Of text that has pieces of its own, its bytes are another spelling, which no model has learned.
        pieces = tokenizer.pieces(range(tokenizer.vocab_size))
        self._bytes = {
            token for token, piece in enumerate(pieces) if _BYTE.fullmatch(piece) and self.growth[token] == 1
        }
        self._sorted = sorted((surface, token) for token, surface in enumerate(self.surfaces) if surface)
        self._longest = max(self.growth)

    def read(self, text: str) -> Prefix:
        """A prefix; a blank text is none, and of one that is too long nothing is asked."""
        if not text.strip():
            return NO_PREFIX
        if len(text) <= CHARACTERS_A_TOKEN * self._most_tokens:
            prefix = self._read(text)
            if prefix.most_tokens <= self._most_tokens:
                return prefix
        return Prefix(text, "", (), (), (Note.prefix_too_long,))

    def _read(self, text: str) -> Prefix:
        ids = self._tokenizer.encode(text)
        head = self._tokenizer.decode(ids)
        notes = (Note.prefix_unknown,) if UNK in ids else ()
        if text[-1].isspace() and ids and not self._tokenizer.normalise(text)[-1:].isspace():
            # A space that the tokenizer drops: the next word brings it.
            return Prefix(text, f"{head} ", tuple(ids), self._choices(b" ", ()), notes)
        last = max((place for place, token in enumerate(ids) if self.surfaces[token].startswith(b" ")), default=0)
        if UNK in ids[last:]:  # what cannot be spelled cannot be cut in another way
            return Prefix(text, head, tuple(ids), (), notes)
        word = b"".join(self.surfaces[token] for token in ids[last:])
        return Prefix(text, head, tuple(ids[:last]), self._choices(word, ids[last:]), notes)

    def _choices(self, word: bytes, usual: Sequence[int]) -> tuple[Choice, ...]:
        """What may follow in a word, by place; of single bytes only those in its usual tokens."""
        found: list[Choice] = []
        possible = {len(word)}  # places from which the rest can be spelled
        for place in reversed(range(len(word))):
            rest = word[place:]
            inside = [
                token
                for length in range(1, min(len(rest), self._longest) + 1)
                if place + length in possible
                for token in self._starting(rest[:length], exactly=True)
                if token not in self._bytes or token in usual
            ]
            choice = Choice(tuple(inside), tuple(self._starting(rest, exactly=False)))
            if choice.inside or choice.beyond:
                possible.add(place)
            found.append(choice)
        return tuple(reversed(found))

    def _starting(self, text: bytes, *, exactly: bool) -> list[int]:
        """Tokens that are this text, or else that go on behind it."""
        tokens = []
        for place in range(bisect.bisect_left(self._sorted, (text, -1)), len(self._sorted)):
            surface, token = self._sorted[place]
            if not surface.startswith(text) or exactly and surface != text:
                break
            if (surface == text) == exactly:
                tokens.append(token)
        return tokens


class PrefixFeed:
    """Takes a prefix for each line as the lines are read, and keeps it until the line is answered.

    Args:
        prefixes: one for each line; None, which says that the next is yet to come, is passed over.
        reader: of the target.
        first_line: number of the first line.
        done: lines that are read, but not answered again.
    """

    def __init__(
        self,
        prefixes: Iterable[Line | str | None],
        reader: PrefixReader,
        *,
        first_line: int = 0,
        done: int = 0,
    ) -> None:
        if isinstance(prefixes, str):
            raise TypeError("prefixes is one string; give a list of them")
        self._prefixes, self._reader = (prefix for prefix in prefixes if prefix is not None), reader
        self._read, self._answered = first_line, first_line + done
        self._waiting: dict[int, str] = {}

    def beside(self, lines: Iterable[Line | str | None]) -> Iterator[Line | str | None]:
        """The lines, each with its prefix read.

        Raises:
            DataError: there are more lines than prefixes, or fewer.
        """
        first = self._read
        for line in lines:
            if line is not None:
                prefix = next(self._prefixes, None)
                if prefix is None:
                    raise DataError(f"There are {self._read - first:,} prefixes for more lines; each line needs one.")
                self._waiting[self._read] = (prefix if isinstance(prefix, Line) else repair(prefix)).text
                if self._read - KEPT < self._answered:
                    self._waiting.pop(self._read - KEPT, None)
                self._read += 1
            yield line
        if next(self._prefixes, None) is not None:
            raise DataError(f"There are more prefixes than the {self._read - first:,} lines; each line needs one.")

    def of(self, line: int, part: int) -> Prefix:
        """What a part of a line begins with: the first one with the line's prefix, the others as they like."""
        return NO_PREFIX if part else self._reader.read(self._waiting[line])

    def take(self) -> Prefix:
        """The prefix of the next line that is answered."""
        self._answered += 1
        return self._reader.read(self._waiting.pop(self._answered - 1))

"""Phrases that an output must hold: how a tokenizer spells them, where words end, whether a text holds them."""

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.lines import repair
from seq2seq.data.tokenizer import NUM_SPECIALS, SPACE, UNK, Tokenizer

JOINS, ENDS_WORD = 2, 1
"""Bits of a token's class: its text goes on with the word before it; a word at its end may be gone on with."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """One token sequence that writes a phrase."""

    tokens: tuple[int, ...]
    boundary_before: bool = False
    """The token before must not end in a word (or there is none)."""
    boundary_after: bool = False
    """The token after must not go on with the word (or there is none)."""


@dataclass(frozen=True, slots=True)
class RequiredPhrase:
    """A phrase that an output must hold, in tokens."""

    spellings: tuple[Spelling, ...]
    """Any of them will do; none is empty."""
    count: int = 1
    """How often it must occur, without overlap."""
    exact: bool = False
    """Whether it must not occur more often."""
    after: tuple[Spelling, ...] = ()
    """Where there are some: what must have occurred more often than the phrase before the phrase occurs."""
    never: tuple[Spelling, ...] = ()
    """What would be the phrase to a reader but must not stand for it: no output holds it by itself."""

    @property
    def watched(self) -> tuple[Spelling, ...]:
        """All spellings that matter: of the phrase, of what comes before it, of what must not stand for it."""
        return self.spellings + self.after + self.never


@dataclass(frozen=True, slots=True)
class Constraint:
    """A phrase that an output must hold, in text."""

    phrase: str
    count: int = 1
    """How often it must occur, without overlap."""
    capital: bool = False
    """Its first letter may also be a capital, as at the beginning of a sentence."""
    verbatim: bool = False
    """Nothing about it may be normalised, and where words are about it says `apart`."""
    apart: tuple[bool, bool] = (False, False)
    """Of what is verbatim: a space before it, or the beginning; no letter behind it."""
    exact: bool = False
    """It must not occur more often than `count`."""
    after: tuple[str, ...] = ()
    """Where there are some: opening tags, one of which must have occurred before each occurrence."""

    @property
    def forms(self) -> tuple[str, ...]:
        """What counts as the phrase."""
        capital = self.phrase[:1].upper() + self.phrase[1:]
        return (self.phrase, capital) if self.capital and capital != self.phrase else (self.phrase,)


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a constraint."""

    phrase: str
    count: int
    """How often it was required."""
    found: int
    """How often the output has it, without overlap; a closing tag before its opening tag does not count."""
    exact: bool = False
    """Whether it must not occur more often."""

    @property
    def satisfied(self) -> bool:
        """Whether it is there as often as required."""
        return self.found == self.count if self.exact else self.found >= self.count


# Blocks of scripts that put no spaces between words: Thai and Lao, Burmese, Khmer, marks such as 々, kana and bopomofo,
# Han; Burmese again; Han for compatibility; narrow kana; rare kana; rare Han.
_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x312F), (0x31A0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0xFF66, 0xFF9F),
    (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip


@lru_cache(maxsize=1 << 16)
def in_word(character: str) -> bool:
    """Whether a word goes on at this character: a letter, digit, combining mark or underscore, of a script with spaces.

    In scripts without spaces every character counts as a word of its own. Hyphens and apostrophes end words: "dog" is a
    word of "dog's" and of "dog-like". It is the one definition for phrases required, found and suppressed.
    """
    if any(first <= ord(character) <= last for first, last in _WITHOUT_SPACES):
        return False
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"


def occurrences(text: str, phrase: str) -> list[int]:
    """Where a phrase begins in a text, from left to right, without overlap.

    Where it begins or ends with a letter (see in_word), at word boundaries only.
    """
    places: list[int] = []
    at = text.find(phrase) if phrase else -1
    while at >= 0:
        end = at + len(phrase)
        inside = at > 0 and in_word(text[at - 1]) and in_word(text[at])
        inside |= end < len(text) and in_word(text[end - 1]) and in_word(text[end])
        if not inside:
            places.append(at)
        at = text.find(phrase, at + 1 if inside else end)
    return places


def kept(constraints: Iterable[Constraint], text: str, normalise: Callable[[str], str] = str) -> tuple[Kept, ...]:
    """What became of constraints in an output.

    Args:
        constraints: what was required.
        text: the output.
        normalise: of the target's tokenizer; phrase and text are compared as it spells them, what is verbatim as it is.
    """
    normal = normalise(text)  # of a given prefix an output has the user's own spelling
    return tuple(
        Kept(one.phrase, one.count, _found(as_spelled(one, normalise), text if one.verbatim else normal), one.exact)
        for one in constraints
    )


def as_spelled(constraint: Constraint, normalise: Callable[[str], str]) -> Constraint:
    """A constraint whose phrase is what a tokenizer makes of it; one that is verbatim is left alone."""
    return constraint if constraint.verbatim else replace(constraint, phrase=normalise(constraint.phrase))


def _found(constraint: Constraint, text: str) -> int:
    if constraint.after:
        places = [(at, 1) for opening in constraint.after for at in _places(text, opening)]
        places += [(at, -1) for at in _places(text, constraint.phrase)]
        found = depth = 0
        for _, change in sorted(places):
            found += change < 0 < depth
            depth = max(0, depth + change)
        return found
    if constraint.verbatim:
        return text.count(constraint.phrase)
    # The forms begin with different characters, so no place is counted twice.
    return sum(len(occurrences(text, form)) for form in constraint.forms)


def _places(text: str, phrase: str) -> list[int]:
    return [match.start() for match in re.finditer(re.escape(phrase), text)]


def token_classes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """For every token whether its text begins, and ends, in a word: bits JOINS and ENDS_WORD, (vocab,)."""
    classes = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    for token, piece in enumerate(tokenizer.pieces(range(tokenizer.vocab_size))):
        if token < NUM_SPECIALS or not piece:
            continue
        if len(piece) == 6 and piece.startswith("<0x"):
            classes[token] = _byte_class(int(piece[3:5], 16))
        else:
            classes[token] = JOINS * in_word(piece[0]) | ENDS_WORD * in_word(piece[-1])
    return classes


def _byte_class(byte: int) -> int:
    """As well as it can be told from one byte of UTF-8."""
    if byte < 0x80:
        return (JOINS | ENDS_WORD) * in_word(chr(byte))
    # Lead bytes of blocks that are punctuation, symbols, or scripts without spaces; all others are taken for letters.
    return ENDS_WORD if byte == 0xC2 or byte in range(0xE2, 0xEA) or byte >= 0xEE else JOINS | ENDS_WORD


def required_phrase(constraint: Constraint, tokenizer: Tokenizer) -> RequiredPhrase | None:
    """A constraint in tokens, or None where the tokenizer cannot write it.

    Args:
        constraint: what is required.
        tokenizer: of the target.
    """
    # Normalised before its first letter may become a capital: that of `ﬁsch` is one letter less.
    constraint = as_spelled(constraint, tokenizer.normalise)
    forms = (constraint.forms, constraint.after)
    if constraint.verbatim and any(tokenizer.normalise(form) != form for form in itertools.chain(*forms)):
        return None
    spellings, after = (
        dict.fromkeys(spelling for form in some for spelling in _spellings(form, tokenizer)) for some in forms
    )
    never: dict[Spelling, None] = {}
    if constraint.verbatim:
        anywhere = _anywhere(spellings, boundary_after=constraint.apart[1])
        after = _anywhere(after, boundary_after=False)
        spaced = {one: None for one in anywhere if tokenizer.pieces(one.tokens[:1])[0].startswith(SPACE)}
        spellings = spaced if constraint.apart[0] and spaced else anywhere
        never = {one: None for one in anywhere if one not in spellings}
    if not spellings or constraint.after and not after:
        return None
    return RequiredPhrase(tuple(spellings), constraint.count, constraint.exact, tuple(after), tuple(never))


_BEFORE = ("(", '"', "-", "/", ".", "a", "1")
"""Characters that a phrase may follow without a space: what comes after them is how a tokenizer spells it there."""


def _anywhere(spellings: Iterable[Spelling], *, boundary_after: bool) -> dict[Spelling, None]:
    """Spellings whatever stands before them."""
    return dict.fromkeys(replace(one, boundary_before=False, boundary_after=boundary_after) for one in spellings)


def _spellings(phrase: str, tokenizer: Tokenizer) -> list[Spelling]:
    """How a phrase is spelled after a space, and without one; at word boundaries."""
    text = tokenizer.normalise(phrase)
    if not text.strip():
        return []
    ends_word = in_word(text[-1])
    spellings = []
    for before in ("", *_BEFORE):
        if before and in_word(before) and in_word(text[0]):
            continue
        ids, start = tokenizer.encode(before + text), tokenizer.encode(before)
        tokens = ids[len(start) :]
        if ids[: len(start)] != start or not tokens or UNK in tokens:
            continue
        spaced = tokenizer.pieces(tokens[:1])[0].startswith(SPACE) and not text.startswith(SPACE)
        if tokenizer.decode(tokens).strip() == text.strip():
            spellings.append(Spelling(tuple(tokens), in_word(text[0]) and not spaced, ends_word))
    return spellings


class PhraseTokenizer:
    """Constraints in the tokens of a tokenizer, each worked out once.

    Args:
        tokenizer: of the target.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.classes = token_classes(tokenizer)
        self._required = lru_cache(maxsize=1 << 16)(partial(required_phrase, tokenizer=tokenizer))

    def required(self, constraints: Iterable[Constraint]) -> list[RequiredPhrase]:
        """The constraints that can be written at all, in tokens."""
        phrases = (self._required(constraint) for constraint in constraints)
        return [phrase for phrase in phrases if phrase is not None]


def of_phrases(phrases: Iterable[str], normalise: Callable[[str], str] = str) -> tuple[Constraint, ...]:
    """Constraints of phrases as a user gives them: white space stands for one space, empty ones are passed over.

    Those that `normalise` makes the same are one, called as the first of them.
    """
    names: dict[str, str] = {}
    return merged(
        Constraint(names.setdefault(normalise(phrase), phrase)) for phrase in map(squeezed, phrases) if phrase
    )


def squeezed(phrase: str) -> str:
    """A phrase as a user gives it, repaired as lines are (data/lines.py), with single spaces."""
    return " ".join(repair(phrase).text.split())


def merged(constraints: Iterable[Constraint]) -> tuple[Constraint, ...]:
    """One constraint for each different phrase, required as often as all of them together."""
    counts: dict[Constraint, int] = {}
    for constraint in constraints:
        once = replace(constraint, count=1)
        counts[once] = counts.get(once, 0) + constraint.count
    return tuple(replace(constraint, count=count) for constraint, count in counts.items())

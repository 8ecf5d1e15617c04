"""Where a text may be cut: behind sentences, else behind clauses, else between words, else between characters.

A wrong cut inside a sentence costs more than a missed one between two, which only makes a piece longer or moves its cut
to a clause. So a full stop counts only where nothing speaks against it: no abbreviation, initial or ordinal number
before it, no small letter behind it. And a tag, placeholder or address is cut only where nothing else is left to cut.
"""

import re
import unicodedata
from itertools import pairwise

from seq2seq.data.placeholder_patterns import edges, outside

_CLOSING = "\"'”’»«›‹“)\\]}"
_OPENING = "\"'“‘„‚«»‹›([{¿¡—–-"
_WIDE_CLOSING = "”’」』）】》〉］"
_WIDE_STOPS = "。！？｡．"

_SENTENCE_END = re.compile(
    # A stop (Armenian, Arabic, Indic, Burmese and Ethiopic ones too), whatever closes behind it, white space.
    rf"(?<=[.!?…\u0589\u061f\u06d4\u0964\u0965\u104b\u1362])[{_CLOSING}]*\s+"
    # East Asian text has no space behind a sentence. A stop before another one does not end it.
    rf"|(?<=[{_WIDE_STOPS}])[{_WIDE_CLOSING}]*(?![{_WIDE_STOPS}{_WIDE_CLOSING}])\s*"
)
_CLAUSE_END = re.compile(r"(?<=[,;:،؛])[\"'”’»«)\]]*\s+|\s(?=[—–]\s)|(?<=[、，；：])\s*")


def _words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BEFORE_NAMES = _words_of("""
    mr mrs ms dr prof st sr fr hr hrn rev hon gen col capt cpt lt sgt maj cmdr adm gov sen rep pres supt insp messrs
    mme mlle mgr ing dipl dott avv sig sra sres dra hrsg vgl cf viz vs ca approx eg ie zb bzw sog geb gest ggf evtl
    inkl exkl incl tel resp univ ave blvd rte mt ft dept jr inc ltd corp bros al
""")
"""Abbreviations that something follows, as a rule. Not those that end sentences as often: etc., usw."""
_BEFORE_NUMBERS = _words_of("""
    no nos nr nrn num núm fig figs abb tab eq eqs sec chap kap ch vol vols bd bde ed pp para art arts abs ziff max min
    mind jan feb apr jun jul aug sep sept okt oct nov dec dez
""")
"""Abbreviations that a number follows; before anything else they are words: No. Max."""
_BEFORE = re.compile(r"[\w.'’-]*\Z")
"""The word before a stop; the stops inside it belong to it (`z.B`, `U.S`)."""
_ROMAN = re.compile("[IVXLC]{2,}")
_LOOK_BACK = 24
"""Characters before a stop that are looked at: more than any abbreviation has."""


def sentences(text: str) -> list[str]:
    """A text cut behind its sentences; joined, the parts are the text.

    Each has a letter or a digit, if the text has one: marks alone belong to what is before them, or else behind.
    """
    ends = outside([match.end() for match in _SENTENCE_END.finditer(text) if _ends_sentence(text, match)], text)
    saying = [_says_something(part) for part in _cut_at(text, ends)]
    kept: list[int] = []
    said = False
    for place, end in enumerate(ends[: len(saying) - 1]):
        said = said or saying[place]
        if said and saying[place + 1]:
            kept.append(end)
            said = False
    return _cut_at(text, kept)


def clauses(text: str) -> list[str]:
    """A text cut behind commas, colons and the like, and before dashes."""
    return _cut_at(text, outside((match.end() for match in _CLAUSE_END.finditer(text)), text))


def words(text: str, *, whole: bool = True) -> list[str]:
    """A text cut behind white space.

    Args:
        text: any; white space that it begins with is left out.
        whole: placeholders are not cut.
    """
    text = text.lstrip()
    ends = [match.end() for match in re.finditer(r"\s+", text)]
    return _cut_at(text, outside(ends, text) if whole else ends)


def blocks(text: str, *, length: int = 16, whole: bool = True) -> list[str]:
    """A text cut every few characters, but not before marks that belong to the character before them.

    Args:
        text: any.
        length: characters of a block, but for such marks.
        whole: placeholders are not cut, but the text is cut before and behind them.
    """
    ends = list(range(length, len(text), length))
    if whole:
        ends = outside(sorted({*ends, *edges(text)}), text)
    return _cut_at(text, [end for end in ends if end == len(text) or not _continues(text[end])])


def characters(text: str) -> list[str]:
    """The characters of a text."""
    return list(text)


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _cut_at(text: str, ends: list[int]) -> list[str]:
    return [text[start:end] for start, end in pairwise([0, *ends, len(text)]) if start < end]


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    behind = text[match.end() : match.end() + 8].lstrip(_OPENING)[:1]
    stop = text[match.start() - 1]
    if stop in _WIDE_STOPS:
        # 「行く。」と言った: the sentence around a quotation goes on in hiragana, or with a comma.
        quoted = match.group().rstrip() != ""
        return not (quoted and (behind in ("、", "，") or "HIRAGANA" in unicodedata.name(behind or " ", "")))
    if behind.islower():
        return False
    if stop != "." or match.group()[:1].strip():  # a full stop inside quotes or brackets ends no abbreviation
        return True
    before = _BEFORE.search(text[max(0, match.start() - 1 - _LOOK_BACK) : match.start() - 1])
    word = before.group() if before else ""
    if word.endswith("."):  # an ellipsis ends a sentence, where a large letter follows
        return True
    if word.isdigit():  # the German 3. Oktober; a year or a long number may well end a sentence
        return len(word) > 2
    if len(word) == 1 and word.isalpha() and word != "I":
        return False
    if _ROMAN.fullmatch(word):  # Ludwig XIV. König von Frankreich
        return False
    short = word.replace(".", "").lower()
    if short in _BEFORE_NAMES or (short in _BEFORE_NUMBERS and behind.isdigit()):
        return False
    return not _has_initials(word)


def _has_initials(word: str) -> bool:
    """Whether a word is letters with stops between: `z.B`, `U.S`, `J.R.R`."""
    return "." in word and all(len(part) == 1 for part in word.split("."))


def _continues(character: str) -> bool:
    """Whether a character belongs to the one before: accents, vowel signs, joiners, variants."""
    return unicodedata.category(character)[0] == "M" or character == "\u200d"

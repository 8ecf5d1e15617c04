"""What must survive translation as it is: what is required of each tag, placeholder and address; space about tags."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from seq2seq.data.phrases import Constraint, in_word
from seq2seq.data.placeholder_patterns import placeholders

_TAG = re.compile(r"<(/?)([A-Za-z][^\s<>/]*)[^<>]*?(/?)>")


def placeholder_constraints(text: str) -> tuple[Constraint, ...]:
    """Each placeholder as often as in the text, closing tags behind the tags that they close."""
    own = Counter(placeholders(text))
    # Where one is a part of another, as {x} of ${x}, it may be written once more: tokens of the other need not show it.
    return tuple(
        replace(one, exact=one.count == own[one.phrase], apart=_apart(one.phrase, text)) for one in expected(text)
    )


def expected(text: str) -> tuple[Constraint, ...]:
    """What the output of a whole line is compared with: each placeholder exactly as often as in the line.

    Those that are a part of another one, as {x} of ${x}, count, for they are found in the other also in the output.
    """
    found = placeholders(text)
    together, openings = "\n".join(found), _openings(found)
    return tuple(
        Constraint(phrase, together.count(phrase), verbatim=True, exact=True, after=openings.get(phrase, ()))
        for phrase in dict.fromkeys(found)
    )


def _apart(phrase: str, text: str) -> tuple[bool, bool]:
    """Whether white space, or nothing, is before it everywhere in the line; whether no word is behind it anywhere."""
    places = [match.span() for match in re.finditer(re.escape(phrase), text)]
    before, behind = [text[:start][-1:] for start, _ in places], [text[end:][:1] for _, end in places]
    return not "".join(before).strip(), not any(map(in_word, filter(None, behind)))


def _openings(found: list[str]) -> dict[str, tuple[str, ...]]:
    """For closing tags the tags that they close; none where the line itself does not open each before it is closed."""
    openings: dict[str, dict[str, None]] = {}
    closings: dict[str, str] = {}
    depth: Counter[str] = Counter()
    unopened = set()
    for tag in filter(None, map(_TAG.fullmatch, found)):
        name = tag[2]
        if tag[3]:
            continue
        if tag[1]:
            closings[tag[0]] = name
        else:
            openings.setdefault(name, {})[tag[0]] = None
        depth[name] += -1 if tag[1] else 1
        if depth[name] < 0:
            unopened.add(name)
    return {closing: tuple(openings[name]) for closing, name in closings.items() if name not in unopened}


def respaced(source: str, output: str) -> str:
    """An output with the space inside of its tags as the source has it.

    Behind an opening tag and before a closing one there is a space exactly where there is one in the source, the first
    of several alike standing for all of them.
    """
    for phrase in dict.fromkeys(placeholders(source)):
        tag = _TAG.fullmatch(phrase)
        if tag is None or tag[3]:
            continue
        start = source.index(phrase)
        if tag[1]:
            space = " " if source[:start].endswith(" ") else ""
            output = re.sub(rf"(?<=\S) *(?={re.escape(phrase)})", space, output)
        else:
            space = " " if source[start + len(phrase) :].startswith(" ") else ""
            output = re.sub(rf"({re.escape(phrase)}) *(?=\S)", rf"\g<1>{space}", output)
    return output


def recut(text: str, parts: Sequence[str]) -> tuple[str, ...]:
    """A text in its parts again, after `respaced` has changed spaces of what they were together.

    Args:
        text: the parts, one behind the other, but for spaces.
        parts: as they were.

    Returns:
        as many, each without spaces at its ends.
    """
    written = [place for place, character in enumerate(text) if character != " "]
    bounds = itertools.accumulate((len(part.replace(" ", "")) for part in parts), initial=0)
    return tuple(
        text[written[start] : written[end - 1] + 1] if start < end else "" for start, end in itertools.pairwise(bounds)
    )

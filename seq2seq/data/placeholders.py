"""What must survive translation as it is: what is required of each tag, placeholder and address; space about tags."""

import itertools
import re
from collections.abc import Sequence

from seq2seq.data.phrases import Constraint, in_word
from seq2seq.data.placeholder_patterns import placeholders

_TAG = re.compile(r"<(/?)([A-Za-z][^\s<>/]*)[^<>]*?(/?)>")


def placeholder_constraints(text: str) -> tuple[Constraint, ...]:
    """Each placeholder exactly as often as in the line, closing tags behind the tags that they close."""
    found = placeholders(text)
    constraints = []
    for phrase in dict.fromkeys(found):
        # Where one is a part of another, as {x} of ${x}, it is written whenever the other is.
        inside = any(phrase != other and phrase in other for other in found)
        constraints.append(
            Constraint(
                phrase,
                found.count(phrase),
                verbatim=True,
                apart=_apart(phrase, text),
                exact=not inside,
                after=_openings(phrase, found),
            )
        )
    return tuple(constraints)


def _apart(phrase: str, text: str) -> tuple[bool, bool]:
    """Whether white space, or nothing, is before it everywhere in the line; whether no word is behind it anywhere."""
    places = [match.span() for match in re.finditer(re.escape(phrase), text)]
    before, behind = [text[:start][-1:] for start, _ in places], [text[end:][:1] for _, end in places]
    return not "".join(before).strip(), not any(map(in_word, filter(None, behind)))


def _openings(phrase: str, found: list[str]) -> tuple[str, ...]:
    """The tags that a closing tag closes; none where the line itself does not open each before it is closed."""
    tag = _TAG.fullmatch(phrase)
    if tag is None or not tag[1]:
        return ()
    openings, depth = {}, 0
    for other in found:
        match = _TAG.fullmatch(other)
        if match is None or match[2] != tag[2] or match[3]:
            continue
        depth += -1 if match[1] else 1
        if depth < 0:
            return ()
        if not match[1]:
            openings[other] = True
    return tuple(openings)


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

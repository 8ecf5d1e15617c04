"""What must survive translation as it is: tags, placeholders, addresses; how it is found, and the space about tags."""

import itertools
import re
from collections.abc import Sequence

from seq2seq.data.phrases import Constraint, in_word

KINDS: dict[str, str] = {
    "e-mail addresses": r"[\w.+-]+@\w[\w-]*(?:\.\w[\w-]*)+",
    "web addresses": r"(?:https?://|ftp://|www\.)[^\s<>\"]*[^\s<>\".,;:!?'(){}\[\]]",
    "tags": r"</?[A-Za-z][^<>]*>",
    "names in braces": r"\$?\{\{[^{}]*\}\}|\$?\{[\w.:!,\[\]-]*\}",
    "printf directives": r"(?<![\d%])%(?:\(\w+\)|\d+\$)?[-+0#]*\d*(?:\.\d+)?(?:hh?|ll?)?[diouxXeEfgGcs@]",
    "names between underscores": r"__[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*__",
}
"""Regular expressions of what is kept; at each place the first that fits."""

_PATTERN = re.compile("|".join(f"(?:{pattern})" for pattern in KINDS.values()))
_TAG = re.compile(r"<(/?)([A-Za-z][^\s<>/]*)[^<>]*?(/?)>")


def placeholders(text: str) -> list[str]:
    """What must be kept of a line, from left to right."""
    return [text[start:end] for start, end in placeholder_spans(text)]


def placeholder_spans(text: str) -> list[tuple[int, int]]:
    """Where that begins and ends."""
    return [match.span() for match in _PATTERN.finditer(text)]


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

"""What a placeholder is: tags, placeholders, addresses; where they stand in a text, in time linear in its length."""

import re
from collections.abc import Iterable

_QUOTES = "”’»“"
_EAST_ASIAN = "。！？｡．、，；："
"""Of the marks of East Asian text, which has no space behind an address, those that stand in none."""
_PLAIN = rf"[^\s<>\"(){{}}\[\]{_EAST_ASIAN}]"
_LAST = rf"[^\s<>\"(){{}}\[\]{_EAST_ASIAN}.,;:!?'…{_QUOTES}]"


def _bracketed(deep: int) -> str:
    """Brackets in an address with what is between them, other brackets as many levels deep."""
    inner = f"(?:{_PLAIN}|{_bracketed(deep - 1)})*" if deep else f"{_PLAIN}*"
    return rf"\({inner}\)|\{{{inner}\}}|\[{inner}\]"


_BRACKETED = _bracketed(2)

_NAME = r"(?:[\w:-]|\.(?=\w))*+"
_VALUE = r"""(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]++)"""

KINDS: dict[str, str] = {
    # It begins where such characters begin: to try each of them would take quadratic time.
    "e-mail addresses": r"(?<![\w.+-])[\w.+-]+@\w[\w-]*(?:\.\w[\w-]*)+",
    # Brackets belong to it that it opens and closes. It ends before others, as in [text](address).
    "web addresses": rf"(?:https?://|ftp://|www\.)(?:{_PLAIN}|{_BRACKETED})*(?:{_LAST}|{_BRACKETED})",
    # With attributes; "a <b is small. And c> d" has none.
    "tags": rf"</?[A-Za-z]{_NAME}(?:\s+[\w:]{_NAME}(?:\s*=\s*{_VALUE})?)*+\s*/?>",
    "names in braces": r"\$?\{\{[^{}]*\}\}|\$?\{[\w.:!,\[\]-]*\}",
    "printf directives": r"(?<![\d%])%(?:\(\w+\)|\d+\$)?[-+0#]*+\d*+(?:\.\d+)?(?:hh?|ll?)?[diouxXeEfgGcs@]",
    "names between underscores": r"__[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*__",
}
"""Regular expressions of what is kept; at each place the first that fits."""

_PATTERN = re.compile("|".join(f"(?:{pattern})" for pattern in KINDS.values()))


def placeholders(text: str) -> list[str]:
    """What must be kept of a line, from left to right."""
    return [text[start:end] for start, end in placeholder_spans(text)]


def placeholder_spans(text: str) -> list[tuple[int, int]]:
    """Where that begins and ends."""
    return [match.span() for match in _PATTERN.finditer(text)]


def edges(text: str) -> list[int]:
    """Where placeholders begin and end, in order; a place may be there twice."""
    return [place for span in placeholder_spans(text) for place in span]


def outside(places: Iterable[int], text: str) -> list[int]:
    """Those of some places in a text, in order, that are not inside of a placeholder."""
    spans = ((match.start(), match.end()) for match in _PATTERN.finditer(text))
    start, end = 0, 0
    found = []
    for place in places:
        while end <= place < len(text):
            start, end = next(spans, (len(text), len(text)))
        if not start < place < end:
            found.append(place)
    return found

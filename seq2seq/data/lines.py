"""The line contract: N lines in, N lines out, in order, for any bytes.

What a line is: the bytes up to a newline (0x0A), nothing else; a last line without one counts. Every line becomes text
that a tokenizer can take, and whatever had to be done to it is noted, so that a command can report it by kind. Nothing
is cut in silence: a line longer than the model takes is split, its pieces are worked on, and the results rejoined.

    bytes -> read_lines -> Line(text, notes) -> windows -> split_long -> pieces -> (a model) -> one_line -> text
"""

import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Protocol

from seq2seq.data.sentences import blocks, characters, clauses, sentences, words


class Note(Enum):
    """What was odd about a line, and what was done; the values are how a report says it."""

    byte_order_mark = "byte order mark removed"
    carriage_return = "carriage return before the newline removed"
    invalid_utf8 = "invalid UTF-8 replaced by U+FFFD"
    control = "control characters replaced by spaces"
    separator = "line separators inside the line replaced by spaces"
    blank = "empty or blank, answered with an empty line"
    sentences = "several sentences, translated one by one or a few at a time"
    split = "longer than the model takes, worked on in pieces"
    cut = "one word or character longer than the model takes, only its beginning read"
    no_newline = "last line without a newline"
    unfinished = "output stopped at its length limit"
    prefix_unknown = "prefix with characters outside the vocabulary, read as the unknown token"
    prefix_too_long = "prefix longer than the model takes, answered with the prefix alone"
    nothing = "target empty or blank, only its end scored"
    no_source = "source empty or blank, target scored all the same"
    unknown = "characters outside the vocabulary, scored as the unknown token"
    unread = "characters outside the vocabulary, read as the unknown token"
    beyond_training = "longer than any line that the model was trained on, scored all the same"
    stretches = "longer than the model's context, scored in overlapping stretches"
    too_long = "longer than the model takes, not scored"
    too_long_to_align = "longer than the model takes, not aligned"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of input as text without control characters, and what was odd about it."""

    text: str
    notes: tuple[Note, ...] = ()


class ByteStream(Protocol):
    """What `read_lines` needs of a file: bytes as they come, and b"" at the end."""

    def read1(self, size: int, /) -> bytes:
        """At most `size` bytes, as many as one look at the source gives."""


# Everything str.splitlines breaks at, so that no reader of our output counts other lines than we wrote.
_SEPARATORS = "\n\x0b\x0c\r\x1c\x1d\x1e\x85\u2028\u2029"
_SEPARATOR = re.compile(f"[{_SEPARATORS}]")
# All of Unicode's category Cc except the tab, which is ordinary white space in text.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def repair(raw: bytes | str) -> Line:
    """Text of one line: valid, and free of control characters and line separators.

    Args:
        raw: the line without its newline.
    """
    notes: list[Note] = []
    if isinstance(raw, bytes):
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("utf-8", errors="replace")
            notes.append(Note.invalid_utf8)
    else:
        text = raw.encode("utf-8", errors="replace").decode("utf-8") if _has_surrogates(raw) else raw
        if text != raw:
            notes.append(Note.invalid_utf8)
    if text.endswith("\r"):
        text = text[:-1]
        notes.append(Note.carriage_return)
    if text.isprintable():  # the common case: no control character, no separator
        return Line(text, tuple(notes) if text.strip() else (*notes, Note.blank))
    text, separators = _SEPARATOR.subn(" ", text)
    text, controls = _CONTROL.subn(" ", text)
    if separators:
        notes.append(Note.separator)
    if controls:
        notes.append(Note.control)
    if not text.strip():
        notes.append(Note.blank)
    return Line(text, tuple(notes))


def rejoined(texts: Iterable[str]) -> str:
    """The outputs of a line's pieces as one text: a space between them, none between East Asian ones."""
    joined = ""
    for text in filter(None, texts):
        joined += text if not joined or (_is_wide(joined[-1]) and _is_wide(text[0])) else f" {text}"
    return joined


def one_line(text: str) -> str:
    """`text` without line separators and control characters, so that it is one line whoever reads it."""
    if text.isprintable():
        return text
    return _CONTROL.sub(" ", _SEPARATOR.sub(" ", text))


def read_lines(stream: ByteStream, *, waiting: Callable[[], bool] | None = None) -> Iterator[Line | None]:
    """The lines of a byte stream, repaired; None wherever the input pauses.

    Memory holds one read and one line, however long the stream is.

    Args:
        stream: an open binary file.
        waiting: tells whether the next read would have to wait for input; None when it never does (a file on disk).
    """
    parts: list[bytes] = []  # of the line not ended yet; joined once, so that a line of many reads stays linear
    first = True
    while True:
        if waiting is not None and waiting():
            yield None
        block = stream.read1(1 << 16)
        if not block:
            break
        head, *rest = block.split(b"\n")
        parts.append(head)
        for following in rest:
            yield _repair_in_file(b"".join(parts), first=first)
            first, parts = False, [following]
    if last := b"".join(parts):
        line = _repair_in_file(last, first=first)
        yield Line(line.text, (*line.notes, Note.no_newline))


def windows(
    lines: Iterable[Line | str | None],
    *,
    first_lines: int | None = 64,
    most_lines: int = 2048,
    most_characters: int = 1 << 20,
    patience: float = 0.5,
) -> Iterator[list[Line]]:
    """Runs of lines to sort and batch together.

    A window ends when it is full, when the input pauses (None), or when its first line has waited long enough. The
    first windows are small and each is twice as long as the one before, so that output starts early.

    Args:
        lines: what `read_lines` yields, or plain strings.
        first_lines: lines of the first window at most; None: most_lines, where nobody waits for the first output.
        most_lines: lines of a window at most.
        most_characters: characters of a window at most, all lines together; a longer line makes one of its own.
        patience: seconds from a window's first line to its end at most.
    """
    window: list[Line] = []
    characters, deadline, room = 0, 0.0, min(first_lines or most_lines, most_lines)
    for item in lines:
        if item is not None:
            line = item if isinstance(item, Line) else repair(item)
            if not window:
                deadline = time.monotonic() + patience
            window.append(line)
            characters += len(line.text)
        full = len(window) >= room or characters >= most_characters
        if window and (item is None or full or time.monotonic() > deadline):
            yield window
            window, characters = [], 0
            room = min(2 * room, most_lines) if full else room
    if window:
        yield window


def split_long(
    text: str, *, limit: int, count: Callable[[list[str]], Sequence[int]], packed: int | None = None
) -> list[str]:
    """`text` as pieces of at most `limit` tokens, as few as a left-to-right reading gives.

    Cuts are made between sentences (see sentences.py); inside a sentence that is too long, between clauses, else at
    white space; inside a word that is too long, anywhere. Tags, placeholders and addresses are cut only where one is
    longer than a piece. White space at a cut is dropped. Time is linear in the length of `text`: nothing longer than a
    fixed number of characters is ever tokenised at once.

    Args:
        text: a line of any length.
        limit: tokens of a piece at most; at least 1.
        count: the number of tokens of each of some texts.
        packed: tokens of a piece of several sentences at most; None: `limit`.

    Returns:
        The pieces, none blank. A single character of more than `limit` tokens is a piece of its own, still too long.
    """
    # A token seldom has this many characters, so a text longer than that is split before it is tokenised.
    most_characters = 16 * limit
    text = text.strip()
    packed = limit if packed is None else min(packed, limit)
    if len(text) <= most_characters:
        length = count([text])[0] if text else 0
        if length <= packed or (length <= limit and len(sentences(text)) == 1):
            return [text] if text else []
    return _split(text, _LEVELS, limit=limit, packed=packed, most_characters=most_characters, count=count)


_LEVELS = (
    *(sentences, clauses, words, blocks),
    # What is left is a placeholder longer than a piece, or has one.
    *(partial(words, whole=False), partial(blocks, whole=False), characters),
)


def _split(
    text: str,
    levels: Sequence[Callable[[str], list[str]]],
    *,
    limit: int,
    packed: int,
    most_characters: int,
    count: Callable[[list[str]], Sequence[int]],
) -> list[str]:
    """Pack the parts of `text` at the first level that cuts it; parts too long for a piece are split a level deeper."""
    deeper = partial(_split, levels=levels[1:], limit=limit, packed=limit, most_characters=most_characters, count=count)
    parts = levels[0](text)
    if len(parts) == 1 and len(levels) > 1:
        return deeper(text)
    short = [part for part in parts if len(part) <= most_characters]
    lengths = iter(count([part.strip() for part in short]))
    pieces: list[str] = []
    together: list[str] = []
    total = 0

    def flush() -> None:
        nonlocal total
        if piece := "".join(together).strip():
            pieces.extend(_verified(piece, together, limit=packed, count=count))
        together.clear()
        total = 0

    for part in parts:
        length = next(lengths) if len(part) <= most_characters else limit + 1
        if length > limit and len(levels) > 1:
            flush()
            pieces.extend(deeper(part))
            continue
        if total + length > packed:
            flush()
        together.append(part)
        total += length
    flush()
    return pieces


def _verified(piece: str, parts: list[str], *, limit: int, count: Callable[[list[str]], Sequence[int]]) -> list[str]:
    """[piece], or its halves where it has more tokens than its parts have by themselves: counts need not add up."""
    if len(parts) == 1 or count([piece])[0] <= limit:
        return [piece]
    middle = len(parts) // 2
    halves = (parts[:middle], parts[middle:])
    return [
        verified
        for half in halves
        if (text := "".join(half).strip())
        for verified in _verified(text, half, limit=limit, count=count)
    ]


def _repair_in_file(raw: bytes, *, first: bool) -> Line:
    if not (first and raw.startswith(_BYTE_ORDER_MARK)):
        return repair(raw)
    line = repair(raw[len(_BYTE_ORDER_MARK) :])
    return Line(line.text, (Note.byte_order_mark, *line.notes))


def _is_wide(character: str) -> bool:
    """Whether a character is of a script without spaces between sentences; Korean has them."""
    wide = unicodedata.east_asian_width(character) in ("W", "F")
    return wide and not unicodedata.name(character, "").startswith("HANGUL")


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)

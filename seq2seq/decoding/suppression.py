"""Tokens that are never written, and text that is not, however it is cut into tokens."""

import codecs
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.data.lines import one_line
from seq2seq.data.phrases import in_word
from seq2seq.data.tokenizer import NUM_SPECIALS, Tokenizer
from seq2seq.decoding.logits import NEVER
from seq2seq.errors import DecodingError, nearest

INSIDE = "\ue000"
"""Stands for a word whose beginning does not matter any more."""


def token_ids(pieces: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """The ids of pieces of a vocabulary.

    Raises:
        DecodingError: there is no such piece, or it is a special token.
    """
    if not pieces:
        return []
    ids = {piece: token for token, piece in enumerate(tokenizer.pieces(range(tokenizer.vocab_size)))}
    for piece in pieces:
        if piece not in ids:
            near = nearest(piece, ids)
            hint = f"did you mean {near}?" if near else "for words, whatever their pieces, there is suppress_text."
            raise DecodingError(f"suppress_tokens ({piece}) is no piece of the target's vocabulary; {hint}")
        if ids[piece] < NUM_SPECIALS:
            raise DecodingError(f"suppress_tokens ({piece}) is a special token, which is not text; leave it out.")
    return [ids[piece] for piece in pieces]


MOST_BYTES = 4
"""Of a character in UTF-8."""


class End(NamedTuple):
    """The end of a text, as far as it matters: what may be the beginning of a phrase."""

    text: str
    incomplete: bytes
    """Of the character to come."""


NOTHING = End("", b"")


class Phrases:
    """Which tokens complete a phrase after which text.

    A phrase is found as whole words (see data/phrases.py, in_word): neither before nor after it is there a letter,
    digit, underscore or combining mark where the phrase itself begins or ends with one. So "ass" is not in "class", nor
    in "asset". Scripts without spaces between words know no such ends: there a phrase is found anywhere. Runs of white
    space count as one space, and case counts. A word is only complete by what comes after it, so what completes it is
    often the token behind it: a space, a full stop, the end token.

    All this is about bytes of text, so it does not matter which tokens spell them. What follows from an end of text is
    worked out when it is first met, and kept.

    Args:
        phrases: each has a character that is no white space.
        surfaces: the bytes that each token adds to a text, by id.
        eos_id: the end token.

    Raises:
        ValueError: a phrase is blank.
    """

    def __init__(self, phrases: Iterable[str], *, surfaces: Sequence[bytes], eos_id: int) -> None:
        self._phrases = sorted({" ".join(phrase.split()) for phrase in phrases})
        if "" in self._phrases:
            raise ValueError("a phrase to suppress is blank")
        self._surfaces, self._eos_id = surfaces, eos_id
        self._texts = [_read(surface) for surface in surfaces]
        self._begun: dict[str, list[str]] = {}  # beginnings of phrases, and of which
        for phrase in self._phrases:
            for length in range(1, len(phrase) + 1):
                self._begun.setdefault(phrase[:length], []).append(phrase)
        self._longest = max(map(len, self._phrases), default=0)
        # Tokens that may hold a whole phrase by themselves.
        self._holding = [token for token, end in enumerate(self._texts) if _has_one(f" {end.text} ", self._phrases)]
        self._next: dict[tuple[End, int], End] = {}
        self._completing: dict[tuple[End, int], Tensor] = {}

    def after(self, tokens: Iterable[int], end: End = NOTHING) -> End:
        """The end of a text when these tokens have been written behind it."""
        for token in tokens:
            known = self._next.get((end, token))
            if known is None:
                text, incomplete = self._joined(end, token)
                known = self._next[end, token] = End(self._open(text), incomplete)
            end = known
        return end

    def completing(self, end: End, *, left: int) -> Tensor:
        """The tokens with which a text of this end would have a phrase, int64 (number,).

        Args:
            end: of the text.
            left: how many tokens can come after the token.
        """
        left = min(left, MOST_BYTES)
        if (end, left) not in self._completing:
            self._completing[end, left] = torch.tensor(self._tokens(end, left), dtype=torch.int64)
        return self._completing[end, left]

    def _tokens(self, end: End, left: int) -> list[int]:
        everything = range(len(self._surfaces))
        if end.incomplete:  # no phrase need have begun for its first character to
            return [token for token in everything if self._completes(end, token, left, self._phrases)]
        found = {token for token in self._holding if self._completes(end, token, left, self._phrases)}
        begun = {phrase for at in range(len(end.text)) for phrase in self._begun.get(end.text[at:], ())}
        if begun:
            found.update(token for token in everything if self._completes(end, token, left, begun))
        return sorted(found)

    def _completes(self, end: End, token: int, left: int, phrases: Iterable[str]) -> bool:
        text, incomplete = self._joined(end, token)
        if token == self._eos_id or left == 0 or left < _lacking(incomplete):
            text += "\ufffd " if incomplete else " "
        elif incomplete and not _may_join(incomplete):  # else every further byte would complete the word
            text += "\ufffd"
        return _has_one(text, phrases, known=len(end.text))

    def _joined(self, end: End, token: int) -> End:
        """The text of an end and a token."""
        read = _read(end.incomplete + self._surfaces[token]) if end.incomplete else self._texts[token]
        more = read.text.removeprefix(" ") if end.text.endswith(" ") else read.text
        return End(end.text + more, read.incomplete)

    def _open(self, text: str) -> str:
        """What of a text matters: from where a phrase may have begun, else whether it ends within a word."""
        for at in range(max(0, len(text) - self._longest), len(text)):
            if text[at:] in self._begun and not (at and _joins(text[at - 1]) and _joins(text[at])):
                return text[at:]
        return INSIDE if text and _joins(text[-1]) else ""


class SuppressedText:
    """The rule that no text has one of the phrases.

    Args:
        phrases: which.
        limits: most new tokens of each row of the prompt: the last of them completes every word.
        past: ids before every row's first token, whose text its own goes on from.
    """

    stretch = 1.0

    def __init__(self, phrases: Phrases, *, limits: Sequence[int], past: Sequence[int] = ()) -> None:
        self.phrases, self.limits = phrases, limits
        self._start = phrases.after(past)
        self._ends: dict[tuple[int, ...], End] = {}  # of what the rows had written a step ago

    def __call__(self, log_probs: Tensor, written: Tensor, sentences: Tensor) -> Tensor:
        """Strike out what would complete a phrase; see Rule."""
        length, ends = written.shape[1], {}
        for number, (row, sentence) in enumerate(zip(written.tolist(), sentences.tolist(), strict=True)):
            tokens = tuple(row)
            before = self._ends.get(tokens[:-1])
            end = self.phrases.after(tokens, self._start) if before is None else self.phrases.after(row[-1:], before)
            ends[tokens] = end
            struck = self.phrases.completing(end, left=self.limits[sentence] - length - 1)
            if len(struck):
                log_probs[number, struck.to(log_probs.device)] = NEVER
        self._ends = ends
        return log_probs


def _read(data: bytes) -> End:
    """Bytes as text with single spaces, and what is left of a character."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = one_line(decoder.decode(data))
    words = " ".join(text.split())
    if words:
        words = f"{' ' * text[0].isspace()}{words}{' ' * text[-1].isspace()}"
    return End(words if words or not text else " ", decoder.getstate()[0])


def _lacking(incomplete: bytes) -> int:
    """How many bytes a character still needs, at least one a token."""
    return 0 if not incomplete else 2 + (incomplete[0] >= 0xE0) + (incomplete[0] >= 0xF0) - len(incomplete)


def _has_one(text: str, phrases: Iterable[str], *, known: int = 0) -> bool:
    return any(phrase in text and _has(text, phrase, known) for phrase in phrases)


def _has(text: str, phrase: str, known: int) -> bool:
    """Whether a phrase is in a text as whole words, what comes behind them included.

    One that is complete in the text's first `known` characters, as a given prefix may have it, does not count.
    """
    at = text.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        begins = not (at and _joins(text[at - 1]) and _joins(phrase[0]))
        ends = not _joins(phrase[-1]) or (end < len(text) and not _joins(text[end]))
        if begins and ends and end + _joins(phrase[-1]) > known:
            return True
        at = text.find(phrase, at + 1)
    return False


@cache
def _may_join(incomplete: bytes) -> bool:
    """Whether some character that begins with these bytes goes on with a word."""
    lacking = _lacking(incomplete)
    bits = {1: 5, 2: 4, 3: 3}[lacking + len(incomplete) - 1]
    first = incomplete[0] & ((1 << bits) - 1)
    for byte in incomplete[1:]:
        first = first << 6 | byte & 0x3F
    first <<= 6 * lacking
    return any(_joins(chr(code)) for code in range(first, min(first + (1 << 6 * lacking), sys.maxunicode + 1)))


def _joins(character: str) -> bool:
    """Whether a character makes one word with another such beside it."""
    return character == INSIDE or in_word(character)

"""Lines cut to what a model takes, as source ids, and put into batches of like length."""

from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.data.lines import Line, Note, split_long
from seq2seq.data.phrases import Constraint
from seq2seq.data.sentences import sentences
from seq2seq.data.tokenizer import EOS, UNK, Tokenizer


@dataclass(frozen=True, slots=True)
class Piece:
    """A line, or a part of a long one.

    Attributes:
        line: number in the whole input, from 0.
        part: number in the line, from 0.
        ids: source ids, EOS last.
        words: for tagging, where in ids each word begins; else empty.
        text: what it was encoded from, before the tokenizer's normalisation; for tagging empty.
        constraints: phrases that its output must hold.
    """

    line: int
    part: int
    ids: list[int]
    words: tuple[int, ...] = ()
    text: str = ""
    constraints: tuple[Constraint, ...] = ()


Cut = list[tuple[list[Piece], tuple[Note, ...]]]
"""For each line its pieces, none for a blank one, and its notes."""


def cut_text(
    window: Sequence[Line], tokenizer: Tokenizer, *, max_length: int, first: int = 0, packed: int | None = None
) -> Cut:
    """Lines as pieces of at most max_length tokens.

    Args:
        window: the lines.
        tokenizer: of the source.
        max_length: tokens of a piece at most, the end token included; at least 2.
        first: number of the first line.
        packed: tokens of a piece of several sentences at most, its end token left out; None: as many as of any piece.
    """
    limit = max_length - 1
    # A token seldom has this many characters; see split_long, which never tokenises longer text at once.
    short = [index for index, line in enumerate(window) if len(line.text) <= 16 * limit]
    ids_of = dict(zip(short, tokenizer.encode_batch([window[index].text for index in short]), strict=True))
    cut: Cut = []
    for index, line in enumerate(window):
        notes, ids = line.notes, ids_of.get(index)
        parts = [] if Note.blank in notes else [(line.text, ids or [])]
        if Note.blank in notes:
            pass
        elif ids is not None and len(ids) <= limit:
            if packed is not None and len(ids) > packed and len(sentences(line.text.strip())) > 1:
                parts = _split(line.text, tokenizer, limit=limit, packed=packed)
                notes = (*notes, Note.sentences)
        else:
            parts = _split(line.text, tokenizer, limit=limit, packed=packed)
            notes = (*notes, Note.split)
            if any(len(ids) > limit for _, ids in parts):
                notes = (*notes, Note.cut)
        parts = [(text, ids) for text, ids in parts if ids]
        if any(UNK in ids for _, ids in parts):
            notes = (*notes, Note.unread)
        if not parts and Note.blank not in notes:
            notes = (*notes, Note.blank)  # nothing but what the tokenizer's normalisation removes
        pieces = [Piece(first + index, part, [*ids[:limit], EOS], text=text) for part, (text, ids) in enumerate(parts)]
        cut.append((pieces, notes))
    return cut


def text_parts(text: str, tokenizer: Tokenizer, *, max_length: int, packed: int | None = None) -> list[str]:
    """The texts of the pieces that `cut_text` makes of a line."""
    return [part for part, ids in _split(text, tokenizer, limit=max_length - 1, packed=packed) if ids]


def _split(text: str, tokenizer: Tokenizer, *, limit: int, packed: int | None) -> list[tuple[str, list[int]]]:
    def count(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer.encode_batch(texts)]

    texts = split_long(text, limit=limit, count=count, packed=packed)
    return list(zip(texts, tokenizer.encode_batch(texts), strict=True))


def cut_words(window: Sequence[Line], tokenizer: Tokenizer, *, max_length: int, first: int = 0) -> Cut:
    """As `cut_text`, for tagging: pieces of whole words, which are encoded one by one as in training."""
    limit = max_length - 1
    cut: Cut = []
    for number, line in enumerate(window, first):
        words = [ids or [UNK] for ids in tokenizer.encode_batch(line.text.split())]
        pieces: list[Piece] = []
        ids: list[int] = []
        starts: list[int] = []
        for word in [*words, None]:
            if ids and (word is None or len(ids) + len(word) > limit):
                pieces.append(Piece(number, len(pieces), [*ids, EOS], tuple(starts)))
                ids, starts = [], []
            if word is not None:
                starts.append(len(ids))
                ids = ids + word[:limit]
        notes = line.notes
        if len(pieces) > 1:
            notes = (*notes, Note.split)
        if any(len(word) > limit for word in words):
            notes = (*notes, Note.cut)
        if any(UNK in word for word in words):
            notes = (*notes, Note.unread)
        cut.append((pieces, notes))
    return cut

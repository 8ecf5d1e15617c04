"""The bytes that each token adds to a text."""

import re

from seq2seq.data.tokenizer import NUM_SPECIALS, SPACE, Tokenizer

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def surfaces(tokenizer: Tokenizer) -> list[bytes]:
    """What the bytes of a text grow by with each token, by id; nothing for special tokens.

    Joined and read as UTF-8 they are `tokenizer.decode`, but for spaces at the beginning that it may drop.
    """
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    return [_surface(tokenizer, token, piece) if token >= NUM_SPECIALS else b"" for token, piece in enumerate(pieces)]


def _surface(tokenizer: Tokenizer, token: int, piece: str) -> bytes:
    if tokenizer.decode([token]) == piece:  # also where the text itself has SentencePiece's mark, or looks like a byte
        return piece.encode()
    if found := _BYTE.fullmatch(piece):
        return bytes([int(found[1], 16)])
    return piece.replace(SPACE, " ").encode()

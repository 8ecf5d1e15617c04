"""What is in a SentencePiece model file: its pieces with scores and kinds, and the algorithm that it is for.

The library tells some of this, but not the algorithm, and not which pieces a user defined. The file is a message in the
Protocol Buffers wire format (https://protobuf.dev/programming-guides/encoding) of `sentencepiece_model.proto`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

_PIECES, _TRAINER = 1, 2
"""Fields of the whole."""
_TEXT, _SCORE, _KIND = 1, 2, 3
"""Fields of a piece."""
_ALGORITHM = 3
"""Field of the trainer's settings."""
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""How the value of a field is written."""


class Algorithm(IntEnum):
    """How a model cuts text."""

    unigram = 1
    bpe = 2
    word = 3
    character = 4


class PieceKind(IntEnum):
    """What a piece is for."""

    normal = 1
    unknown = 2
    control = 3
    user_defined = 4
    unused = 5
    byte = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """An entry of the vocabulary.

    Attributes:
        text: its characters.
        score: unigram: logarithm of its probability; BPE: merges into pieces of higher score come first.
        kind: what it is for.
    """

    text: str
    score: float
    kind: PieceKind


def read_model(model: bytes) -> tuple[Algorithm, list[Piece]]:
    """The algorithm and the pieces, by id, of a serialised model that SentencePiece has loaded."""
    algorithm, pieces = Algorithm.unigram, []
    for number, value in _fields(model):
        if number == _PIECES:
            pieces.append(_piece(value))
        elif number == _TRAINER:
            algorithm = Algorithm(dict(_fields(value)).get(_ALGORITHM, algorithm))
    return algorithm, pieces


def _piece(message: bytes) -> Piece:
    fields = dict(_fields(message))
    (score,) = struct.unpack("<f", fields.get(_SCORE, bytes(4)))
    return Piece(fields.get(_TEXT, b"").decode(), score, PieceKind(fields.get(_KIND, PieceKind.normal)))


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: an int for a varint, else bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, written = key >> 3, key & 7
        if written == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if written == _BYTES:
            size, position = _varint(message, position)
        else:
            size = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}[written]
        yield number, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """An integer in groups of seven bits, the lowest first, and the position behind it."""
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position

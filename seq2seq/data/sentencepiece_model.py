"""What is in a SentencePiece model file: its pieces with scores and kinds, and the algorithm that it is for.

The library's processor tells some of this, but not the algorithm, and not which pieces a user defined.
"""

from dataclasses import dataclass
from enum import IntEnum


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
    from sentencepiece import sentencepiece_model_pb2  # with protobuf, which only this needs

    message = sentencepiece_model_pb2.ModelProto.FromString(model)
    pieces = [Piece(piece.piece, piece.score, PieceKind(piece.type)) for piece in message.pieces]
    return Algorithm(message.trainer_spec.model_type), pieces

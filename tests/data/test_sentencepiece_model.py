"""The model file read here says what the library says."""

import io
from typing import Any

import pytest
import sentencepiece

from seq2seq.data.sentencepiece_model import Algorithm, PieceKind, read_model
from seq2seq.data.tokenizer import BOS, EOS, PAD, UNK

Pairs = list[tuple[str, str]]


@pytest.mark.parametrize(
    ("kind", "byte_fallback"),
    [
        ("unigram", False),
        ("unigram", True),
        ("bpe", False),
        ("bpe", True),
        ("char", False),
    ],  # characters spell no bytes
)
def test_pieces_are_those_of_the_library(sentences: Pairs, kind: str, byte_fallback: bool) -> None:
    model = io.BytesIO()
    options: dict[str, Any] = {"byte_fallback": byte_fallback, "hard_vocab_limit": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(text for pair in sentences for text in pair), model_writer=model, model_type=kind,
        vocab_size=420, pad_id=PAD, bos_id=BOS, eos_id=EOS, unk_id=UNK, minloglevel=3,
        user_defined_symbols=["<br>", "a▁b"], **options,
    )  # fmt: skip
    library = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    algorithm, pieces = read_model(model.getvalue())
    assert algorithm.name == {"char": "character"}.get(kind, kind)
    assert algorithm in Algorithm and len(pieces) == library.vocab_size()
    for token, piece in enumerate(pieces):
        assert piece.text == library.id_to_piece(token) and piece.score == library.get_score(token)
        assert (piece.kind is PieceKind.unknown) == library.is_unknown(token)
        assert (piece.kind is PieceKind.control) == library.is_control(token)
        assert (piece.kind is PieceKind.byte) == library.is_byte(token)
        assert (piece.kind is PieceKind.user_defined) == (piece.text in ("<br>", "a▁b"))
    assert sum(piece.kind is PieceKind.byte for piece in pieces) == 256 * byte_fallback

"""Texts as ids, with the word that each id belongs to."""

from collections.abc import Sequence

from seq2seq.data.tokenizer import SentencePieceTokenizer, Tokenizer


def encode_words(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[int | None]]:
    """Ids of a text, and the number of each id's word; None of an id between words.

    Words are what stands between white space, as str.split has it. SentencePiece gets them one by one, which makes the
    pieces of the whole text, for none goes over a space; a word that its normalisation removes has no ids. Other
    tokenizers spell character by character, spaces too.

    Args:
        tokenizer: of the text; not of labels.
        text: any.
    """
    if isinstance(tokenizer, SentencePieceTokenizer):
        by_word = tokenizer.encode_batch(text.split())
        numbers: list[int | None] = [number for number, ids in enumerate(by_word) for _ in ids]
        return [token for ids in by_word for token in ids], numbers
    of_characters = _words_of_characters(text)
    by_character = tokenizer.encode_batch(list(text))
    numbers = [number for number, ids in zip(of_characters, by_character, strict=True) for _ in ids]
    return [token for ids in by_character for token in ids], numbers


def _words_of_characters(text: str) -> list[int | None]:
    numbers: list[int | None] = []
    word, inside = -1, False
    for character in text:
        begins = not character.isspace() and not inside
        inside = not character.isspace()
        word += begins
        numbers.append(word if inside else None)
    return numbers


def first_word(line: str, start: int) -> int:
    """The number in a line of the word that stands at character `start`, or that follows the space there."""
    before = len(line[:start].split())
    inside = 0 < start < len(line) and not line[start - 1].isspace() and not line[start].isspace()
    return before - inside


def places(line: str, parts: Sequence[str]) -> list[int]:
    """Where each of some parts of a line begins, the parts being in order.

    Raises:
        ValueError: one is not there.
    """
    found, behind = [], 0
    for part in parts:
        found.append(line.index(part, behind))
        behind = found[-1] + len(part)
    return found

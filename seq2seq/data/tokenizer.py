"""Text to ids and back: SentencePiece, characters, bytes and labels, and how they are kept in a checkpoint folder."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import sentencepiece

from seq2seq.errors import DataError

PAD, BOS, EOS, UNK = 0, 1, 2, 3
"""Ids of padding, begin, end and unknown, the same in every tokenizer of text."""
NUM_SPECIALS = 4
IGNORE = -100
"""Where a target holds this, there is nothing to predict (padding, inner pieces of a tagged word)."""
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
"""How people see them, the same as in SentencePiece."""
SPACE = "▁"
"""How SentencePiece spells a space."""


class Tokenizer(Protocol):
    """Text to ids and back. No special token is added by `encode`, none is shown by `decode`."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""

    @property
    def fingerprint(self) -> str:
        """A hash that is equal exactly when two tokenizers give the same ids for every text."""

    def encode(self, text: str) -> list[int]:
        """Ids of one text."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens are left out."""

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """What each id stands for, special tokens as in SPECIALS."""

    def normalise(self, text: str) -> str:
        """What `decode(encode(text))` gives when no character is outside the vocabulary."""

    def save(self, path: Path) -> Path:
        """Write to `path` with the suffix of this kind, `.model` or `.json`, and return that path."""


class SentencePieceTokenizer:
    """Unigram (Kudo 2018) or BPE (Sennrich et al. 2016) pieces over raw text, by the SentencePiece library.

    Text that looks like a special token, such as `</s>`, is spelled with ordinary pieces.

    Args:
        model: a serialised SentencePiece model.

    Raises:
        DataError: `model` is damaged, or its special tokens have other ids than this toolkit's.
    """

    suffix = ".model"

    def __init__(self, model: bytes) -> None:
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
            empty = self._pieces.vocab_size() == 0  # no bytes at all are a valid model of nothing
        except RuntimeError:
            empty = True
        if empty:
            raise DataError("this is not a SentencePiece model, or it is damaged; restore the file or train again.")
        specials = self._pieces.pad_id(), self._pieces.bos_id(), self._pieces.eos_id(), self._pieces.unk_id()
        if specials != (PAD, BOS, EOS, UNK):
            raise DataError(
                f"the SentencePiece model gives <pad>, <s>, </s> and <unk> the ids {specials}, not "
                f"{(PAD, BOS, EOS, UNK)}; train it with seq2seq, or with pad_id=0 bos_id=1 eos_id=2 unk_id=3."
            )
        self.model = model
        self.vocab_size: int = self._pieces.vocab_size()
        self.fingerprint: str = hashlib.sha256(model).hexdigest()
        # Models of whole files keep every space; the others squeeze runs of them and drop them at the ends.
        self._keeps_spaces = bool(self._pieces.encode("  "))

    def encode(self, text: str) -> list[int]:
        """Ids of one text."""
        ids: list[int] = self._pieces.encode(text)
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, one after the other.

        Not by SentencePiece's own threads: they save a fifth of the work of a call for each text, and where other
        processes use the cores too, they wait for each other up to fifty times as long as the work takes.
        """
        encode = self._pieces.encode
        return [encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens, the unknown one too, are left out."""
        text: str = self._pieces.decode([int(token) for token in ids if token >= NUM_SPECIALS])
        return text

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The piece of each id, with SentencePiece's mark for a space."""
        return [self._pieces.id_to_piece(int(token)) for token in ids]

    def normalise(self, text: str) -> str:
        """Text as the pieces spell it: Unicode NFKC, one space between words, none at the ends."""
        normal: str = self._pieces.normalize(text).replace(SPACE, " ")
        return normal[1:] if normal.startswith(" ") and not self._keeps_spaces else normal

    def save(self, path: Path) -> Path:
        """Write the SentencePiece model file."""
        path = path.with_suffix(self.suffix)
        path.write_bytes(self.model)
        return path


class _JsonTokenizer(ABC):
    """What the tokenizers share whose whole state is a few JSON values."""

    suffix = ".json"

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """The values that make this tokenizer, `kind` first."""

    @property
    def fingerprint(self) -> str:
        """Hash of `state`."""
        return hashlib.sha256(json.dumps(self.state(), sort_keys=True).encode()).hexdigest()

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of one text."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts."""
        return [self.encode(text) for text in texts]

    def normalise(self, text: str) -> str:
        """The text itself: nothing is normalised."""
        return text

    def save(self, path: Path) -> Path:
        """Write `state` as JSON."""
        path = path.with_suffix(self.suffix)
        path.write_text(json.dumps(self.state(), ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        return path


class CharacterTokenizer(_JsonTokenizer):
    """One id a character (Unicode code point).

    Args:
        characters: the alphabet; its sorted set is used. Characters outside it become UNK.
    """

    def __init__(self, characters: str) -> None:
        self.characters = "".join(sorted(set(characters)))
        self._ids = {character: NUM_SPECIALS + index for index, character in enumerate(self.characters)}
        self.vocab_size = NUM_SPECIALS + len(self.characters)

    def state(self) -> dict[str, Any]:
        """Kind and alphabet."""
        return {"kind": "characters", "characters": self.characters}

    def encode(self, text: str) -> list[int]:
        """One id a character."""
        ids = self._ids
        return [ids.get(character, UNK) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        """The characters; special tokens, the unknown one too, are left out."""
        return "".join(self.characters[int(token) - NUM_SPECIALS] for token in ids if token >= NUM_SPECIALS)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The character of each id."""
        return [SPECIALS[token] if token < NUM_SPECIALS else self.characters[token - NUM_SPECIALS] for token in ids]


class ByteTokenizer(_JsonTokenizer):
    """One id a byte of UTF-8 (Xue et al. 2022, ByT5)."""

    vocab_size = NUM_SPECIALS + 256

    def state(self) -> dict[str, Any]:
        """Kind alone."""
        return {"kind": "bytes"}

    def encode(self, text: str) -> list[int]:
        """One id a byte; a lone surrogate, which UTF-8 cannot spell, becomes a question mark."""
        return [NUM_SPECIALS + byte for byte in text.encode("utf-8", errors="replace")]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the bytes; what is not UTF-8 becomes U+FFFD."""
        return bytes(int(token) - NUM_SPECIALS for token in ids if token >= NUM_SPECIALS).decode(errors="replace")

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each byte as SentencePiece writes it, <0x0A>; those of printable ASCII as they are."""
        bytes_ = (token - NUM_SPECIALS for token in ids)
        return [
            SPECIALS[byte] if byte < 0 else chr(byte) if 0x20 <= byte < 0x7F else f"<0x{byte:02X}>" for byte in bytes_
        ]

    def normalise(self, text: str) -> str:
        """The text, with a question mark for each lone surrogate."""
        return text.encode("utf-8", errors="replace").decode()


class LabelVocabulary(_JsonTokenizer):
    """Labels of classification and tagging: ids from 0, no special tokens.

    Args:
        labels: every label; their sorted set is used.
        per_word: each whitespace-separated word is a label (tagging); else the whole text is one (classification).
    """

    def __init__(self, labels: Sequence[str], *, per_word: bool) -> None:
        self.labels = sorted(set(labels))
        self.per_word = per_word
        self._ids = {label: index for index, label in enumerate(self.labels)}
        self.vocab_size = len(self.labels)

    def state(self) -> dict[str, Any]:
        """Kind and labels."""
        return {"kind": "labels", "per_word": self.per_word, "labels": self.labels}

    def split(self, text: str) -> list[str]:
        """The labels in a text."""
        return text.split() if self.per_word else [text.strip()]

    def encode(self, text: str) -> list[int]:
        """Ids of the labels in a text.

        Raises:
            DataError: a label that the vocabulary does not have.
        """
        try:
            return [self._ids[label] for label in self.split(text)]
        except KeyError as error:
            raise DataError(
                f"the label {error.args[0]!r} does not occur in the training text, which has {len(self.labels)}: "
                f"{', '.join(self.labels[:8])}{', ...' if len(self.labels) > 8 else ''}. Correct it, or add "
                "training lines that have it."
            ) from None

    def decode(self, ids: Sequence[int]) -> str:
        """The labels, with spaces between."""
        return " ".join(self.pieces(ids))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The label of each id."""
        return [self.labels[int(label)] for label in ids]

    def normalise(self, text: str) -> str:
        """Labels with single spaces between, none at the ends."""
        return " ".join(self.split(text))


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer from the file that its `save` wrote.

    Raises:
        DataError: the file cannot be read or is damaged.
    """
    try:
        if path.suffix == SentencePieceTokenizer.suffix:
            return SentencePieceTokenizer(path.read_bytes())
        state = json.loads(path.read_text(encoding="utf-8"))
        match state["kind"]:
            case "characters":
                return CharacterTokenizer(state["characters"])
            case "bytes":
                return ByteTokenizer()
            case "labels":
                return LabelVocabulary(state["labels"], per_word=state["per_word"])
        raise DataError(f"it has the kind {state['kind']!r}, which this version does not know.")
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: the tokenizer cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: the tokenizer is damaged; restore the file or train again.") from error


@dataclass(frozen=True, slots=True)
class Tokenizers:
    """The tokenizers of the two sides; one and the same object when the vocabulary is joint.

    A language model uses `target` (`source` is the same object); the target of classification and tagging is a
    LabelVocabulary.
    """

    source: Tokenizer
    target: Tokenizer

    @property
    def joint(self) -> bool:
        """Whether both sides share one vocabulary."""
        return self.source is self.target

    def save(self, folder: Path) -> None:
        """Write `tokenizer.*`, or `source_tokenizer.*` and `target_tokenizer.*`, into `folder`."""
        if self.joint:
            self.source.save(folder / "tokenizer")
        else:
            self.source.save(folder / "source_tokenizer")
            self.target.save(folder / "target_tokenizer")

    @staticmethod
    def load(folder: Path) -> "Tokenizers":
        """The inverse of `save`.

        Raises:
            DataError: a file is missing or damaged.
        """

        def find(name: str) -> Path | None:
            paths = [folder / f"{name}{suffix}" for suffix in (".model", ".json")]
            return next((path for path in paths if path.exists()), None)

        if joint := find("tokenizer"):
            tokenizer = load_tokenizer(joint)
            return Tokenizers(tokenizer, tokenizer)
        source, target = find("source_tokenizer"), find("target_tokenizer")
        if source is None or target is None:
            raise DataError(
                f"{folder}: no tokenizer here; expected tokenizer.model (or .json), or source_tokenizer and "
                "target_tokenizer."
            )
        return Tokenizers(load_tokenizer(source), load_tokenizer(target))

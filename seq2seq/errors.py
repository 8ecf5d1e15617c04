"""What a user can mend: every error a command prints as one sentence, with exit code 2 and no traceback."""

import difflib
from collections.abc import Iterable, Sequence


class Seq2SeqError(Exception):
    """Something the user can mend; the message says what is wrong, where, and what to do."""


class ConfigError(Seq2SeqError):
    """A setting is unknown or impossible.

    Args:
        problems: one sentence each; all of a configuration's problems are reported together.
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(Seq2SeqError):
    """A text file, corpus or tokenizer cannot be used as it is."""


class CheckpointError(Seq2SeqError):
    """A checkpoint folder is missing, damaged or does not fit."""


class DecodingError(Seq2SeqError):
    """A search cannot be run as asked."""


class TrainingError(Seq2SeqError):
    """A training run cannot start or go on."""


def nearest(word: str, choices: Iterable[str], *, cutoff: float = 0.5) -> str | None:
    """The choice spelled most like `word`, or None when none has a similarity (0 to 1) of at least `cutoff`."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=cutoff)
    return found[0] if found else None

"""What a search drives, and what it returns: the interface between models and searches."""

from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor


class DecodingState(Protocol):
    """What a model remembers between steps; made by the model's `start`, never kept on a module."""

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order.

        Args:
            rows: int64 (new_rows,), numbers of present rows; one may repeat (a beam), be left out, change place.
        """


NO_OUTPUT = (
    "No token has a probability above 0: settings forbid every one, the model's weights are damaged, or its numbers "
    "overflowed; in the last case precision=float32 helps."
)

StateT = TypeVar("StateT", bound=DecodingState)
StateT_contra = TypeVar("StateT_contra", bound=DecodingState, contravariant=True)


class Decodable(Protocol[StateT_contra]):
    """Anything that predicts the next token: an encoder-decoder, a language model, several of them together."""

    def step(self, tokens: Tensor, state: StateT_contra) -> Tensor:
        """Read further tokens: the whole prompt first, then one column a call.

        Args:
            tokens: ids (rows, new_length)
            state: what has been read so far; it is changed.

        Returns:
            logits of the next token, (rows, vocab), a new tensor that the caller may overwrite; of several models
            together (model/combined.py) not logits but what a search is to add up.
        """


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One output of a search."""

    tokens: tuple[int, ...]
    """Ids after the prompt, without the end token."""
    score: float
    """log_prob (under rules: what they make of it) over the length penalty; hypotheses are ranked by it."""
    log_prob: float
    """Natural logarithm of the model's probability of tokens, and of the end token if finished."""
    finished: bool
    """True when closed by the end token, False when cut: at max_length, or where rules allowed no token."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Outputs of a search, one entry for each row of the prompt."""

    hypotheses: list[list[Hypothesis]]
    """Best first."""
    margins: list[float]
    """The narrowest decision behind each entry, in nats; infinite where there was nothing to decide.

    Changing every logit by at most e (as other neighbours in a batch do by rounding) leaves the entry's tokens as they
    are whenever its margin is above 4 * e * (the most new tokens it might have had).
    """

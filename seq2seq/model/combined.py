"""Several models that predict as one: ensembles, and a translator with a language model beside it.

What they say of a token is made of the members' log-probabilities of it, whether of one token of a text or of all that
may come next. It is used as it is: normalising it over the vocabulary again would weigh hypotheses by how much their
members agree.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class State(Protocol):
    """What a member remembers between steps."""

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order; rows: int64 (new_rows,)."""


class CombinedState:
    """The states of all members, row for row."""

    def __init__(self, members: Sequence[State]) -> None:
        self.members = list(members)
        self.length = 0  # tokens consumed so far

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order; rows: int64 (new_rows,), numbers of present rows."""
        for member in self.members:
            member.select(rows)


class Combined(nn.Module, ABC):
    """Several models that predict as one; to a search one Decodable, whose `step` gives what is to be added up.

    Args:
        members: with the same vocabulary of the target; each may be a Combined itself.

    Attributes:
        sensitivity: by how much the sums may move, at most, when every member's log-probabilities move by 1.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.sensitivity = max(map(sensitivity_of, members), default=1.0)

    @abstractmethod
    def combine(self, found: Sequence[Tensor]) -> Tensor:
        """What the members' log-probabilities make together.

        Args:
            found: of each member, in order, all of one shape; they may be changed.

        Returns:
            of the same shape, at most 0.
        """

    def member_tokens(self, tokens: Tensor) -> list[Tensor]:
        """What each member reads in place of target tokens (rows, length) that begin a text."""
        return [tokens] * len(self.members)

    @abstractmethod
    def start(self, *inputs: Any, **named: Any) -> CombinedState:
        """A state that has seen no token of the target; arguments as for a member's `start`."""

    @torch.no_grad()
    def step(self, tokens: Tensor, state: CombinedState) -> Tensor:
        """Every member reads further target tokens; arguments as for Writer.step.

        Returns:
            what the members' log-probabilities of the next token make together, (rows, vocab), in float32 at least.
        """
        read = [tokens] * len(self.members) if state.length else self.member_tokens(tokens)
        state.length += tokens.shape[1]
        found = [
            next_log_probs(member, member_tokens, member_state)
            for member, member_tokens, member_state in zip(self.members, read, state.members, strict=True)
        ]
        return self.combine(found)


def next_log_probs(model: Any, tokens: Tensor, state: Any) -> Tensor:
    """A step of a model, and what it says of the next token, (rows, vocab), in float32 at least.

    Args:
        model: its `step` gives logits, or it is a Combined.
        tokens: as for `step`.
        state: as for `step`.
    """
    found: Tensor = model.step(tokens, state)
    if isinstance(model, Combined):
        return found
    return normalised(found)


def sensitivity_of(model: Any) -> float:
    """By how much a model's numbers may move, at most, when every single model's log-probabilities move by 1."""
    return model.sensitivity if isinstance(model, Combined) else 1.0


def normalised(logits: Tensor) -> Tensor:
    """Log-probabilities of logits (..., vocab), in float32 at least; the logits are used up."""
    # Not bfloat16: it keeps 8 bits, and a search adds hundreds of these.
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()
    # In the place of the logits: 10 MB for a beam of 64 sentences; new memory for them would cost a tenth of a step.
    return torch.log_softmax(logits, dim=-1, out=logits)


class Ensemble(Combined):
    """Models of one task and the same vocabularies; of different shapes perhaps.

    Args:
        members: at least one.
        weights: above 0, one for each member; they are divided by their sum. None weighs all alike.
        of_probs: the weighted mean is that of probabilities; else of log-probabilities.

    Raises:
        ValueError: not one weight for each member, or one that is not above 0.
    """

    def __init__(
        self, members: Sequence[nn.Module], *, weights: Sequence[float] | None = None, of_probs: bool = False
    ) -> None:
        super().__init__(members)
        weights = [1.0] * len(members) if weights is None else list(weights)
        if len(weights) != len(members) or not all(0 < weight < math.inf for weight in weights):
            raise ValueError(f"weights ({weights}) must be {len(members)} numbers above 0")
        self.weights = [weight / math.fsum(weights) for weight in weights]
        self.of_probs = of_probs

    def combine(self, found: Sequence[Tensor]) -> Tensor:
        """The weighted mean; see Combined."""
        if not self.of_probs:
            total = found[0].mul_(self.weights[0])
            for log_probs, weight in zip(found[1:], self.weights[1:], strict=True):
                total.add_(log_probs, alpha=weight)
            return total
        # log(sum of weight * p), from the larger one so that no exponential overflows.
        total = found[0].add_(math.log(self.weights[0]))
        for log_probs, weight in zip(found[1:], self.weights[1:], strict=True):
            total = torch.logaddexp(total, log_probs.add_(math.log(weight)), out=total)
        return total

    def start(self, *inputs: Any, **named: Any) -> CombinedState:
        """Every member reads the same; arguments as for a member's `start`."""
        members: Sequence[Any] = list(self.members)
        return CombinedState([member.start(*inputs, **named) for member in members])


class Fused(Combined):
    """A translator with a language model of its target language: log p_translator + weight * log p_language_model.

    Shallow fusion: Gulcehre et al. 2015, "On Using Monolingual Corpora in Neural Machine Translation", section 4.1.

    Args:
        translator: an EncoderDecoder, or an Ensemble of some.
        language_model: with the translator's vocabulary of the target.
        weight: above 0.
        begin_id: what the language model has read before every text, where the translator reads its begin token.

    Raises:
        ValueError: weight is not above 0.
    """

    def __init__(self, translator: nn.Module, language_model: nn.Module, *, weight: float, begin_id: int) -> None:
        super().__init__([translator, language_model])
        if not 0 < weight < math.inf:
            raise ValueError(f"weight ({weight}) must be a number above 0")
        self.weight, self.begin_id = weight, begin_id
        self.sensitivity = sensitivity_of(translator) + weight * sensitivity_of(language_model)

    def combine(self, found: Sequence[Tensor]) -> Tensor:
        """The sum; see Combined."""
        translator, language_model = found
        return translator.add_(language_model, alpha=self.weight)

    def member_tokens(self, tokens: Tensor) -> list[Tensor]:
        """The language model reads its own token before a text."""
        own = tokens.clone()
        own[:, 0] = self.begin_id
        return [tokens, own]

    def start(self, *inputs: Any, **named: Any) -> CombinedState:
        """The translator reads the source; arguments as for its `start`, the source first."""
        translator, language_model = self.members
        start_translator: Any = translator.start
        start_language_model: Any = language_model.start
        rows = inputs[0].shape[0]
        return CombinedState([start_translator(*inputs, **named), start_language_model(rows)])

"""Outputs that begin as they are told to: what a hypothesis may write while it is within a given prefix."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from seq2seq.decoding.logits import NEVER
from seq2seq.model.combined import Combined, CombinedState, normalised


class Choice(Protocol):
    """Tokens that may come next where the last word of a prefix is not yet written."""

    @property
    def inside(self) -> Sequence[int]:
        """Those that end at the end of the prefix or before it."""

    @property
    def beyond(self) -> Sequence[int]:
        """Those that go on behind it."""


class Prefix(Protocol):
    """What an output begins with."""

    @property
    def tokens(self) -> Sequence[int]:
        """The tokens at its beginning."""

    @property
    def choices(self) -> Sequence[Choice]:
        """What may follow them, by how many bytes were written since."""


class Struck:
    """A rule: these tokens are never written."""

    stretch = 1.0

    def __init__(self, token_ids: Sequence[int], device: torch.device) -> None:
        self._ids = torch.tensor(token_ids, dtype=torch.long, device=device)

    def __call__(self, log_probs: Tensor, written: Tensor, sentences: Tensor) -> Tensor:
        """See Rule."""
        return log_probs.index_fill_(1, self._ids, NEVER)


class _Listener:
    """A model as it is; what it said last is kept, for as many steps as somebody listens."""

    def __init__(self, model: Any, *, steps: int) -> None:
        self.model, self.steps = model, steps
        self.said: Tensor | None = None

    def step(self, tokens: Tensor, state: Any) -> Tensor:
        """See Decodable."""
        said: Tensor = self.model.step(tokens, state)
        self.said = said.clone() if self.steps else None  # the search overwrites what it gets
        self.steps = max(self.steps - 1, 0)
        return said

    def log_probs(self) -> Tensor:
        """What it said, (rows, vocab), with nothing struck out; to be asked for once a step."""
        assert self.said is not None
        return self.said if isinstance(self.model, Combined) else normalised(self.said)


class _CombinedListener(Combined):
    """The same of several models together, as which a search knows it."""

    def __init__(self, model: Combined, *, steps: int) -> None:
        super().__init__([model])
        self.sensitivity = model.sensitivity
        self._listener = _Listener(model, steps=steps)
        self.log_probs = self._listener.log_probs

    def start(self, *inputs: Any, **named: Any) -> CombinedState:
        """As the model's."""
        started: CombinedState = self._listener.model.start(*inputs, **named)
        return started

    def combine(self, found: Sequence[Tensor]) -> Tensor:
        """There is only one."""
        return found[0]

    def step(self, tokens: Tensor, state: CombinedState) -> Tensor:
        """See Decodable."""
        return self._listener.step(tokens, state)


class Prefixed:
    """The rule that each row begins with its prefix.

    The prefix comes before every other rule: its tokens keep the model's own log-probabilities, whatever else may not
    be written. Others may have struck them out already, so it listens to the model's steps: the search must be of
    `model`, and this rule its last.

    Args:
        model: what predicts.
        prefixes: one for each row of the prompt.
        growth: bytes that each token adds to a text, by id.

    Attributes:
        model: the same, listened to.
    """

    stretch = 1.0

    def __init__(self, model: Any, prefixes: Sequence[Prefix], growth: Sequence[int]) -> None:
        self._prefixes = prefixes
        self._growth = torch.tensor(growth)
        self._longest = max((len(prefix.tokens) + len(prefix.choices) for prefix in prefixes), default=0)
        listener = _CombinedListener if isinstance(model, Combined) else _Listener
        self.model = listener(model, steps=self._longest)

    def __call__(self, log_probs: Tensor, written: Tensor, sentences: Tensor) -> Tensor:
        """See Rule."""
        if written.shape[1] >= self._longest:  # a token of the last word writes a byte of it at least
            return log_probs
        plain = self.model.log_probs()
        for row, (tokens, sentence) in enumerate(zip(written.cpu(), sentences.tolist(), strict=True)):
            prefix = self._prefixes[sentence]
            if len(tokens) < len(prefix.tokens):
                _only(log_probs[row], plain[row], prefix.tokens[len(tokens)])
                continue
            place = int(self._growth[tokens[len(prefix.tokens) :]].sum())
            if place < len(prefix.choices):
                choice = prefix.choices[place]
                beyond = list(choice.beyond)
                struck = not choice.inside and bool((log_probs[row, beyond] == NEVER).all())
                further = (plain if struck else log_probs)[row, beyond]
                _only(log_probs[row], plain[row], list(choice.inside))
                log_probs[row, beyond] = further
        return log_probs


def _only(row: Tensor, plain: Tensor, tokens: int | list[int]) -> None:
    """Leave these tokens, with the model's own log-probabilities."""
    values = plain[tokens]
    row.fill_(NEVER)
    row[tokens] = values

"""Speculative decoding: a small model drafts some tokens, the large one checks them all in one step.

Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding", and Chen et al. 2023, "Accelerating
Large Language Model Decoding with Speculative Sampling". What is written is the large model's own: with greedy search
the same tokens as without a draft, with sampling tokens of the same distribution.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from seq2seq.answering import TOLERANCE
from seq2seq.config import DecodingConfig, Search
from seq2seq.decoding.decodable import NO_OUTPUT, Decodable, DecodingState
from seq2seq.decoding.greedy import likeliest
from seq2seq.decoding.logits import (
    NEVER,
    keep_above_epsilon,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    log_probabilities,
    precise,
    temper,
)
from seq2seq.errors import DecodingError


class RewindableState(DecodingState, Protocol):
    """A state that can go back."""

    length: int
    """Tokens read so far."""

    def truncate(self, length: int) -> None:
        """Forget what every row read after its first `length` tokens."""


RewindableT = TypeVar("RewindableT", bound=RewindableState)


class Verifiable(Decodable[RewindableT], Protocol[RewindableT]):
    """A model that tells of several tokens at once what comes after each, such as a language model."""

    def start(self, rows: int) -> RewindableT:
        """A state of this many rows that has read nothing."""

    def step_each(self, tokens: Tensor, state: RewindableT) -> Tensor:
        """As `step`, with the logits after each of the tokens: (rows, new_length, vocab)."""


@dataclass(slots=True)
class Draft(Generic[RewindableT]):
    """A small model that proposes what a large one writes; it counts how often it was right.

    Args:
        model: with the vocabulary of the large one.
        context: tokens it can read; whenever they are full, it reads the last half of them again.
        vocabulary: the fingerprint of its tokenizer.
        device: where it is.
        tokens: how many to propose before the large model checks them, at least 1.
    """

    model: Verifiable[RewindableT]
    context: int
    vocabulary: str
    device: torch.device
    tokens: int = 4
    proposed: int = 0
    """Tokens so far."""
    accepted: int = 0
    """Those of them that were kept."""

    def __post_init__(self) -> None:
        if isinstance(self.tokens, bool) or not isinstance(self.tokens, int) or self.tokens < 1:
            raise DecodingError(f"draft_tokens ({self.tokens!r}) must be a whole number of at least 1.")

    def check(self, config: DecodingConfig, *, vocabulary: str, device: torch.device) -> None:
        """Refuse to draft for a model that it does not fit.

        Args:
            config: of the search.
            vocabulary: the fingerprint of the large model's tokenizer.
            device: where that is.

        Raises:
            DecodingError: says why not.
        """
        if config.search is Search.beam:
            raise DecodingError("A draft has no effect with search=beam; use search=greedy or sample, or leave it out.")
        for name in ("repetition_penalty", "no_repeat_ngram_size", "suppress_text"):
            if getattr(config, name) != getattr(DecodingConfig(), name):
                raise DecodingError(f"A draft cannot write under {name}; leave out the one or the other.")
        if vocabulary != self.vocabulary:
            raise DecodingError(
                "The draft has another tokenizer than the model; train it on the same text with the same tokenizer.*, "
                "or with the model as its training.teacher."
            )
        if device != self.device:
            raise DecodingError(f"The draft is on {self.device} and the model on {device}; load both on one device.")

    @property
    def acceptance(self) -> float | None:
        """The share of proposed tokens that were kept; None before the first."""
        return self.accepted / self.proposed if self.proposed else None


@torch.no_grad()
def speculate(
    model: Verifiable[RewindableT],
    prompt: Sequence[int],
    *,
    draft: Draft[Any],
    config: DecodingConfig,
    eos_id: int,
    forbidden_ids: Sequence[int] = (),
    max_length: int,
    exact: bool,
    device: torch.device,
    seed: int = 0,
) -> Iterator[int]:
    """Write on from a prompt, without the end token; each round's tokens are yielded when it is done.

    Args:
        model: the large one, in evaluation mode.
        prompt: ids, at least one.
        draft: the small one; its counts grow.
        config: search greedy or sample, with what is sampled from, which both models obey; min_length.
        eos_id: the end token.
        forbidden_ids: tokens never written.
        max_length: most new tokens, the end token included; that they fit the large model is the caller's to see to.
        exact: greedy search decides again, token by token, where rounding might have decided: then the output is bit
            for bit that of a search without a draft. Needs float32 or more.
        device: where both models are.
        seed: of sampling, 0 or more.

    Raises:
        ValueError: an argument out of range.
        DecodingError: the output of a model is not a number, or leaves no token to choose.
    """
    if config.search is Search.beam:
        raise ValueError("a draft has no effect on beam search")
    if not prompt or max_length < 1:
        raise ValueError(f"a prompt of {len(prompt)} tokens, and max_length {max_length}; both must be at least 1")
    text = list(prompt)
    end = len(prompt) + max_length
    bans = _Bans(forbidden_ids, eos_id, first=len(prompt) + config.min_length, device=device)
    reader = _Reader(model, device)
    proposer = _Proposer(draft, bans, device)
    chance = np.random.default_rng((seed, 0, 1))  # not the numbers of sampling without a draft: other choices are made

    logits = reader.step(text)  # of the whole prompt, as without a draft
    proposals: list[int] = []
    drafted = logits.new_empty(0)
    while True:
        log_probs = bans.log_probs(logits, at=len(text))
        if config.search is Search.sample:
            verdict = _sampled(log_probs, drafted, proposals, config, chance)
        else:
            doubtful = exact and reader.plain < len(text)
            verdict = _likeliest(log_probs, proposals, tolerance=TOLERANCE if doubtful else 0.0)
        draft.proposed += len(proposals)
        draft.accepted += verdict.accepted
        new = proposals[: verdict.accepted]
        if new and new[-1] == eos_id:
            yield from new[:-1]
            return
        if verdict.token is None:  # too close to call
            text += new
            yield from new
            again = bans.log_probs(reader.step_by_step(text), at=len(text))
            verdict, new = _likeliest(again, [], tolerance=0.0), []
        assert verdict.token is not None
        new.append(verdict.token)
        text += new
        reader.forget(len(text) - 1)
        yield from (token for token in new if token != eos_id)
        if text[-1] == eos_id or len(text) == end:
            return
        proposals, drafted = proposer.propose(text, most=end - len(text) - 1, config=config, chance=chance)
        logits = reader.step_each([text[-1], *proposals])


@dataclass(frozen=True, slots=True)
class _Verdict:
    accepted: int
    """How many proposals are kept."""
    token: int | None
    """What comes after them; None where that is too close to call."""


def _likeliest(log_probs: Tensor, proposals: list[int], *, tolerance: float) -> _Verdict:
    """Keep proposals while they are the most probable tokens.

    Args:
        log_probs: at the place of each proposal and after the last, (proposals + 1, vocab)
        proposals: ids.
        tolerance: a lead, in nats, below which nothing is decided.
    """
    tokens, leads = likeliest(log_probs, torch.empty(0), 0)
    if not log_probs.gather(1, tokens.unsqueeze(1)).isfinite().all():
        raise DecodingError(NO_OUTPUT)
    choices = zip(tokens.tolist(), leads.tolist(), [*proposals, None], strict=True)
    for accepted, (token, lead, proposal) in enumerate(choices):
        if lead < tolerance:
            return _Verdict(accepted, None)
        if token != proposal:
            return _Verdict(accepted, token)
    raise AssertionError("no proposal comes after the last")


def _sampled(
    log_probs: Tensor, drafted: Tensor, proposals: list[int], config: DecodingConfig, chance: np.random.Generator
) -> _Verdict:
    """Keep each proposal x with probability min(1, p(x) / q(x)); else draw from what p has more than q.

    Then x has the distribution p whatever q is: Leviathan et al. 2023, appendix A.1.

    Args:
        log_probs: of the large model, (proposals + 1, vocab); p is what temperature and filters make of them.
        drafted: q, the distributions that proposals were drawn from, (proposals, vocab)
        proposals: ids.
        config: temperature and filters.
        chance: numbers in [0, 1).
    """
    wanted = _distribution(log_probs, config)
    for place, proposal in enumerate(proposals):
        p, q = wanted[place], drafted[place]
        if chance.random() * float(q[proposal]) < float(p[proposal]):
            continue
        more = (p - q).clamp(min=0)
        # Without any by rounding alone, the two are equal.
        return _Verdict(place, _drawn(more if float(more.sum()) > 0 else p, chance))
    return _Verdict(len(proposals), _drawn(wanted[-1], chance))


def _distribution(log_probs: Tensor, config: DecodingConfig) -> Tensor:
    """What sampling draws from: (rows, vocab) -> (rows, vocab)."""
    nucleus = keep_top_p(keep_top_k(temper(log_probs, config.temperature), config.top_k), config.top_p)
    allowed = keep_above_epsilon(keep_min_p(nucleus, config.min_p), config.epsilon_cutoff)
    probs = allowed.softmax(dim=1, dtype=precise(log_probs.device))
    if not probs.isfinite().all():
        raise DecodingError(NO_OUTPUT)
    return probs


def _drawn(weights: Tensor, chance: np.random.Generator) -> int:
    """An id drawn in proportion to weights (vocab,)."""
    ends = weights.cumsum(0)
    # Above 0, and never beyond the last token with a weight: rounding must not draw one without.
    hit = ends[-1] * max(chance.random(), 2.0**-54)
    return int(torch.searchsorted(ends, torch.minimum(hit, ends[-1])))


class _Bans:
    """Which tokens may not be written where.

    Args:
        forbidden_ids: anywhere.
        eos_id: before the place `first`.
        first: the number of tokens, those of the prompt included, after which the end token may come.
        device: of the models.
    """

    def __init__(self, forbidden_ids: Sequence[int], eos_id: int, *, first: int, device: torch.device) -> None:
        self._forbidden = torch.tensor(forbidden_ids, dtype=torch.long, device=device)
        self.eos_id, self._first = eos_id, first

    def log_probs(self, logits: Tensor, *, at: int) -> Tensor:
        """Log-probabilities (places, vocab) of logits; `at` tokens stand before the first place."""
        log_probs = log_probabilities(logits, forbidden=self._forbidden)
        if at < self._first:
            log_probs[: self._first - at, self.eos_id] = NEVER
        return log_probs


class _Reader(Generic[RewindableT]):
    """A model and what it has read of the text, one row.

    Args:
        model: reads.
        device: where it is.
    """

    def __init__(self, model: Verifiable[RewindableT], device: torch.device) -> None:
        self._model, self._device = model, device
        self._state = model.start(1)
        self.plain = 0
        """Tokens at the beginning that were read as a search without a draft reads them."""

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Read tokens at once: logits of the next, (1, vocab)."""
        self.plain = len(tokens)
        return self._model.step(self._row(tokens), self._state)

    def step_each(self, tokens: Sequence[int]) -> Tensor:
        """Read tokens at once: logits after each, (tokens, vocab)."""
        return self._model.step_each(self._row(tokens), self._state)[0]

    def forget(self, length: int) -> None:
        """Go back to the first `length` tokens, if more were read."""
        if length < self._state.length:
            self._state.truncate(length)

    def step_by_step(self, text: Sequence[int]) -> Tensor:
        """Logits after the text, which is longer than `plain`: (1, vocab), bit for bit as without a draft.

        What was read several tokens at a time is read again one by one; each token at most once, as `plain` moves on.
        """
        self._state.truncate(self.plain)
        logits = torch.empty(0)
        for place in range(self._state.length, len(text)):
            logits = self._model.step(self._row(text[place : place + 1]), self._state)
        self.plain = len(text)
        return logits

    def _row(self, tokens: Sequence[int]) -> Tensor:
        return torch.tensor([list(tokens)], device=self._device)


class _Proposer:
    """The draft and what it has read of the text.

    Args:
        draft: proposes.
        bans: what may not be written.
        device: where it is.
    """

    def __init__(self, draft: Draft[Any], bans: _Bans, device: torch.device) -> None:
        self._draft, self._bans, self._device = draft, bans, device
        self._start = 0  # the first token of the text that it reads
        self._state: Any = draft.model.start(1)

    def propose(
        self, text: Sequence[int], *, most: int, config: DecodingConfig, chance: np.random.Generator
    ) -> tuple[list[int], Tensor]:
        """How the text may go on.

        Args:
            text: all tokens so far.
            most: proposals at most.
            config: how they are chosen.
            chance: numbers in [0, 1), for sampling.

        Returns:
            ids, and the distributions they were drawn from, (proposals, vocab); greedy search needs none.
        """
        draft = self._draft
        count = min(draft.tokens, most, draft.context)
        proposals: list[int] = []
        distributions = []
        self._make_room(text, count)
        unread = list(text[self._start + self._state.length :])
        for _ in range(count):
            logits = draft.model.step(torch.tensor([unread], device=self._device), self._state)
            log_probs = self._bans.log_probs(logits, at=len(text) + len(proposals))
            if config.search is Search.sample:
                distributions.append(_distribution(log_probs, config))
                proposals.append(_drawn(distributions[-1][0], chance))
            else:
                proposals.append(int(log_probs.argmax()))
            if proposals[-1] == self._bans.eos_id:
                break
            unread = proposals[-1:]
        return proposals, torch.cat(distributions) if distributions else torch.empty(0)

    def _make_room(self, text: Sequence[int], count: int) -> None:
        """Go back to what is still the text, and begin anew where the context has no room for so many proposals."""
        context = self._draft.context
        if len(text) - self._start + count - 1 > context:
            self._start = len(text) - max(1, min(context // 2, context - count + 1))
            self._state = self._draft.model.start(1)
        # The last token of the text was not proposed by the draft, and must be read in any case.
        read = min(self._state.length, len(text) - 1 - self._start)
        if read < self._state.length:
            self._state.truncate(read)

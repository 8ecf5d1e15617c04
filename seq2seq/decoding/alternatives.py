"""The likeliest ways to go on at a place of an output, each to be completed: what an autocompletion offers."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seq2seq.config import DecodingConfig, Utility
from seq2seq.decoding.decodable import NO_OUTPUT, Decodable, StateT
from seq2seq.decoding.logits import NEVER
from seq2seq.decoding.prefix import Prefix
from seq2seq.errors import DecodingError
from seq2seq.model.combined import next_log_probs

WIDTH = 16
"""Ways to spell the last word of a prefix that are followed side by side; few of the many have any probability."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to go on.

    Attributes:
        tokens: those that spell the last word of the prefix, if it is open, and the one that goes on behind it, which
            may be the end token.
        log_prob: natural logarithm of their probability after the tokens of the prefix.
    """

    tokens: tuple[int, ...]
    log_prob: float


@torch.no_grad()
def next_tokens(
    model: Decodable[StateT],
    state: StateT,
    start: Tensor,
    prefix: Prefix,
    *,
    surfaces: Sequence[bytes],
    eos_id: int,
    forbidden_ids: Sequence[int] = (),
    min_length: int = 0,
    count: int,
) -> list[Alternative]:
    """The most probable ways to go one token beyond a prefix, no two of which write the same.

    Args:
        model: what predicts.
        state: has one row; it is used up.
        start: ids before the first token of an output, (1, length).
        prefix: what has been written.
        surfaces: bytes that each token adds to a text, by id.
        eos_id: the end token.
        forbidden_ids: tokens that may not go on.
        min_length: fewest tokens before the end token.
        count: how many; at least 1.

    Returns:
        up to `count`, the most probable first; of the ways to spell an open last word the WIDTH most probable are
        followed.

    Raises:
        DecodingError: there is none, since the model's output is not a number.
    """
    device = start.device
    forbidden = torch.tensor(forbidden_ids, dtype=torch.long, device=device)
    found: dict[bytes, Alternative] = {}
    ways: list[Alternative] = [Alternative((), 0.0)]
    tokens = torch.cat([start, torch.tensor([prefix.tokens], dtype=torch.long, device=device)], dim=1)
    while ways:
        plain = next_log_probs(model, tokens, state)
        free = plain.index_fill(1, forbidden, NEVER)
        if len(prefix.tokens) + len(ways[0].tokens) < min_length:
            free[:, eos_id] = NEVER
        longer: list[tuple[int, Alternative]] = []
        for row, way in enumerate(ways):
            place = sum(len(surfaces[token]) for token in way.tokens)
            if place < len(prefix.choices):
                inside, beyond = prefix.choices[place].inside, list(prefix.choices[place].beyond)
                for token, value in zip(inside, plain[row, list(inside)].tolist(), strict=True):
                    longer.append((row, Alternative((*way.tokens, token), way.log_prob + value)))
                values = free[row, beyond].tolist()
            else:
                # Two tokens may write the same, a byte and a letter.
                most = free[row].topk(min(2 * count, free.shape[1]))
                beyond, values = most.indices.tolist(), most.values.tolist()
            for token, value in zip(beyond, values, strict=True):
                further = Alternative((*way.tokens, token), way.log_prob + value)
                text = b"".join(surfaces[token] for token in further.tokens)
                if value > NEVER and (text not in found or found[text].log_prob < further.log_prob):
                    found[text] = further
        best = sorted(found.values(), key=lambda alternative: -alternative.log_prob)[:count]
        to_beat = best[-1].log_prob if len(best) == count else NEVER
        longer = sorted(
            (entry for entry in longer if entry[1].log_prob > to_beat), key=lambda entry: -entry[1].log_prob
        )
        ways = [way for _, way in longer[:WIDTH]]
        if ways:
            state.select(torch.tensor([row for row, _ in longer[:WIDTH]], device=device))
            tokens = torch.tensor([[way.tokens[-1]] for way in ways], device=device)
    if not best:
        raise DecodingError(NO_OUTPUT)
    return best


def completing(settings: DecodingConfig, changes: Mapping[str, Any], count: int) -> DecodingConfig:
    """The settings by which each alternative is completed.

    Args:
        settings: of the call.
        changes: those of them that the caller named.
        count: alternatives.

    Raises:
        DecodingError: the count is below 1, or the caller asks for outputs of another kind too.
    """
    if count < 1:
        raise DecodingError(f"alternatives ({count}) must be at least 1.")
    for name, neutral in (("n_best", 1), ("mbr", Utility.none), ("mbr_candidates", 0)):
        if changes.get(name) not in (None, neutral):
            raise DecodingError(f"{name} has no effect with alternatives, which are a line's outputs; leave it out.")
    return dataclasses.replace(settings, n_best=1, mbr=Utility.none, mbr_candidates=0)

"""The loop of searches that keep one hypothesis for each row: greedy and sampling differ in how a token is chosen."""

import math
from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor

from seq2seq.config import LengthNormalisation
from seq2seq.decoding.decodable import NO_OUTPUT, Decodable, Hypothesis, SearchResult, StateT
from seq2seq.decoding.length_penalty import penalty_table, row_limits
from seq2seq.decoding.logits import log_probabilities, precise
from seq2seq.errors import DecodingError

Choose = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""(log_probs (rows, vocab), numbers of these rows in the prompt (rows,), tokens written so far) -> tokens, margins."""


@torch.no_grad()
def written_tokens(
    model: Decodable[StateT],
    state: StateT,
    prompt: Tensor,
    *,
    choose: Choose,
    eos_id: int,
    forbidden_ids: Sequence[int] = (),
    max_length: int | Sequence[int] | Tensor,
    min_length: int = 0,
    length_normalisation: LengthNormalisation = LengthNormalisation.average,
    length_penalty: float = 1.0,
) -> Generator[Tensor, None, SearchResult]:
    """Write one token a row and step until every row has ended; ended rows leave the state.

    Args:
        model: what predicts.
        state: has one row for each of prompt's; it is used up.
        prompt: ids that come before the first new token, (rows, prompt_length).
        choose: picks the token of each row, and says how narrowly.
        eos_id: the end token.
        forbidden_ids: tokens never written.
        max_length: most new tokens, the end token included; one number, or one for each row.
        min_length: fewest tokens before the end token; max_length prevails.
        length_normalisation: with length_penalty, turns log-probabilities into scores; see length_penalty.py.
        length_penalty: alpha of the same.

    Yields:
        the tokens just written, (rows still active before this step,).

    Returns:
        one hypothesis for each row.

    Raises:
        ValueError: an argument out of range.
        DecodingError: the model's output is not a number, or leaves no token to choose.
    """
    rows, device = prompt.shape[0], prompt.device
    limits = torch.tensor(row_limits(max_length, rows), device=device)
    longest = int(limits.max()) if rows else 0
    penalties = penalty_table(longest, normalisation=length_normalisation, alpha=length_penalty)
    forbidden = torch.tensor(forbidden_ids, dtype=torch.long, device=device)
    forbidden_at_first = torch.tensor([*forbidden_ids, eos_id], dtype=torch.long, device=device)

    active = torch.arange(rows, device=device)
    written = torch.full((rows, longest), eos_id, device=device)
    total = torch.zeros(rows, device=device, dtype=precise(device))
    margins = torch.full_like(total, math.inf)
    tokens = prompt
    for length in range(longest):
        logits = model.step(tokens, state)
        log_probs = log_probabilities(logits, forbidden=forbidden_at_first if length < min_length else forbidden)
        chosen, margin = choose(log_probs, active, length)
        written[active, length] = chosen
        total[active] += log_probs.gather(1, chosen.unsqueeze(1)).squeeze(1).to(total.dtype)
        margins[active] = torch.minimum(margins[active], margin.to(margins.dtype))
        yield chosen
        going_on = (chosen != eos_id) & (limits[active] > length + 1)
        if not going_on.all():
            kept = going_on.nonzero().squeeze(1)
            if not len(kept):
                break
            state.select(kept)
            active, chosen = active[kept], chosen[kept]
        tokens = chosen.unsqueeze(1)

    if not total.isfinite().all():
        raise DecodingError(NO_OUTPUT)
    hypotheses = []
    for ids, limit, log_prob in zip(written.tolist(), limits.tolist(), total.tolist(), strict=True):
        finished = eos_id in ids[:limit]
        length = ids.index(eos_id) + 1 if finished else limit
        tokens_written = tuple(ids[: length - finished])
        hypotheses.append([Hypothesis(tokens_written, log_prob / penalties[length], log_prob, finished)])
    return SearchResult(hypotheses, margins.tolist())


def run(steps: Generator[Tensor, None, SearchResult]) -> SearchResult:
    """The result of `written_tokens` without its steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: SearchResult = end.value
            return result

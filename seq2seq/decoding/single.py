"""The loop of searches that keep one hypothesis for each row: greedy and sampling differ in how a token is chosen."""

import math
from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor

from seq2seq.config import LengthNormalisation
from seq2seq.decoding.decodable import NO_OUTPUT, Decodable, Hypothesis, SearchResult, StateT
from seq2seq.decoding.length_penalty import penalty_table, reward_table, row_limits
from seq2seq.decoding.logits import NEVER, log_probabilities, precise
from seq2seq.decoding.remaining import remaining
from seq2seq.decoding.rules import Rule, obeyed, stretch
from seq2seq.errors import DecodingError
from seq2seq.model.combined import Combined

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
    rules: Sequence[Rule] = (),
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
        rules: what tokens a row may write next, by what it has written; where they leave none, its text is cut.

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
    rewards = reward_table(longest, normalisation=length_normalisation, alpha=length_penalty)
    forbidden = torch.tensor(forbidden_ids, dtype=torch.long, device=device)
    combined = isinstance(model, Combined)
    forbidden_at_first = torch.tensor([*forbidden_ids, eos_id], dtype=torch.long, device=device)

    active = torch.arange(rows, device=device)
    written = torch.full((rows, longest), eos_id, device=device)
    total = torch.zeros(rows, device=device, dtype=precise(device))
    own = torch.zeros_like(total) if rules else total  # without the rules
    stuck = torch.zeros(rows, dtype=torch.bool, device=device)
    margins = torch.full_like(total, math.inf)
    tokens = prompt
    for length in range(longest):
        logits = model.step(tokens, state)
        struck = forbidden_at_first if length < min_length else forbidden
        log_probs = log_probabilities(logits, forbidden=struck, combined=combined)
        plain = log_probs
        if rules:
            log_probs = obeyed(plain, rules, written[active, :length], active)
            nothing_left = (log_probs.amax(dim=1) == NEVER) & (plain.amax(dim=1) > NEVER)
            if nothing_left.any():  # such a text is cut here
                stuck[active[nothing_left]] = True
                log_probs[nothing_left, eos_id] = plain[nothing_left, eos_id] = 0.0
        chosen, margin = choose(log_probs, active, length)
        written[active, length] = chosen
        total[active] += log_probs.gather(1, chosen.unsqueeze(1)).squeeze(1).to(total.dtype)
        if rules:
            own[active] += plain.gather(1, chosen.unsqueeze(1)).squeeze(1).to(total.dtype)
        margins[active] = torch.minimum(margins[active], margin.to(margins.dtype))
        yield chosen
        going_on = (chosen != eos_id) & (limits[active] > length + 1)
        if not going_on.all():
            kept = torch.from_numpy(remaining(going_on.cpu().numpy())).to(device)
            if not len(kept):
                break
            state.select(kept)
            active, chosen = active[kept], chosen[kept]
        tokens = chosen.unsqueeze(1)

    if not total.isfinite().all():
        raise DecodingError(NO_OUTPUT)
    hypotheses = []
    outputs = zip(written.tolist(), limits.tolist(), total.tolist(), own.tolist(), stuck.tolist(), strict=True)
    for ids, limit, value, log_prob, is_stuck in outputs:
        finished = eos_id in ids[:limit] and not is_stuck
        length = ids.index(eos_id) + finished if eos_id in ids[:limit] else limit
        tokens_written = tuple(ids[: length - finished])
        hypotheses.append([Hypothesis(tokens_written, value / penalties[length] + rewards[length], log_prob, finished)])
    return SearchResult(hypotheses, (margins / stretch(rules)).tolist())


def run(steps: Generator[Tensor, None, SearchResult]) -> SearchResult:
    """The result of `written_tokens` without its steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: SearchResult = end.value
            return result

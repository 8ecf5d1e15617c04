"""Sampling: each token drawn by its probability, by a source of chance that belongs to its row alone."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seq2seq.config import LengthNormalisation
from seq2seq.decoding.decodable import Decodable, SearchResult, StateT
from seq2seq.decoding.length_penalty import row_limits
from seq2seq.decoding.logits import NEVER, keep_above_epsilon, keep_min_p, keep_top_k, keep_top_p, precise, temper
from seq2seq.decoding.rules import Rule, stretch
from seq2seq.decoding.single import Choose, run, written_tokens


def sample_search(
    model: Decodable[StateT],
    state: StateT,
    prompt: Tensor,
    *,
    eos_id: int,
    forbidden_ids: Sequence[int] = (),
    max_length: int | Sequence[int] | Tensor,
    min_length: int = 0,
    length_normalisation: LengthNormalisation = LengthNormalisation.average,
    length_penalty: float = 1.0,
    n_best: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    epsilon_cutoff: float = 0.0,
    seed: int = 0,
    row_seeds: Sequence[int] | None = None,
    ranked: bool = True,
    rules: Sequence[Rule] = (),
) -> SearchResult:
    """Draw outputs by their probability.

    A row's output depends on its own input, `seed` and its row seed only, not on the other rows or their number. Its
    log_prob is the model's own; rules change its score, but what follows here does not: temperature, top_k, top_p,
    min_p and epsilon_cutoff, applied in this order (that of Hugging Face, and with the same result). Arguments not
    named here, and errors, as for `single.written_tokens`.

    Args:
        model: what predicts.
        state: has one row for each of prompt's.
        prompt: ids before the first new token, (rows, prompt_length).
        eos_id: the end token.
        forbidden_ids: tokens never written.
        max_length: most new tokens, the end token included; one number, or one for each row.
        min_length: fewest tokens before the end token.
        length_normalisation: see length_penalty.py.
        length_penalty: alpha of the same.
        n_best: independent draws for each row, returned best score first; two may be alike.
        temperature: above 0; below 1 favours probable tokens more.
        top_k: draw from this many most probable tokens; 0 from all.
        top_p: then from the smallest set of most probable tokens that holds this probability; 1 from all.
        min_p: then from those with at least this times the probability of the most probable one; 0 from all.
        epsilon_cutoff: then from those with at least this probability among the rest; 0 from all.
        seed: of the run, 0 or more.
        row_seeds: of each row, 0 or more (say, its line number); None numbers the rows.
        ranked: best score first; else in the order drawn, and the margin knows of no ranking.
        rules: what tokens a row may write next, by what it has written.
    """
    if n_best < 1:
        raise ValueError(f"n_best ({n_best}) must be at least 1")
    rows = prompt.shape[0]
    limits = row_limits(max_length, rows)
    if n_best > 1:
        repeated = torch.arange(rows, device=prompt.device).repeat_interleave(n_best)
        state.select(repeated)
        prompt = prompt[repeated]
    chance = uniform_numbers(range(rows) if row_seeds is None else row_seeds, seed=seed, draws=n_best, limits=limits)
    drawn = run(
        written_tokens(
            model,
            state,
            prompt,
            choose=drawer(
                on_device(chance, prompt.device),
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                epsilon_cutoff=epsilon_cutoff,
            ),
            eos_id=eos_id,
            forbidden_ids=forbidden_ids,
            max_length=[limit for limit in limits for _ in range(n_best)],
            min_length=min_length,
            length_normalisation=length_normalisation,
            length_penalty=length_penalty,
            rules=[_OfDraws(rule, n_best) for rule in rules],
        )
    )
    return drawn if n_best == 1 else _together(drawn, n_best, ranked=ranked, stretch=stretch(rules))


class _OfDraws:
    """A rule of sentences, for rows that are draws, n_best of each."""

    def __init__(self, rule: Rule, n_best: int) -> None:
        self.rule, self.n_best, self.stretch = rule, n_best, rule.stretch

    def __call__(self, log_probs: Tensor, written: Tensor, sentences: Tensor) -> Tensor:
        return self.rule(log_probs, written, sentences // self.n_best)


def on_device(chance: Tensor, device: torch.device) -> Tensor:
    """`uniform_numbers` in the device's most precise format, still below 1 where that rounds."""
    dtype = precise(device)
    if dtype != chance.dtype:
        chance = chance.clamp(max=1 - torch.finfo(dtype).eps)
    return chance.to(device, dtype)


def uniform_numbers(row_seeds: Sequence[int], *, seed: int, draws: int, limits: Sequence[int]) -> Tensor:
    """The chance of every row and step: float64 in (0, 1), (rows * draws, longest), the draws of a row side by side.

    NumPy's, because these streams are the same on every machine, and 63 bits of seed do not collide.

    Raises:
        ValueError: a seed below 0, or not one for each row.
    """
    if len(row_seeds) != len(limits):
        raise ValueError(f"row_seeds has {len(row_seeds)} numbers for {len(limits)} rows")
    if seed < 0 or min(row_seeds, default=0) < 0:
        raise ValueError(f"seed ({seed}) and row_seeds must be 0 or more")
    numbers = np.full((len(limits), draws, max(limits, default=0)), 0.5)
    for row, (row_seed, limit) in enumerate(zip(row_seeds, limits, strict=True)):
        for draw in range(draws):
            numbers[row, draw, :limit] = np.random.default_rng((seed, row_seed, draw)).random(limit)
    return torch.from_numpy(numbers.reshape(len(limits) * draws, -1).clip(min=2.0**-54))


def drawer(
    chance: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    epsilon_cutoff: float = 0.0,
) -> Choose:
    """How a row chooses by chance (rows, longest), for `single.written_tokens`.

    A token owns a stretch of (0, 1) as long as its probability, in order of ids; the one hit by chance is drawn. The
    margin is the distance in log-odds (so in nats) to the ends of the stretch: other logits move an end by no more
    than they differ. It is also what decided who may be drawn at all.
    """

    def draw(log_probs: Tensor, rows: Tensor, length: int) -> tuple[Tensor, Tensor]:
        tempered = temper(log_probs, temperature)
        among = keep_top_k(tempered, top_k)
        nucleus = keep_top_p(among, top_p)
        likely = keep_min_p(nucleus, min_p)
        allowed = keep_above_epsilon(likely, epsilon_cutoff)
        probs = allowed.softmax(dim=1, dtype=precise(log_probs.device))
        ends = probs.cumsum(dim=1)
        ends = ends / ends[:, -1:]
        hit = chance[rows, length].to(ends.dtype).unsqueeze(1)
        # The last token with a probability, should rounding put chance beyond its end. (Clamped, so that NaN gets as
        # far as the check that names it.)
        last = torch.searchsorted(ends, torch.ones_like(hit)).clamp(max=ends.shape[1] - 1)
        tokens = torch.minimum(torch.searchsorted(ends, hit, right=True), last)
        start = torch.where(tokens == 0, 0.0, ends.gather(1, (tokens - 1).clamp(min=0)))
        distance = torch.minimum(hit.logit() - start.logit(), ends.gather(1, tokens).logit() - hit.logit())
        margin = torch.minimum(distance.squeeze(1), _cut_margin(tempered, allowed))
        if top_p < 1:
            margin = torch.minimum(margin, _nucleus_margin(among, nucleus, top_p))
        if min_p:
            margin = torch.minimum(margin, _threshold_margin(nucleus - nucleus.amax(dim=1, keepdim=True), min_p))
        if epsilon_cutoff:
            margin = torch.minimum(margin, _threshold_margin(likely.log_softmax(dim=1), epsilon_cutoff))
        return tokens.squeeze(1), margin * temperature

    return draw


def _cut_margin(before: Tensor, after: Tensor) -> Tensor:
    """The lead in nats of the least probable token kept over the most probable one struck out."""
    kept = after > NEVER
    least = before.masked_fill(~kept, math.inf).amin(dim=1)
    return least - before.masked_fill(kept, NEVER).amax(dim=1)


def _threshold_margin(relative: Tensor, least: float) -> Tensor:
    """How far in nats the tokens are from a threshold; the most probable one is kept whatever it is.

    Args:
        relative: logarithms of what is compared with it, (rows, vocab)
        least: the threshold.
    """
    distances = (relative - math.log(least)).abs()
    return distances.scatter(1, relative.argmax(dim=1, keepdim=True), math.inf).amin(dim=1)


def _nucleus_margin(before: Tensor, after: Tensor, top_p: float) -> Tensor:
    """How far, in log-odds, the tokens kept are above top_p together, and below it without the least of them."""
    probs = before.softmax(dim=1, dtype=precise(before.device))
    kept = after > NEVER
    held = probs.masked_fill(~kept, 0.0).sum(dim=1)
    less = held - probs.masked_fill(~kept, math.inf).amin(dim=1)
    wanted = math.log(top_p / (1 - top_p))
    return torch.minimum(held.clamp(max=1).logit() - wanted, wanted - less.clamp(min=0).logit())


def _together(drawn: SearchResult, n_best: int, *, ranked: bool, stretch: float) -> SearchResult:
    """Put the draws of each row together, best score first where they are ranked; stretch is that of the rules."""
    result = SearchResult([], [])
    for start in range(0, len(drawn.hypotheses), n_best):
        draws = [hypotheses[0] for hypotheses in drawn.hypotheses[start : start + n_best]]
        if ranked:
            draws.sort(key=lambda hypothesis: -hypothesis.score)
        # Alike draws need no order. A score moves by no more than its log-probability: penalties are at least 1.
        rivals = [(a, b) for a, b in zip(draws, draws[1:], strict=False) if ranked and a.tokens != b.tokens]
        leads = [(a.score - b.score) / stretch for a, b in rivals]
        result.hypotheses.append(draws)
        result.margins.append(min(leads + drawn.margins[start : start + n_best]))
    return result

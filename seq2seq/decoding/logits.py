"""What happens between a model's logits and a search's decision: pure functions of (rows, vocab) tensors.

A token that is out of the question has minus infinity. The filters tell equal values apart by id, the lowest first.
"""

import math
from functools import cache

import torch
from torch import Tensor

from seq2seq.model.combined import normalised

NEVER = float("-inf")


def precise(device: torch.device) -> torch.dtype:
    """The number format for long sums: float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def log_probabilities(logits: Tensor, *, forbidden: Tensor, combined: bool = False) -> Tensor:
    """The model's log-probabilities, in float32 at least, with those of forbidden tokens struck out.

    Struck out after normalising: what remains are still the model's own probabilities, so the scores of hypotheses
    mean the same whatever is forbidden.

    Args:
        logits: (rows, vocab); used up.
        forbidden: ids of tokens that may not be chosen, (number,) int64.
        combined: these are no logits but what several models' log-probabilities make together, to be used as it is.

    Returns:
        (rows, vocab)
    """
    return (logits if combined else normalised(logits)).index_fill_(1, forbidden, NEVER)


def temper(logits: Tensor, temperature: float) -> Tensor:
    """Divide by a temperature: below 1 sharper, above 1 flatter.

    Raises:
        ValueError: temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature ({temperature}) must be above 0; for the likeliest token use greedy search")
    return logits if temperature == 1 else logits / temperature


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Strike out all but the k most probable tokens (Fan et al. 2018).

    Args:
        logits: (rows, vocab)
        k: how many to keep; 0 keeps all.

    Raises:
        ValueError: k is below 0.
    """
    if k < 0:
        raise ValueError(f"top_k ({k}) must be 0 or more")
    if k == 0 or k >= logits.shape[1]:
        return logits
    least = logits.topk(k, dim=1).values[:, -1:]
    above, tied = logits > least, logits == least
    places = k - above.sum(dim=1, keepdim=True)
    return logits.masked_fill(~(above | tied & (tied.cumsum(dim=1) <= places)), NEVER)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Strike out all but the smallest set of most probable tokens that holds probability p (Holtzman et al. 2020).

    Args:
        logits: (rows, vocab)
        p: above 0, at most 1; 1 keeps all. At least one token is kept.

    Raises:
        ValueError: p is out of range.
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p ({p}) must be above 0 and at most 1")
    if p == 1:
        return logits
    ranked, order = logits.sort(dim=1, descending=True, stable=True)
    probs = ranked.softmax(dim=1, dtype=precise(logits.device))
    before = probs.cumsum(dim=1) - probs  # held by the tokens ranked higher
    drop = before >= p
    drop[:, 0] = False
    return logits.masked_fill(torch.empty_like(drop).scatter_(1, order, drop), NEVER)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Strike out tokens with less than p times the probability of the most probable one (Nguyen et al. 2024).

    Args:
        logits: (rows, vocab)
        p: from 0 to 1; 0 keeps all.

    Raises:
        ValueError: p is out of range.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"min_p ({p}) must be from 0 to 1")
    if p == 0:
        return logits
    return logits.masked_fill(logits < logits.amax(dim=1, keepdim=True) + math.log(p), NEVER)


def keep_above_epsilon(logits: Tensor, epsilon: float) -> Tensor:
    """Strike out tokens of a probability below epsilon, but never the most probable (Hewitt et al. 2022).

    Probability is that among the tokens which filters before left, as in Hugging Face.

    Args:
        logits: (rows, vocab)
        epsilon: from 0 to below 1; 0 keeps all.

    Raises:
        ValueError: epsilon is out of range.
    """
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon_cutoff ({epsilon}) must be 0 or more and below 1")
    if epsilon == 0:
        return logits
    log_probs = logits.log_softmax(dim=1, dtype=precise(logits.device))
    rare = (log_probs < math.log(epsilon)) & (logits < logits.amax(dim=1, keepdim=True))
    return logits.masked_fill(rare, NEVER)


def best_continuations(log_probs: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The most probable ways to go on from any beam of a sentence.

    Args:
        log_probs: of the next token, (sentences, beams, vocab)
        scores: log-probabilities of the beams so far, (sentences, beams)
        count: how many to return.

    Returns:
        log-probabilities best first, the beams they go on from, and their tokens, each (sentences, count). Where fewer
        exist, the rest has minus infinity (and some valid beam and token).
    """
    sentences, beams, vocab = log_probs.shape
    block = _block_length(vocab)
    # The best `count` numbers lie in the `count` blocks with the highest maxima. Finding these first is three times as
    # fast as torch.topk over the whole vocabulary, and no sum of scores and log_probs is ever written out.
    blocks = log_probs.reshape(sentences, beams * (vocab // block), block)
    maxima = (blocks.amax(dim=2).view(sentences, beams, -1) + scores.unsqueeze(2)).flatten(1)
    chosen = maxima.topk(min(count, maxima.shape[1]), dim=1).indices
    parents = chosen // (vocab // block)
    candidates = blocks.gather(1, chosen.unsqueeze(2).expand(-1, -1, block)) + scores.gather(1, parents).unsqueeze(2)
    values, places = candidates.flatten(1).topk(min(count, candidates[0].numel()), dim=1)
    tokens = chosen.gather(1, places // block) % (vocab // block) * block + places % block
    parents = parents.gather(1, places // block)
    missing = count - values.shape[1]
    if missing:
        values = torch.nn.functional.pad(values, (0, missing), value=NEVER)
        parents, tokens = (torch.nn.functional.pad(ids, (0, missing)) for ids in (parents, tokens))
    return values, parents, tokens


def best_and_lead(log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable token of each row (the lowest id of equals), and by how many nats it leads over the second.

    Args:
        log_probs: (rows, vocab)

    Returns:
        each (rows,)
    """
    block = _block_length(log_probs.shape[1])
    # The maximum of each block first: to find where a maximum stands takes torch five times as long as to find it.
    blocks = log_probs.view(len(log_probs), -1, block)
    maxima = blocks.amax(dim=2)
    best, chosen = maxima.max(dim=1, keepdim=True)
    candidates = blocks.gather(1, chosen.unsqueeze(2).expand(-1, -1, block)).squeeze(1)
    places = candidates.max(dim=1, keepdim=True).indices
    # The second is the best of another block, or the second of this one.
    second = torch.maximum(
        maxima.scatter_(1, chosen, NEVER).amax(dim=1), candidates.scatter_(1, places, NEVER).amax(dim=1)
    )
    return (chosen * block + places).squeeze(1), best.squeeze(1) - second


@cache
def _block_length(vocab: int) -> int:
    """The divisor of vocab to search by: about the square root of usual sizes, and a multiple of the CPU's vectors."""
    divisors = (length for length in range(1, 129) if vocab % length == 0)
    return max(divisors, key=lambda length: (math.gcd(length, 32), length))

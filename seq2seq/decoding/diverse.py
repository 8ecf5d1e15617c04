"""Diverse beam search: groups of beams that keep away from what the groups before them write.

Vijayakumar et al. 2018, "Diverse Beam Search for Improved Description of Complex Scenes", with Hamming diversity: at
every step the first group chooses as beam search does; then, for each further group, a token loses `penalty` nats for
every beam of the groups before it that has just written it. Each group is a beam search of its own otherwise: it ends
when it has ended, and keeps its own best.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2seq.decoding.decodable import Hypothesis, SearchResult
from seq2seq.decoding.logits import NEVER, best_continuations


def group_continuations(
    log_probs: Tensor,
    scores: Tensor,
    *,
    units: NDArray[np.int64],
    num_groups: int,
    penalty: float,
    beam_size: int,
    eos_id: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The most probable ways to go on from any beam of a group, one group after another.

    Args:
        log_probs: of the next token, (units, beams, vocab); a unit is a group of the beams of a sentence.
        scores: log-probabilities of the beams so far, penalties included, (units, beams)
        units: numbers of those still searched, (units,), ascending: sentence * num_groups + group.
        num_groups: of a sentence; some may have ended.
        penalty: nats for each beam that has written the token.
        beam_size: beams of a group that go on after this step.
        eos_id: the end token, which no beam goes on from.

    Returns:
        as for best_continuations, 2 * beam_size + 1 for each unit; values with the penalties.
    """
    device, count = log_probs.device, 2 * beam_size + 1
    _, places = np.unique(units // num_groups, return_inverse=True)
    written = log_probs.new_zeros(int(places.max()) + 1, log_probs.shape[2])  # how often, by sentence and token
    values = scores.new_empty(len(units), count)
    parents = torch.empty(len(units), count, dtype=torch.int64, device=device)
    tokens = torch.empty_like(parents)
    for group in range(num_groups):
        own = np.flatnonzero(units % num_groups == group)
        if not len(own):
            continue
        rows, sentences = torch.from_numpy(own).to(device), torch.from_numpy(places[own]).to(device)
        less = log_probs[rows] - penalty * written[sentences].unsqueeze(1)
        values[rows], parents[rows], tokens[rows] = best_continuations(less, scores[rows], count)
        live, chosen = values[rows].masked_fill(tokens[rows] == eos_id, NEVER).topk(beam_size, dim=1)
        chosen = tokens[rows].gather(1, chosen)
        written.index_put_(
            (sentences.unsqueeze(1).expand_as(chosen), chosen), (live > NEVER).to(written), accumulate=True
        )
    return values, parents, tokens


Lead = Callable[[int, Hypothesis, Hypothesis], float]
"""(unit, a hypothesis, another of that sentence) -> by how many nats the one is ahead."""


def merged(result: SearchResult, *, num_groups: int, n_best: int, lead: Lead) -> SearchResult:
    """The outputs of sentences from those of their groups: the n_best different ones by score.

    Args:
        result: with an entry for each unit.
        num_groups: of a sentence.
        n_best: how many to keep of each sentence.
        lead: for margins.
    """
    together = SearchResult([], [])
    for unit in range(0, len(result.hypotheses), num_groups):
        everything = [h for hypotheses in result.hypotheses[unit : unit + num_groups] for h in hypotheses]
        everything.sort(key=lambda hypothesis: -hypothesis.score)
        best = list({(h.tokens, h.finished): h for h in reversed(everything)}.values())[::-1]  # the first of equals
        best.sort(key=lambda hypothesis: -hypothesis.score)
        leads = [lead(unit, a, b) for a, b in zip(best[:n_best], best[1 : n_best + 1], strict=False)]
        together.hypotheses.append(best[:n_best])
        together.margins.append(min(leads + result.margins[unit : unit + num_groups]))
    return together

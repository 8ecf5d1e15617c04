"""Minimum Bayes risk: of several outputs for one input, the one most like the others (Kumar & Byrne 2004).

Outputs drawn by their probability stand for what the model believes, so the mean utility of one measured against all of
them estimates its expected utility; the best by that need not be the most probable (Eikema & Aziz 2020, "Is MAP
Decoding All You Need?"; Freitag et al. 2022, "High Quality Rather than High Model Probability"). Every output counts
the same, drawn or found by beam search, and each is measured against itself too.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from seq2seq.config import Utility
from seq2seq.evaluation.pairwise import Floats, pairwise_bleu, pairwise_chrf

UTILITIES: dict[Utility, Callable[[Sequence[str]], Floats]] = {
    Utility.chrf: pairwise_chrf,
    Utility.bleu: pairwise_bleu,
}


def expected_utilities(texts: Sequence[str], utility: Utility) -> list[float]:
    """The mean utility of each text against all of them, itself included, each as often as it is there.

    Args:
        texts: at least one.
        utility: which.

    Returns:
        0 to 100 for each text; the same number for equal texts, whatever the order.
    """
    distinct = list(dict.fromkeys(texts))
    number = {text: place for place, text in enumerate(distinct)}
    places = np.array([number[text] for text in texts])
    table = UTILITIES[utility](distinct)[:, places]
    means = [math.fsum(row) / len(texts) for row in table.tolist()]
    return [means[place] for place in places]


def least_risk(
    texts: Sequence[str], log_probs: Sequence[float], *, utility: Utility, keep: int
) -> tuple[list[tuple[int, float]], float]:
    """The texts of the highest expected utility.

    Args:
        texts: of one input, at least one.
        log_probs: of each; of equal utilities the more probable is first.
        utility: which.
        keep: how many different texts to return; at least 1.

    Returns:
        numbers of up to `keep` different texts with their expected utilities, the best first, and by how many nats
        the log-probabilities decided it: infinite where they did not.
    """
    utilities = expected_utilities(texts, utility)
    best_first = sorted(range(len(texts)), key=lambda index: (-utilities[index], -log_probs[index]))
    firsts: dict[str, int] = {}
    for index in best_first:
        firsts.setdefault(texts[index], index)
    chosen = list(firsts.values())
    leads = [
        log_probs[index] - log_probs[other]
        for index, other in zip(chosen[:keep], chosen[1:], strict=False)
        if utilities[index] == utilities[other]
    ]
    return [(index, utilities[index]) for index in chosen[:keep]], min(leads, default=math.inf)

"""Minimum Bayes risk against its definition, by sacreBLEU pair by pair."""

import math
import random

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import Utility
from seq2seq.evaluation.least_risk import UTILITIES, expected_utilities, least_risk

SLOW = {Utility.chrf: sacrebleu.sentence_chrf, Utility.bleu: sacrebleu.sentence_bleu}
SENTENCES = st.lists(st.sampled_from(["a", "b", "cc", "dd", "."]), max_size=6).map(" ".join)


def test_the_table_has_every_utility() -> None:
    assert set(UTILITIES) == set(Utility) - {Utility.none}


@pytest.mark.parametrize("utility", UTILITIES)
@given(texts=st.lists(SENTENCES, min_size=1, max_size=8), keep=st.integers(1, 9))
def test_by_definition(utility: Utility, texts: list[str], keep: int) -> None:
    means = [math.fsum(SLOW[utility](text, [other]).score for other in texts) / len(texts) for text in texts]
    assert expected_utilities(texts, utility) == means
    best, _ = least_risk(texts, [0.0] * len(texts), utility=utility, keep=keep)
    distinct = {text: mean for text, mean in zip(texts, means, strict=True)}
    assert [mean for _, mean in best] == sorted(distinct.values(), reverse=True)[:keep]
    assert len({texts[index] for index, _ in best}) == len(best)
    assert all(means[index] == mean for index, mean in best)


def test_the_most_frequent_text_has_the_most_weight() -> None:
    texts = ["a dog runs", "the cat sleeps", "the cat slept", "a dog runs", "a dog runs"]
    assert least_risk(texts, [-9.0] * 5, utility=Utility.chrf, keep=1)[0][0][0] in (0, 3, 4)
    texts = ["a dog runs", "the cat sleeps", "the cat slept", "the cat sleeping"]  # the likeliest is the odd one out
    assert texts[least_risk(texts, [-1.0, -9.0, -9.0, -9.0], utility=Utility.chrf, keep=1)[0][0][0]] != texts[0]


@given(texts=st.lists(SENTENCES, min_size=2, max_size=7), seed=st.integers(0, 99))
def test_order_changes_nothing_but_by_margin(texts: list[str], seed: int) -> None:
    shuffle = random.Random(seed)
    log_probs = [shuffle.choice([-1.0, -2.0, -3.5]) for _ in texts]
    order = shuffle.sample(range(len(texts)), len(texts))

    def run(index: list[int]) -> tuple[list[str], float]:
        best, margin = least_risk(
            [texts[i] for i in index], [log_probs[i] for i in index], utility=Utility.bleu, keep=2
        )
        return [texts[index[i]] for i, _ in best], margin

    (one, margin), (two, other) = run(list(range(len(texts)))), run(order)
    assert margin == other
    assert one == two or margin == 0


def test_a_text_has_the_place_of_its_most_probable_copy() -> None:
    texts = ["a a a", "b b b", "a a a", "b b b"]
    best, margin = least_risk(texts, [-3.0, -2.0, -1.0, -2.5], utility=Utility.chrf, keep=2)
    assert ([index for index, _ in best], margin) == ([2, 1], 1.0)


def test_of_equal_utilities_the_more_probable_by_its_lead() -> None:
    best, margin = least_risk(["aa", "bb"], [-3.0, -1.25], utility=Utility.chrf, keep=1)
    assert (best, margin) == ([(1, 50.0)], 1.75)
    best, margin = least_risk(["aa", "bb", "bb", "cc"], [-3.0, -2.0, -1.0, -9.0], utility=Utility.chrf, keep=1)
    assert (best, margin) == ([(2, 50.0)], math.inf)

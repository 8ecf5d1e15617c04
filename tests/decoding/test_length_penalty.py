import pytest
import torch

from seq2seq.config import LengthNormalisation
from seq2seq.decoding.length_penalty import FORMULAS, PENALTIES, penalty_table, reward_table, row_limits
from seq2seq.errors import DecodingError


def test_every_kind_has_a_penalty_and_a_formula():
    assert set(PENALTIES) == set(FORMULAS) == set(LengthNormalisation)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("length", [1, 2, 7, 100])
def test_penalties_are_what_the_formulas_say(length, alpha):
    for kind, text in FORMULAS.items():
        formula = text.split("  ")[0].removeprefix("score = ")  # the rest is a remark
        names = {"log_prob": -3.0, "length": length, "alpha": alpha}
        table = penalty_table(length, normalisation=kind, alpha=alpha)
        rewards = reward_table(length, normalisation=kind, alpha=alpha)
        assert -3.0 / table[length] + rewards[length] == pytest.approx(eval(formula, names))
        assert all(b >= a >= 0 for a, b in zip(rewards, rewards[1:], strict=False))
        assert all(b >= a >= 1 for a, b in zip(table, table[1:], strict=False))


def test_wu_et_al_2016_equation_14():
    table = penalty_table(7, normalisation=LengthNormalisation.gnmt, alpha=0.5)
    assert table[1] == 1
    assert table[7] == pytest.approx(2**0.5)


def test_an_alpha_beyond_all_numbers_is_named():
    with pytest.raises(DecodingError, match="length_penalty.*too large"):
        penalty_table(50, normalisation=LengthNormalisation.average, alpha=1e4)


def test_limits_of_rows():
    assert row_limits(4, 2) == [4, 4]
    assert row_limits([4, 5], 2) == row_limits(torch.tensor([4, 5]), 2) == [4, 5]
    assert row_limits(3, 0) == []

import math

import pytest

from seq2seq.evaluation.loss import TotalLoss


def test_a_uniform_guess_has_the_perplexity_of_its_choices() -> None:
    loss = TotalLoss(nats=12 * math.log(50), tokens=12, characters=48)
    assert loss.perplexity == pytest.approx(50)
    assert loss.per_token == pytest.approx(math.log(50))
    assert loss.per_character == pytest.approx(math.log(50) / 4)


def test_names_of_the_figures() -> None:
    assert TotalLoss(2.0, 4).as_metrics() == {"loss": 0.5, "perplexity": math.exp(0.5)}
    assert TotalLoss(2.0, 4, 8, 3).as_metrics() == {
        "loss": 0.5,
        "perplexity": math.exp(0.5),
        "loss_per_character": 0.25,
        "perplexity_per_character": math.exp(0.25),
        "accuracy": 0.75,
    }


def test_none_correct_is_not_the_same_as_not_counted() -> None:
    assert TotalLoss(2.0, 4, correct=0).as_metrics()["accuracy"] == 0


def test_no_text_and_hopeless_models_do_not_overflow() -> None:
    assert TotalLoss().as_metrics() == {"loss": 0.0, "perplexity": 1.0}
    assert all(map(math.isfinite, TotalLoss(1e9, 1, 1).as_metrics().values()))

from typing import Any

import pytest

from seq2seq.config import DecodingConfig, Search, Utility
from seq2seq.decoding.fallback import fallbacks
from seq2seq.errors import DecodingError


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"search": Search.greedy},
        {"beam_size": 20, "n_best": 15, "no_repeat_ngram_size": 2, "repetition_penalty": 1.5},
        {"beam_size": 1},
        {"beam_size": 6, "num_beam_groups": 3, "diversity_penalty": 0.5, "coverage_penalty": 0.2},
        {"search": Search.sample, "n_best": 20, "top_k": 5, "temperature": 0.5},
    ],
)
def test_every_search_has_a_chain_that_grows_stricter(settings: dict[str, Any]) -> None:
    asked = DecodingConfig(**settings)
    assert not list(asked.problems())
    wider, stricter = fallbacks(asked, shortest=0.5)
    for step in (wider, stricter):
        assert not list(step.settings.problems())
        assert step.settings.search is Search.beam
        assert 0 <= step.settings.beam_size - max(10, asked.beam_size) < asked.num_beam_groups
        assert 0 < step.settings.no_repeat_ngram_size <= 3
        assert step.settings.max_length_ratio == asked.max_length_ratio
        assert step.settings.n_best <= step.settings.beam_size
        for name, value in step.changes.items():
            chosen = getattr(step.settings, name)
            assert getattr(chosen, "value", chosen) == value != getattr(asked, name)
    assert wider.settings.repetition_penalty == asked.repetition_penalty
    assert stricter.settings.repetition_penalty == max(1.2, asked.repetition_penalty)
    assert stricter.settings.min_length_ratio == 0.5
    assert wider.changes.items() <= stricter.changes.items()


@pytest.mark.parametrize("search", [Search.sample, Search.beam])
def test_minimum_bayes_risk_has_no_chain(search: Search) -> None:
    asked = DecodingConfig(search=search, mbr=Utility.chrf)
    with pytest.raises(DecodingError, match="retry does not go with mbr=chrf, whose scores are utilities; leave one"):
        fallbacks(asked, shortest=0.5)


def test_an_output_cannot_be_asked_to_be_longer_than_it_may() -> None:
    _, stricter = fallbacks(DecodingConfig(max_length_ratio=0.5), shortest=4.0)
    assert stricter.settings.min_length_ratio == 0.5

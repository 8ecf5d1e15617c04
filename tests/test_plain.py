from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import Config, Positions, Precision
from seq2seq.errors import ConfigError
from seq2seq.plain import from_dict, to_dict


def config_of(changes: dict[str, Any]) -> Config:
    """Defaults with changes by dotted key."""
    config = Config()
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        part = getattr(config, group) if group else config
        assert hasattr(part, name), key
        setattr(part, name, value)
    return config


values = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**40),
        "run_dir": st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        "precision": st.sampled_from(Precision),
        "model.dropout": st.floats(0, 0.99),
        "model.positions": st.sampled_from(Positions),
        "model.num_kv_heads": st.none() | st.integers(1, 8),
        "data.train": st.sampled_from(["corpus/train", "hub:wmt/wmt14:de-en", ["a", "b"], "${task}", "${not closed"]),
        "data.weights": st.none() | st.lists(st.floats(0.1, 9)),
        "tokenizer.user_symbols": st.lists(st.sampled_from(["<x>", "\n", "é", "${x}", "???", "a\\b"])),
        "training.learning_rate": st.floats(1e-8, 1),
        "training.tensorboard": st.booleans(),
    }
)


@given(values)
def test_to_dict_and_back(changes: dict[str, Any]) -> None:
    config = config_of(changes)
    plain = to_dict(config)
    assert from_dict(Config, plain) == config
    assert to_dict(from_dict(Config, plain)) == plain


def test_to_dict_holds_plain_json_values() -> None:
    plain = to_dict(config_of({"model.positions": Positions.rotary}))
    assert plain["model"]["positions"] == "rotary"
    assert type(plain["model"]["positions"]) is str
    assert plain["task"] == "translation"


def test_whole_numbers_are_floats_where_floats_belong() -> None:
    minutes = from_dict(Config, {"training": {"minutes": 15}}).training.minutes
    assert minutes == 15 and type(minutes) is float


def test_older_values_get_todays_defaults() -> None:
    assert from_dict(Config, {"seed": 7}) == Config(seed=7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {"num_head": 4}}, "model.num_head: there is no such setting."),
        ({"model": {"dim": "wide"}}, "model.dim ('wide') must be of type int."),
        ({"model": {"bias": 1}}, "model.bias (1) must be of type bool."),
        ({"data": {"weights": 2.0}}, "data.weights (2.0) must be of type list[float] | None."),
        ({"model": {"positions": "alphabetical"}}, "model.positions (alphabetical) must be one of sinusoidal, "),
        ({"model": 3}, "model (3) must be a group of settings."),
        ({"colour": "red"}, "colour: there is no such setting."),
    ],
)
def test_from_dict_names_what_does_not_fit(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(Config, change)
    assert words in str(caught.value)
    assert len(caught.value.problems) == 1

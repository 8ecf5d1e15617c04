from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seq2seq import configure
from seq2seq.config import Config, Search, Task
from seq2seq.configure import (
    check,
    conf_dir,
    fail,
    hydra_flags,
    names_a_text,
    overrides_of,
    recipes,
    register_schemas,
    run_config,
)
from seq2seq.errors import ConfigError

TEXT = ["data.train=corpus/train", "data.valid=corpus/valid"]
"""What a run without a recipe must at least set."""

RECIPES = sorted(path.stem for path in Path(conf_dir(), "recipe").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _schemas() -> None:
    register_schemas()


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check("train", [*TEXT, *overrides])
    return str(caught.value)


def test_a_text_is_enough() -> None:
    config = check("train", TEXT)
    assert isinstance(config, Config)
    assert config.data.train == "corpus/train"
    assert config.model.encoder_layers == 6


def test_overrides_reach_the_dataclass() -> None:
    config = check("train", [*TEXT, "model=small", "model.dropout=0.3", "decoding=greedy", "data.weights=[2]"])
    assert (config.model.dim, config.model.dropout) == (256, 0.3)
    assert config.decoding.search is Search.greedy
    assert config.data.weights == [2.0]
    assert check("train", [*TEXT, "training.batch_tokens=auto"]).training.batch_tokens == "auto"
    assert check("train", [*TEXT, "training.batch_tokens=64"]).training.batch_tokens == 64


@pytest.mark.parametrize("words", [["+recipe=wmt_small"], ["seed=2", "data.train=corpus/train", "data.valid=b"]])
def test_a_run_is_composed_outside_hydras_own_program(words: list[str]) -> None:
    assert names_a_text(words)
    assert run_config(words, "seq2seq plan") == check("train", words)


@pytest.mark.parametrize("words", [[], ["seed=2"], ["data.valid=corpus/valid"]])
def test_a_run_needs_a_text(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"no recipe and no data.train; for example seq2seq plan \+recipe="):
        run_config(words, "seq2seq plan")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_configuration_is_written_as_the_words_that_make_it(recipe: str) -> None:
    config = check("train", [f"+recipe={recipe}"])
    words = overrides_of(config)
    assert check("train", words) == config
    assert not [word for word in words if word.startswith("training.beta1=")]  # what is as ever is not said


PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="$"), min_size=1)


@settings(max_examples=15)
@example("Größe", ["12a"])
@example("null", ["12", "1e5"])
@example("[a, b]", ["=", "a'b", 'a"b', "a\\", '\\"', "<bt>", "${x"[1:], "#", "~", "a b"])
@given(PRINTABLE, st.lists(PRINTABLE, min_size=1, max_size=3))
def test_any_text_in_a_setting_is_read_back(name: str, texts: list[str]) -> None:
    config = check("train", TEXT)
    config.run_dir, config.data.train, config.tokenizer.user_symbols = name, texts, texts
    config.training.learning_rate, config.training.minutes, config.training.steps = 1.5e-7, 3.0, None
    assert check("train", overrides_of(config)) == config


# ------------------------------------------------------------------- recipes


def test_recipes_ship() -> None:
    assert {"wmt_small", "shakespeare_lm", "multi30k"} <= set(RECIPES)
    assert list(recipes()) == RECIPES
    assert all(len(description) > 20 for description in recipes().values())


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_composes_and_is_possible(recipe: str) -> None:
    config = check("train", [f"+recipe={recipe}", "data.dir=/somewhere"])
    assert config.run_dir == f"runs/{recipe}"
    local = [spec for spec in (config.data.train, config.data.valid, config.data.test) if spec and ":" not in spec]
    assert all(spec.startswith("/somewhere/") for spec in local)


@pytest.mark.parametrize("folder", ["model", "decoding"])
def test_every_choice_of_a_group_is_possible(folder: str) -> None:
    choices = sorted(path.stem for path in Path(conf_dir(), folder).glob("*.yaml"))
    assert len(choices) >= 3
    for choice in choices:
        overrides = [*TEXT, f"{folder}={choice}"]
        if choice.startswith("lm"):
            overrides.append(f"task={Task.language_modelling.value}")
        if choice.startswith("encoder"):
            overrides.append(f"task={Task.classification.value}")
        check("train", overrides)


# ------------------------------------------------------------------ messages


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.num_head=4", "model.num_head: there is no such setting; the nearest key is model.num_heads."),
        ("+model.num_head=4", "model.num_head: there is no such setting; the nearest key is model.num_heads."),
        ("++model.num_head=4", "model.num_head: there is no such setting; the nearest key is model.num_heads."),
        ("trainig.steps=4", "trainig.steps: there is no such setting; the nearest key is training.steps."),
        ("data.max_lenght=4", "data.max_lenght: there is no such setting; the nearest key is data.max_length."),
        ("dat.max_length=4", "dat.max_length: there is no such setting; the nearest key is data.max_length."),
        ("batch_tokens=4", "batch_tokens: there is no such setting; the nearest key is training.batch_tokens."),
        ("model.vocab_size=4", "model.vocab_size: there is no such setting; the nearest key is tokenizer.vocab_size."),
        ("sed=4", "sed: there is no such setting; the nearest key is seed."),
        ("modle=base", "modle: there is no such setting; the nearest key is model."),
        ("training.lr=1", "training.lr: there is no such setting; training has steps, minutes, batch_tokens, "),
        ("zzz=1", "zzz: there is no such setting; the top level has task, run_dir, "),
        ("zzz.yyy=1", "zzz.yyy: there is no such setting; seq2seq/config.py lists every key."),
        ("model.dim=wide", "model.dim (wide) must be a whole number."),
        ("model.dim=1.5", "model.dim (1.5) must be a whole number."),
        ("training.batch_tokens=1.5", "training.batch_tokens (1.5) must be a whole number or auto."),
        ("training.batch_tokens=true", "training.batch_tokens (True) must be a whole number or auto."),
        ("training.batch_tokens=wide", "training.batch_tokens (wide) must be a whole number or auto."),
        ("training.batch_tokens=0", "training.batch_tokens (0) must be at least 1, or auto."),
        ("training.batch_tokens=null", "training.batch_tokens: null is not possible here; give it a value."),
        ("model.dim=null", "model.dim: null is not possible here; give it a value."),
        (
            "model.positions=rotry",
            "model.positions (rotry) must be one of sinusoidal, learned, rotary, alibi; did you mean rotary?",
        ),
        ("training.tensorboard=maybe", "training.tensorboard (maybe) must be true or false."),
        ("data.weights=[a]", "data.weights[0] (a) must be a number."),
        ("run_dir=${nowhere}", "run_dir: Interpolation key 'nowhere' not found."),
        ("model=smal", "model=smal: there is no such model; did you mean small? There are base, big, decoder_only, "),
        ("decoding=zzz", "decoding=zzz: there is no such decoding; there are beam, greedy, sample."),
        ("model=null", "model=null: there is no such model; there are base, big, decoder_only, "),
        ("model=[1]", "model=[1]: there is no such model; there are base, big, decoder_only, "),
        ("+recipe=wmt_smal", "recipe=wmt_smal: there is no such recipe; did you mean wmt_small? There are "),
        (
            "recipe=wmt_small",
            "recipe=wmt_small: recipe is not chosen yet, so it is added with a plus sign: +recipe=wmt_",
        ),
        ("+seed=3", "+seed=3: this setting is there already; write it without the plus sign: seed=3"),
        (
            "data.train=a,b",
            "data.train=a,b: write a list in brackets, data.train=[a,b], and a comma inside text in quo",
        ),
        ("data.train=[a", "data.train=[a: this is not of the form key=value; a value with spaces"),
        ("data.train=été", "data.train=été: this is not of the form key=value; a value with spaces"),
        ("steps", "steps: this is not of the form key=value"),
        ("=3", "=3: "),
        ("data.train={a: 1}", "data.train.a: there is no such setting; the nearest key is data.train."),
    ],
)
def test_one_sentence_names_the_key_and_the_fix(override: str, sentence: str) -> None:
    message = refusal(override)
    assert message.startswith(sentence)
    assert len(message.splitlines()) == 1


def test_options_are_hydras_or_none() -> None:
    arguments = ["--cfg", "job", "--config-name=train", "seed=-1", "-m"]
    assert hydra_flags(arguments) == ["--cfg", "--config-name=train", "-m"]
    with pytest.raises(ConfigError, match=r"--batch-size: there is no such option; .* here batch_size=\.\.\."):
        hydra_flags(["--batch-size", "3"])


def test_only_the_broken_override_is_named() -> None:
    assert "corpus" not in refusal("data.test=[a").split(":")[0]


def test_unknown_keys_come_together() -> None:
    assert refusal("++model.num_head=4", "++sed=1").splitlines() == [
        "model.num_head: there is no such setting; the nearest key is model.num_heads.",
        "sed: there is no such setting; the nearest key is seed.",
    ]


def test_impossible_values_come_together() -> None:
    lines = refusal("model.num_heads=3", "training.steps=0", "training.minutes=nan").splitlines()
    assert [line.split(" ")[0] for line in lines] == ["model.dim", "training.steps", "training.minutes"]


def test_a_mistake_inside_a_yaml_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in Path(conf_dir()).rglob("*.yaml"):
        copy = tmp_path / path.relative_to(conf_dir())
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "recipe" / "mine.yaml").write_text("# @package _global_\n# Mine.\ntraining: {step: 4}\n")
    (tmp_path / "recipe" / "other.yaml").write_text(
        "# @package _global_\n# Other.\ndefaults: [override /model: tiny]\n"
    )
    monkeypatch.setattr(configure, "conf_dir", lambda: str(tmp_path))
    assert refusal("+recipe=mine") == "training.step: there is no such setting; the nearest key is training.steps."
    assert refusal("+recipe=other").startswith("model=tiny: there is no such model; there are base, ")


def test_settings_without_a_text_say_what_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"data\.train is not set"):
        check("train", [])


# -------------------------------------------------------------------- places


def test_conf_dir_is_beside_or_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(conf_dir(), "train.yaml").is_file()
    package = tmp_path / "seq2seq"
    (package / "conf").mkdir(parents=True)
    monkeypatch.setattr(configure, "__file__", str(package / "configure.py"))
    with pytest.raises(ConfigError, match=r"the conf/ folder with train\.yaml is missing"):
        conf_dir()
    (package / "conf" / "train.yaml").touch()
    assert conf_dir() == str(package / "conf")


def test_fail_prints_every_problem_and_gives_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail("prog", ConfigError(["one.", "two."])) == 2
    captured = capsys.readouterr()
    assert captured.err == "prog: error: one.\nprog: error: two.\n"
    assert captured.out == ""

import functools
import gzip
import importlib.util
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import Config, Task
from seq2seq.configure import check, conf_dir, recipes, register_schemas

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(recipes())
PARTS = ["Run", "Data", "Model", "Expect", "Costs", "Before"]

register_schemas()


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"prepare_{name}", ROOT / "recipes" / name / "prepare.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


languages = script("language_identification")
punctuation = script("punctuation")


def page(recipe: str) -> str:
    return (ROOT / "recipes" / recipe / "README.md").read_text(encoding="utf-8")


@functools.cache
def config_of(recipe: str) -> Config:
    config = check("train", [f"+recipe={recipe}"])
    assert isinstance(config, Config)
    return config


def commands(text: str) -> list[str]:
    """Command lines of a page's code blocks, continuations joined."""
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


# -------------------------------------------------------------- what we ship


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 7
    assert sorted(path.name for path in (ROOT / "recipes").iterdir() if path.is_dir()) == RECIPES
    assert sorted(path.stem for path in Path(conf_dir(), "recipe").glob("*.yaml")) == RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_valid_and_has_a_home_of_its_own(recipe: str) -> None:
    config = config_of(recipe)
    assert config.run_dir == f"runs/{recipe}"
    assert recipes()[recipe]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_page_has_the_same_parts_as_every_other(recipe: str) -> None:
    found = re.findall(r"^## (.*)$", page(recipe), flags=re.MULTILINE)
    assert found[: len(PARTS)] == PARTS  # what is the recipe's own comes after them


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_training_commands_of_a_page_are_valid(recipe: str) -> None:
    start = "python -m seq2seq.train "
    found = [shlex.split(command)[3:] for command in commands(page(recipe)) if command.startswith(start)]
    assert found and found[0][0] == f"+recipe={recipe}"
    config = config_of(recipe)
    wants_folder = config.data.dir in str(config.data.train).split("/")
    assert wants_folder == any(override.startswith("data.dir=") for override in found[0])
    for overrides in found:
        check("train", overrides)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_page_says_how_to_use_the_result(recipe: str) -> None:
    config = config_of(recipe)
    program = {Task.translation: "seq2seq-translate", Task.language_modelling: "seq2seq generate"}
    use = f"{program.get(config.task, 'seq2seq predict')} --ckpt {config.run_dir}/best"
    assert any(command.startswith(use) for command in commands(page(recipe)))


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_front_page_and_a_page_know_each_other(recipe: str) -> None:
    assert f"(recipes/{recipe}/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", page(recipe)):
        assert (ROOT / "recipes" / recipe / target).exists(), target


def test_the_commands_of_the_page_on_scaling_are_valid() -> None:
    text = (ROOT / "recipes" / "scaling.md").read_text(encoding="utf-8")
    assert "(recipes/scaling.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    found = [command.partition("-m seq2seq.train ")[2].split() for command in commands(text)]
    found = [[word for word in words if not word.startswith(("-", "hydra"))] for words in found]
    assert len(found) == 6
    for overrides in found:
        config = check("train", overrides)
        assert isinstance(config, Config) and overrides
    same = [command for command in commands(text.partition("take the same steps")[2]) if "+recipe" in command]
    runs = set()
    for command in same:
        ranks = re.search(r"--nproc_per_node=(\d+)", command)
        training = check("train", command.partition("-m seq2seq.train ")[2].split()).training
        micro_batches = training.accumulation * int(ranks[1] if ranks else 1)
        # a clock would end runs of different speed at different steps
        runs.add((micro_batches, training.batch_tokens, training.steps, training.minutes))
    assert len(same) == 3 and runs == {(4, 1024, 2000, None)}
    assert re.search(r"^slurm = .*hydra-submitit-launcher", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("recipe", "module"), [("language_identification", languages), ("punctuation", punctuation)])
def test_the_prepare_commands_of_a_page_are_understood(recipe: str, module: ModuleType, tmp_path: Path) -> None:
    start = f"python recipes/{recipe}/prepare.py "
    found = [command.removeprefix(start).split() for command in commands(page(recipe)) if command.startswith(start)]
    assert found
    for arguments in found:
        assert "--output" in arguments
        # no file of the page is here, so what is complained of is the first file and not an option
        with pytest.raises(SystemExit) as stop:
            module.main([argument.replace("DATA", str(tmp_path)) for argument in arguments])
        assert stop.value.code == 2


# ---------------------------------------------------- language identification


def numbered(language: str, count: int, *, start: int = 0) -> str:
    return "".join(f"{language}  line {number}\n" for number in range(start, start + count))


def rows(folder: Path, split: str) -> list[tuple[str, str]]:
    lines = (folder / f"{split}.tsv").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    pairs = [tuple(line.split("\t")) for line in lines]
    assert all(len(pair) == 2 and all(pair) for pair in pairs)
    return [(pair[0], pair[1]) for pair in pairs]


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """Three languages of different size, with lines that repeat, that are shared and that are in the test."""
    (tmp_path / "en.txt").write_text(numbered("english", 60) + numbered("ENGLISH", 60) + "Hotel\n", encoding="utf-8")
    with gzip.open(tmp_path / "de.txt.gz", "wb") as file:
        file.write((numbered("german", 40) + "\n   \nHOTEL\n").encode())
    (tmp_path / "ja.txt").write_text("".join(f"行 {number} です 。\n" for number in range(50)), encoding="utf-8")
    (tmp_path / "test.en.txt").write_text(numbered("English", 8, start=55), encoding="utf-8")
    (tmp_path / "test.de.txt").write_text(numbered("German", 5, start=38), encoding="utf-8")
    return tmp_path


def prepare_languages(corpora: Path, output: Path, *more: str) -> None:
    languages.main(
        ["--output", str(output), "--train", f"en={corpora}/en.txt", "--train", f"de={corpora}/de.txt.gz"]
        + ["--train", f"ja={corpora}/ja.txt", "--joined", "ja", "--held-out", "4", *more]
        + ["--test", f"en={corpora}/test.en.txt", "--test", f"de={corpora}/test.de.txt"]
    )


def test_languages_are_balanced_and_splits_share_no_line(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_languages(corpora, corpora / "out")
    split = {name: rows(corpora / "out", name) for name in ("train", "valid", "test")}
    counts = {name: Counter(language for _, language in pairs) for name, pairs in split.items()}
    assert counts["test"] == {"en": 5, "de": 5}
    assert counts["valid"] == {"en": 4, "de": 4, "ja": 4}
    assert set(counts["train"]) == {"en", "de", "ja"} and len(set(counts["train"].values())) == 1
    # of 40 German lines 2 are in the test and 4 in the validation set
    assert 34 <= counts["train"]["de"] <= 36
    keys = [line.casefold().replace(" ", "") for pairs in split.values() for line, _ in pairs]
    assert len(keys) == len(set(keys))
    assert "hotel" not in keys  # both languages have it
    assert all(" " not in line for line, language in split["train"] if language == "ja")
    assert [language for _, language in split["train"]] != sorted(language for _, language in split["train"])
    printed = capsys.readouterr().out
    assert "always the same language: accuracy 33.33%" in printed and "accuracy 50.00%" in printed


def test_languages_come_out_the_same_twice_and_otherwise_with_another_seed(corpora: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        prepare_languages(corpora, corpora / name, "--seed", seed)
    content = {name: (corpora / name / "train.tsv").read_bytes() for name in "abc"}
    assert content["a"] == content["b"] != content["c"]


def test_the_order_of_lines_in_a_file_does_not_matter(corpora: Path) -> None:
    prepare_languages(corpora, corpora / "a")
    lines = (corpora / "ja.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (corpora / "ja.txt").write_text("".join(reversed(lines)), encoding="utf-8")
    prepare_languages(corpora, corpora / "b")
    assert (corpora / "a" / "train.tsv").read_bytes() == (corpora / "b" / "train.tsv").read_bytes()


def test_the_tokenizers_spaces_are_taken_back() -> None:
    assert languages.untokenize("l ' urgenza ( oggi ) , signora : perché ?") == "l'urgenza (oggi), signora: perché?"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "en.txt"], "not of the form LANGUAGE=FILE"),
        (["--train", "en=missing.txt", "--train", "de=missing.txt"], "missing.txt"),
        (["--train", "en=a.txt"], "one language"),
        (["--train", "en=a.txt", "--train", "de=b.txt", "--test", "fr=a.txt"], "--test names fr"),
        (["--train", "en=a.txt", "--train", "de=empty.txt"], "no line of de is left"),
        (["--train", "en=latin1.txt", "--train", "de=b.txt"], "utf-8"),
        (["--train", "en=a.txt", "--train", "de=b.txt", "--held-out", "0"], "at least 1"),
    ],
)
def test_languages_that_cannot_be_prepared(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(numbered("a", 20), encoding="utf-8")
    Path("b.txt").write_text(numbered("b", 20), encoding="utf-8")
    Path("empty.txt").write_text("", encoding="utf-8")
    Path("latin1.txt").write_bytes("häßlich\n".encode("latin-1"))
    with pytest.raises(SystemExit) as stop:
        languages.main(["--output", "out", "--held-out", "3", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


# --------------------------------------------------------------- punctuation


@pytest.mark.parametrize(
    ("text", "words", "labels"),
    [
        ("Hello, world!", "hello world", "U, l."),
        ('"Why?", she asked; nobody knew…', "why she asked nobody knew", "U? l l, l l."),
        ("I saw NASA's 3D film in the U.S.", "i saw nasa's 3d film in the u.s", "U l M U l l l A."),
        ("McDonald paid $5.50 (20% off) – really ?", "mcdonald paid $5.50 20% off really", "M l l l l, l?"),
        ("« Bonjour » , dit-elle —Oui.", "bonjour dit-elle oui", "U, l, U."),
        ("- 'Tis the dogs' .", "tis the dogs", "U l l."),
        ("e.g.: STOP?! Why--", "e.g stop why", "l. A? U"),
        ("... — !", "", ""),
    ],
)
def test_labels_of_text(text: str, words: str, labels: str) -> None:
    assert punctuation.annotate(text) == (words.split(), labels.split())


@pytest.mark.parametrize(
    "text", ["Hello, world.", "I live in the U.S, you know?", "NATO met on 3 May 2013, in Rome.", "well-known 3.5% B2B"]
)
def test_what_the_labels_tell_comes_back(text: str) -> None:
    assert punctuation.restore(*punctuation.annotate(text)) == text


pieces = st.text(st.sampled_from("abzäßİŁéXYZ09'’.,?!:;-–—\"«»()%$ \u200b\u00a0\t"), max_size=40)


@given(pieces | st.text(max_size=40))
def test_words_and_labels_stand_side_by_side_and_give_the_text_back(text: str) -> None:
    words, labels = punctuation.annotate(text)
    assert len(words) == len(labels)
    assert " ".join(words).split() == words and " ".join(labels).split() == labels  # fit for a line of TSV
    assert all(word and word == word.lower() for word in words)
    assert all(label[0] in "lUAM" and label[1:] in ("", ",", ".", "?") for label in labels)
    restored = punctuation.restore(words, labels).split()
    # normalised input: each word with its own spelling (M excepted) and one mark
    spelled = [token.strip("".join(filter(punctuation.is_edge, text))) for token in text.replace("—", " — ").split()]
    spelled = [word for word in spelled if word]
    assert len(spelled) == len(words)
    for ours, own, label in zip(restored, spelled, labels, strict=True):
        assert ours == (own.lower() if label[0] == "M" else own) + label[1:]


@given(
    st.lists(
        st.tuples(st.text("abcxyzäö", min_size=2, max_size=8), st.sampled_from("lUA"), st.sampled_from(["", *",.?"]))
    )
)
def test_annotate_takes_apart_what_restore_puts_together(parts: list[tuple[str, str, str]]) -> None:
    words, labels = [word for word, _, _ in parts], [case + mark for _, case, mark in parts]
    assert punctuation.annotate(punctuation.restore(words, labels)) == (words, labels)


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    lines = [f"Story {number}, by Ann{number}: who reads it?" for number in range(60)]
    (tmp_path / "train.txt").write_text("\n".join([*lines, *lines[:9], "", "***"]), encoding="utf-8")
    with gzip.open(tmp_path / "test.txt.gz", "wb") as file:
        file.write(("\n".join(lines[50:]) + "\nA NEW ONE.\nstory 3 by ann3 who reads IT\n").encode())
    return tmp_path


def prepare_stories(stories: Path, output: Path, *more: str) -> None:
    punctuation.main(
        ["--output", str(output), "--train", f"{stories}/train.txt", "--test", f"{stories}/test.txt.gz"]
        + ["--held-out", "5", *more]
    )


def test_examples_of_punctuation(stories: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_stories(stories, stories / "out")
    split = {name: rows(stories / "out", name) for name in ("train", "valid", "test")}
    assert all(len(words.split()) == len(labels.split()) for pairs in split.values() for words, labels in pairs)
    told = {name: re.findall(r"story (\d+)", " ".join(words for words, _ in pairs)) for name, pairs in split.items()}
    assert sorted(map(int, told["train"] + told["valid"])) == [number for number in range(50) if number != 3]
    assert set(told["test"]) <= {"3", *map(str, range(50, 60))}
    assert len(split["valid"]) == 5
    per_example = Counter(words.count("story") for words, _ in split["train"])
    assert set(per_example) == {1, 2, 3}
    assert {label for _, labels in split["train"] for label in labels.split()} == {"U", "l", "l,", "U,", "l?"}
    assert all("A" not in labels for _, labels in split["test"])  # train has no such label
    printed = capsys.readouterr().out
    assert "most frequent label of each word" in printed and "labels: " in printed


def test_punctuation_comes_out_the_same_twice_and_otherwise_with_another_seed(stories: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        prepare_stories(stories, stories / name, "--seed", seed)
    content = {name: (stories / name / "train.tsv").read_bytes() for name in "abc"}
    assert content["a"] == content["b"] != content["c"]


def test_guessing_is_scored_by_hand() -> None:
    train = [(["a", "b", "b"], ["l", "U", "U."]), (["a", "a", "b"], ["l", "l", "U"])]
    held_out = [(["a", "b", "c", "c"], ["l", "U", "l", "A"])]
    assert punctuation.baselines(train, held_out) == (0.5, 0.75)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "missing.txt"], "missing.txt"),
        (["--train", "empty.txt"], "no example is left for"),
        (["--train", "empty.txt", "--join", "0"], "at least 1"),
        (["--train", "broken.txt.gz"], "gzip"),
    ],
)
def test_text_that_cannot_be_prepared(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("...\n", encoding="utf-8")
    Path("broken.txt.gz").write_text("plain\n", encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        punctuation.main(["--output", "out", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["language_identification", "punctuation"])
def test_a_prepare_script_runs_by_itself(recipe: str) -> None:
    command = [sys.executable, "-I", str(ROOT / "recipes" / recipe / "prepare.py"), "--help"]
    assert "--output" in subprocess.run(command, capture_output=True, text=True, check=True).stdout

"""Scores, intervals and paired tests beside sacreBLEU's own command line on the same files."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.errors import ConfigError
from seq2seq.evaluation.significance import Difference, Judge, Paired
from seq2seq.evaluation.texts import read_text

LABELS = {"bleu": "BLEU", "chrf": "chrF2", "ter": "TER"}
WORDS = """the cat sat on a mat , while dogs slept . He said : “yes” ! Größe 3,5 % of it's all""".split()  # noqa: SIM905


def sentences(seed: int, number: int = 60) -> list[str]:
    shuffle = random.Random(seed)
    return [" ".join(shuffle.choices(WORDS, k=shuffle.randint(2, 14))) for _ in range(number)]


def worse(texts: Sequence[str], share: float, seed: int) -> list[str]:
    """With a share of the words exchanged."""
    shuffle = random.Random(seed)
    return [
        " ".join(shuffle.choice(WORDS) if shuffle.random() < share else word for word in text.split()) for text in texts
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("texts")
    first = sentences(1)
    texts = {"first": first, "second": worse(first, 0.3, 2), "good": worse(first, 0.2, 3), "bad": worse(first, 0.3, 4)}
    texts["good"][7] = ""  # a blank line is scored as nothing
    for name, text in texts.items():
        (folder / name).write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
    return {name: folder / name for name in texts}


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def sacrebleu(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "sacrebleu", *map(str, arguments), "-m", "bleu", "chrf", "ter"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


@pytest.mark.parametrize("references", [["first"], ["first", "second"]])
def test_scores_are_those_of_the_command_line(files: dict[str, Path], references: list[str]) -> None:
    found = sacrebleu(*(files[name] for name in references), "-i", files["good"], "-ci", "-w", "6")
    theirs = {entry["name"]: entry for entry in json.loads(found)}
    scores = Judge([lines(files[name]) for name in references], ["bleu", "chrf", "ter"]).scores(lines(files["good"]))
    for name, score in scores.items():
        entry = theirs[LABELS[name]]
        assert score.signature == entry["signature"]
        assert score.value == pytest.approx(entry["score"], abs=1e-6)
        assert score.mean == pytest.approx(entry["confidence_mean"], abs=1e-5)
        assert score.confidence == pytest.approx(entry["confidence_var"], abs=1e-5)
        assert f"nrefs:{len(references)}|bs:1000" in score.signature


def test_paired_randomisation_is_that_of_the_command_line(files: dict[str, Path]) -> None:
    base, system = json.loads(sacrebleu(files["first"], "-i", files["bad"], files["good"], "-par", "--quiet"))
    judge = Judge([lines(files["first"])], ["bleu", "chrf", "ter"])
    good, bad = lines(files["good"]), lines(files["bad"])
    judge.scores(good)  # intervals leave the tests' signatures alone
    (differences,) = judge.differences(good, [bad], test=Paired.randomisation)
    for name, difference in differences.items():
        assert difference.value == system[LABELS[name]]["score"]
        assert difference.baseline == base[LABELS[name]]["score"]
        assert difference.p_value == system[LABELS[name]]["p_value"]
        assert 1e-4 < difference.p_value < 1  # not one of the ends, where much could go wrong
        assert difference.signature.startswith("nrefs:1|ar:10000|seed:12345|")


def test_paired_bootstrap_is_that_of_the_command_line(files: dict[str, Path]) -> None:
    # Its JSON fails on numbers of numpy, so this is its table: a row of means and intervals, a row of p-values.
    table = sacrebleu(files["first"], "-i", files["bad"], files["good"], "-pbs", "-f", "text", "-w", "4", "--quiet")
    theirs = [float(p) for p in re.findall(r"\(p = ([0-9.]+)\)", table)]
    (differences,) = Judge([lines(files["first"])], ["bleu", "chrf", "ter"]).differences(
        lines(files["good"]), [lines(files["bad"])], test=Paired.bootstrap
    )
    assert [difference.p_value for difference in differences.values()] == pytest.approx(theirs, abs=5e-5)
    for name, difference in differences.items():
        assert f"{difference.value:.4f}" in table and f"{difference.baseline:.4f}" in table
        assert difference.signature in table.replace("\n", ""), name


@pytest.mark.shared
def test_real_text_scores_as_on_the_command_line(shared_data: Path, tmp_path: Path) -> None:
    packed = shared_data / "multi30k" / "test_2016_flickr.de.gz"
    reference = [line.text for line in read_text(str(packed))]
    outputs = worse(reference, 0.3, 6)
    (tmp_path / "outputs").write_text("".join(f"{line}\n" for line in outputs), encoding="utf-8")
    theirs = {entry["name"]: entry for entry in json.loads(sacrebleu(packed, "-i", tmp_path / "outputs", "-w", "8"))}
    for name, score in Judge([reference], ["bleu", "chrf", "ter"]).scores(outputs).items():
        assert score.value == pytest.approx(theirs[LABELS[name]]["score"], abs=1e-7)
        assert score.signature.replace("bs:1000|seed:12345|", "") == theirs[LABELS[name]]["signature"]


TEXT = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)


@pytest.mark.parametrize("test", Paired)
@settings(max_examples=15)
@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=12))
def test_tests_are_antisymmetric_and_equal_texts_have_p_1(test: Paired, rows: list[tuple[str, str, str]]) -> None:
    one, other, reference = ([row[side] for row in rows] for side in range(3))
    judge = Judge([reference], ["bleu", "chrf", "ter"])
    (there,) = judge.differences(one, [other], test=test, samples=50)
    (back,) = judge.differences(other, [one], test=test, samples=50)
    (itself,) = judge.differences(one, [list(one)], test=test, samples=50)
    for name in there:
        assert there[name].difference == -back[name].difference
        assert there[name].p_value == back[name].p_value
        assert (itself[name].difference, itself[name].p_value, itself[name].verdict) == (0, 1, "equal")


def test_a_large_difference_is_significant_and_a_permutation_of_lines_is_none(files: dict[str, Path]) -> None:
    reference = lines(files["first"])
    hopeless = ["x"] * len(reference)
    judge = Judge([reference], ["bleu", "ter"])
    (found,) = judge.differences(reference, [hopeless], test=Paired.randomisation, samples=999)
    assert found["bleu"].p_value == found["ter"].p_value == 0.001
    assert found["bleu"].verdict == found["ter"].verdict == "better"
    assert found["ter"].difference < 0 < found["bleu"].difference
    order = list(range(len(reference)))
    random.Random(5).shuffle(order)
    shuffled = Judge([[reference[i] for i in order]], ["bleu", "chrf", "ter"]).scores(
        [lines(files["bad"])[i] for i in order]
    )
    plain = Judge([reference], ["bleu", "chrf", "ter"]).scores(lines(files["bad"]))
    assert all(shuffled[name].value == pytest.approx(plain[name].value, abs=1e-9) for name in plain)


@pytest.mark.parametrize("test", Paired)
def test_a_few_sentences_are_no_proof(files: dict[str, Path], test: Paired) -> None:
    """Exchanging the k sentences that differ, all or none, is 2 of 2^k ways: p cannot be less than their share."""
    reference = lines(files["first"])
    for number, least in ((0, 1.0), (1, 1.0), (2, 0.5), (5, 0.0625)):
        other = [*(["x y z"] * number), *reference[number:]]
        for metric in ("bleu", "chrf", "ter"):
            (found,) = Judge([reference], [metric]).differences(reference, [other], test=test, samples=500)
            assert found[metric].p_value >= least
            assert test is Paired.bootstrap or found[metric].p_value == least


def test_several_baselines_are_tested_one_by_one(files: dict[str, Path]) -> None:
    judge = Judge([lines(files["first"])], ["bleu"])
    good, bad, second = (lines(files[name]) for name in ("good", "bad", "second"))
    together = judge.differences(good, [bad, second], test=Paired.bootstrap)
    assert together == [judge.differences(good, [text], test=Paired.bootstrap)[0] for text in (bad, second)]


def test_verdicts() -> None:
    assert Difference(2, 1, 0.5, "", lower_is_better=False).verdict == "better"
    assert Difference(2, 1, 0.5, "", lower_is_better=True).verdict == "worse"


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"metric \(bleurt\) must be one of bleu, chrf, ter"):
        Judge([["a"]], ["bleurt"])

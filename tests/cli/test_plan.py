"""The whole command, on text that the tests make."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from seq2seq.cli.main import main
from seq2seq.configure import run_config
from seq2seq.files import sha256
from seq2seq.train import run as train

TASKS = ["translation", "language_modelling", "classification", "tagging"]


def contents(folder: Path) -> dict[str, str]:
    return {str(path): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


LABELS = ("run", "MODEL", "CORPUS", "MEASURED", "BATCH SIZES", "AHEAD", "time to the end", "cost to the end")


@pytest.mark.parametrize("task", TASKS)
def test_a_page_and_its_figures(
    tiny_run: Callable[..., list[str]], task: str, capfd: pytest.CaptureFixture[str]
) -> None:
    words = tiny_run(task, "training.steps=1000", "training.batch_tokens=128", "training.accumulation=2")
    assert main(["plan", "--json", *words, "--price-per-hour", "36", "--currency", "EUR"]) == 0
    output, errors = capfd.readouterr()
    assert "Traceback" not in errors
    page = errors.splitlines()
    assert len(page) <= 45
    assert max(map(len, page)) <= 200
    for label in LABELS:
        assert sum(line.startswith(f"{label} ") for line in page) == 1, label
    assert "nothing; training would begin" in errors
    assert not Path(run_config(words, "test").run_dir).exists()

    (line,) = output.splitlines()
    plan = json.loads(line)
    assert plan["task"] == task
    assert plan["parameters"].pop("total") == sum(plan["parameters"].values())
    assert plan["checkpoint_bytes"]["last"] == plan["checkpoint_bytes"]["best"] + plan["optimizer_bytes"]
    assert plan["batch_tokens"] == plan["batch_tokens_asked"] == 128
    assert plan["epoch"]["batches"] > 8
    assert 0 <= plan["epoch"]["padding"] < 0.5
    assert 3 <= plan["speed"]["steps"] <= 20
    assert 50 * 2**20 < plan["peak_memory"] < plan["memory_limit"]
    assert plan["auto"] == plan["largest_that_fits"] == 1024  # the corpus has no use for more
    ahead = plan["forecast"]
    assert ahead["steps"] == 1000
    assert ahead["seconds"] == pytest.approx(1000 * plan["speed"]["step_seconds"])
    assert ahead["epochs"] == pytest.approx(2 * 1000 / plan["epoch"]["batches"])
    assert ahead["cost"] == pytest.approx(36 / 3600 * ahead["seconds"])
    assert f"{ahead['cost']:,.2f} EUR at 36.00 EUR an hour" in errors


def test_a_run_that_is_there(tiny_run: Callable[..., list[str]], capfd: pytest.CaptureFixture[str]) -> None:
    words = tiny_run("classification", "training.validate_every=5")
    config = run_config([*words, "training.batch_tokens=128", "training.steps=12"], "test")
    train(config)
    before = contents(Path(config.run_dir))
    capfd.readouterr()
    assert main(["plan", "--json", *words, "training.batch_tokens=auto", "training.steps=112"]) == 0
    output, errors = capfd.readouterr()
    plan = json.loads(output)
    assert (plan["batch_tokens"], plan["batch_tokens_asked"]) == (128, "auto")
    assert plan["run_there"]["progress"]["step"] == 12
    assert plan["run_there"]["would_go_on"]
    assert plan["forecast"]["steps"] == 112
    each = plan["run_there"]["progress"]["validation_seconds"]
    assert each > 0
    validations = 21  # after steps 15, 20, ..., 110, and at the end
    assert plan["forecast"]["seconds"] == pytest.approx(100 * plan["speed"]["step_seconds"] + validations * each)
    assert "training would go on from step 12" in errors
    assert "112 steps, 100 of them to come" in errors
    assert contents(Path(config.run_dir)) == before


def test_what_does_not_fit_is_said(tiny_run: Callable[..., list[str]], capfd: pytest.CaptureFixture[str]) -> None:
    words = tiny_run("translation", lines=6000)
    assert main(["plan", *words, "--memory-limit", "0.0001"]) == 2
    errors = capfd.readouterr().err
    assert "The model does not fit into 0.00 GiB of memory; choose a smaller model" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("seed=2", "no recipe and no data.train; for example seq2seq plan +recipe=wmt_small"),
        ("+recipe=wmt_smal", "did you mean wmt_small?"),
        (
            "+recipe=wmt_small training.batch_tokens=much",
            "training.batch_tokens (much) must be a whole number or auto.",
        ),
        ("+recipe=multi30k data.dir=/nowhere", "data.train=/nowhere/train: no source file; looked for "),
        ("+recipe=wmt_small --currency EUR", "--currency EUR has no effect without --price-per-hour; give both."),
    ],
)
def test_mistakes_are_one_sentence(line: str, sentence: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *line.split()]) == 2
    output, errors = capfd.readouterr()
    assert output == ""
    assert errors.startswith("seq2seq plan: error: ")
    assert sentence in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "cheap"])
def test_prices_are_numbers_above_0(value: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "+recipe=wmt_small", f"--price-per-hour={value}"])
    assert f"--price-per-hour: {value} must be a finite number above 0" in capfd.readouterr().err

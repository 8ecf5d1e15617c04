"""The real training command on text that the tests make: it learns, stops, goes on, and refuses what cannot be."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import seq2seq
from seq2seq.configure import check, register_schemas
from seq2seq.errors import Seq2SeqError
from seq2seq.files import sha256
from seq2seq.scoring import Scorer
from seq2seq.train import main, run
from seq2seq.training.averaging import mean_weights
from seq2seq.training.run_folder import RunFolder

LANGUAGES = ["data.source_language=in", "data.target_language=out"]
TINY = [
    *LANGUAGES,
    "model=small", "model.encoder_layers=1", "model.decoder_layers=1", "model.dim=32", "model.num_heads=2",
    "model.feed_forward_dim=64", "tokenizer.kind=characters", "tokenizer.vocab_size=null", "training.batch_tokens=256",
    "training.threads=1", "training.tensorboard=false",
    "training.log_every=3", "decoding=greedy", "device=cpu", "precision=float32",
]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits and their reversal."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = random.Random(3)
    for split, count in (("train", 1500), ("valid", 40), ("test", 40)):
        lines = ["".join(generator.choices("0123456789", k=generator.randint(2, 6))) for _ in range(count)]
        (folder / f"{split}.in").write_text("".join(f"{line}\n" for line in lines))
        (folder / f"{split}.out").write_text("".join(f"{line[::-1]}\n" for line in lines))
    return folder


def arguments(corpus: Path, run_dir: Path, *more: str) -> list[str]:
    texts = [f"data.{split}={corpus}/{split}" for split in ("train", "valid", "test")]
    return [*TINY, *texts, f"run_dir={run_dir}", f"data.cache_dir={corpus}/cache", *more]


def train(*overrides: str) -> dict[str, object]:
    register_schemas()
    return run(check("train", list(overrides)))


def command(*overrides: str, **options: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "seq2seq.train", *overrides], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,  # type: ignore[call-overload, no-any-return]
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors") | safetensors.torch.load_file(
        folder / "training" / "state.safetensors"
    )


def assert_same(left: Path, right: Path) -> None:
    ours, theirs = weights(left), weights(right)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def figures(run_dir: Path) -> list[dict[str, object]]:
    """metrics.jsonl without what depends on the clock."""
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "tokens_per_second")} for record in records]


@pytest.mark.usefixtures("real_curves")
def test_learns_to_reverse_digits(corpus: Path, tmp_path: Path) -> None:
    more = [
        "training.steps=1400", "training.early_stopping=chrf", "training.learning_rate=4e-3",
        "training.warmup_steps=50", "training.schedule=linear", "training.validate_every=700", "model.dropout=0",
        "model.embedding_dropout=0",
    ]  # fmt: skip
    final = train(*arguments(corpus, tmp_path / "run", *more))
    assert final["corpus"] == "files"
    test = final["test"]
    assert isinstance(test, dict)
    assert test["chrf"] > 98
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]["bleu"] == test["bleu"]
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "nrefs:1|" in test["bleu_signature"]


def test_one_stack_learns_to_reverse_digits_and_is_used_like_any_translator(corpus: Path, tmp_path: Path) -> None:
    """Trained, searched, sampled, scored and evaluated by the same commands; lines do not know their neighbours."""
    more = [
        "model.encoder_layers=0", "model.decoder_layers=2", "training.steps=900", "training.early_stopping=chrf",
        "training.learning_rate=4e-3", "training.warmup_steps=50", "training.schedule=linear",
        "training.validate_every=450", "model.dropout=0", "model.embedding_dropout=0",
    ]  # fmt: skip
    final = train(*arguments(corpus, tmp_path / "run", *more))
    test = final["test"]
    assert isinstance(test, dict) and test["chrf"] > 95
    model = seq2seq.load(tmp_path / "run", device="cpu")
    lines = (corpus / "test.in").read_text().splitlines()
    lines = [*lines, "", "7", "12345678901234567890", "no digits"]
    for settings in (
        {"search": "greedy"},
        {"search": "beam", "beam_size": 4},
        {"search": "beam", "beam_size": 4, "batch_tokens": 1},
        {"search": "sample", "temperature": 0.5},
    ):
        found = model.translate(lines, **settings)
        right = sum(text == line[::-1] for text, line in zip(found[:40], lines, strict=False))
        assert right > 35 and len(found) == len(lines) and found[40] == ""
        if settings["search"] != "sample":
            assert found == [model.translate([line], **settings)[0] for line in lines]
    answers = list(model.translate_stream(lines[:9], search="beam", beam_size=3))
    scores = model.score([answer.text for answer in answers], lines[:9])
    for answer, score in zip(answers, scores, strict=True):
        assert score.log_prob == pytest.approx(answer.candidates[0].log_prob, abs=1e-4)


OPTIONS = {
    "plain": [],
    "decoder only": ["model.encoder_layers=0", "model.positions=sinusoidal"],
    "accumulation": ["training.accumulation=3"],
    "average": ["training.ema_decay=0.9"],
    "muon": ["training.optimizer=muon", "training.schedule=wsd", "training.r_drop=3"],
    "subwords": [
        "tokenizer.kind=unigram",
        "tokenizer.vocab_size=300",
        "data.subword_sampling=both",
        "data.weights=[1.5]",
        "data.subword_alpha=0.05",
        "model.positions=learned",
        "model.max_length=8",
        "data.max_length=8",
    ],
    "merges": ["tokenizer.kind=bpe", "tokenizer.vocab_size=300", "data.subword_sampling=both"],
    "checkpoints": ["training.keep_checkpoints=2", "training.average_checkpoints=3"],
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_going_on_equals_never_stopping(
    corpus: Path, tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = [
        "training.steps=20",
        "training.save_every=4",
        "training.validate_every=7",
        "training.warmup_steps=5",
        *options,
    ]
    train(*arguments(corpus, tmp_path / "whole", *more))

    from seq2seq.training.loop import Trainer

    real, stops = Trainer._step, iter([3, 9, 10, 15])
    stop = next(stops)

    class PowerLossError(Exception):
        pass

    def step(self: Trainer, log: object) -> None:
        nonlocal stop
        if self.position.step == stop:
            stop = next(stops, -1)
            raise PowerLossError
        real(self, log)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_step", step)
    for _ in range(4):
        with pytest.raises(PowerLossError):
            train(*arguments(corpus, tmp_path / "cut", *more))
    train(*arguments(corpus, tmp_path / "cut", *more))
    assert_same(tmp_path / "whole" / "last", tmp_path / "cut" / "last")
    assert figures(tmp_path / "whole") == figures(tmp_path / "cut")
    best = [safetensors.torch.load_file(tmp_path / name / "best" / "model.safetensors") for name in ("whole", "cut")]
    assert all(torch.equal(tensor, best[1][name]) for name, tensor in best[0].items())


@pytest.mark.usefixtures("real_curves")
def test_pictures_that_cannot_be_written_end_no_run(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "curves.png" / "something").mkdir(parents=True)
    (run_dir / "tensorboard").touch()
    more = ["training.steps=3", "training.validate_every=100", "training.tensorboard=true"]
    assert train(*arguments(corpus, run_dir, *more))["steps"] == 3
    errors = capsys.readouterr().err
    assert errors.count("warning:") == 2
    assert f"warning: {run_dir}/tensorboard: TensorBoard files cannot be written (File exists)" in errors
    assert f"warning: {run_dir}/curves.png cannot be written (Is a directory)" in errors
    assert "curves: " not in errors
    assert json.loads((run_dir / "metrics.json").read_text())["steps"] == 3
    shutil.rmtree(run_dir / "curves.png")
    train(*arguments(corpus, run_dir, *more))
    assert f"curves: {run_dir}/curves.png\n" in capsys.readouterr().err
    assert (run_dir / "curves.png").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_signals_lose_nothing(corpus: Path, tmp_path: Path, number: signal.Signals) -> None:
    """With random pieces of the text, which must be the same in the process that goes on."""
    more = [
        "training.steps=150", "training.save_every=10", "training.validate_every=60", "training.log_every=1",
        *OPTIONS["merges" if number == signal.SIGTERM else "subwords"],
    ]  # fmt: skip
    train(*arguments(corpus, tmp_path / "whole", *more))
    process = command(*arguments(corpus, tmp_path / "cut", *more))
    lines = tmp_path / "cut" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (lines.exists() and lines.read_text().count("\n") > 25):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert "Go on with the same command" in errors
        assert "Traceback" not in errors
    train(*arguments(corpus, tmp_path / "cut", *more))
    assert_same(tmp_path / "whole" / "last", tmp_path / "cut" / "last")
    assert figures(tmp_path / "whole") == figures(tmp_path / "cut")


@pytest.mark.slow
def test_five_sigkills_at_random_moments_lose_nothing(corpus: Path, tmp_path: Path) -> None:
    """Also in validations and in the writing of checkpoints: the moments are nobody's choice."""
    more = ["training.steps=150", "training.save_every=5", "training.validate_every=7", "training.log_every=1"]
    train(*arguments(corpus, tmp_path / "whole", *more))
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    lines = tmp_path / "cut" / "metrics.jsonl"
    for step in sorted(moments.sample(range(1, 145), 5)):
        process = command(*arguments(corpus, tmp_path / "cut", *more))
        while not (lines.exists() and f'"step": {step},' in lines.read_text()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.communicate()
    train(*arguments(corpus, tmp_path / "cut", *more))
    assert_same(tmp_path / "whole" / "last", tmp_path / "cut" / "last")
    assert figures(tmp_path / "whole") == figures(tmp_path / "cut")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_before_or_after_training_is_one_sentence(
    corpus: Path,
    tmp_path: Path,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = arguments(corpus, tmp_path / "run", "training.steps=3", "training.validate_every=100")
    for place in ("prepare", "average_newest"):  # what comes before the loop, and right after it
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["train", *more])
            patch.setattr(f"seq2seq.train.{place}", lambda *_, **__: os.kill(os.getpid(), number))
            with pytest.raises(SystemExit) as caught:
                main()
        assert caught.value.code == 128 + number
        errors = capsys.readouterr().err
        assert f"stopped by {number.name}" in errors
        assert "Go on with the same command" in errors
    assert train(*more)["steps"] == 3


def test_one_run_folder_takes_one_process(corpus: Path, tmp_path: Path) -> None:
    more = arguments(corpus, tmp_path / "run", "training.steps=3", "training.validate_every=100")
    with RunFolder(tmp_path / "run", keep=1).reserved():
        process = command(*more)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"is in use by process {os.getpid()} on " in errors
    assert train(*more)["steps"] == 3


@pytest.mark.parametrize(("warmup", "said"), [(2, False), (3, True), (1000, True)])
def test_a_warm_up_without_end_is_pointed_out(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], warmup: int, said: bool
) -> None:
    more = arguments(corpus, tmp_path / "run", "training.validate_every=100", f"training.warmup_steps={warmup}")
    train(*more, "training.steps=3")
    sentence = f"training.warmup_steps ({warmup:,}) is not below training.steps (3): training.learning_rate is never"
    assert (sentence in capsys.readouterr().err) == said


def test_fewer_steps_than_the_run_has_are_pointed_out(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = arguments(corpus, tmp_path / "run", "training.validate_every=100")
    train(*more, "training.steps=3")
    assert train(*more, "training.steps=2")["steps"] == 3
    assert "training.steps (2) is below the 3 steps" in capsys.readouterr().err


def test_another_device_chooses_its_own_number_format(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seq2seq.train.resolve_precision", lambda *_: torch.float32)
    more = arguments(corpus, tmp_path / "run", "precision=auto", "training.validate_every=100")
    train(*more, "training.steps=3")
    state = tmp_path / "run" / "last" / "training" / "state.json"
    manifest = tmp_path / "run" / "last" / "manifest.json"
    for device, precision in (("cpu", "bfloat16"), ("cuda", "float32")):
        values = json.loads(state.read_text())
        state.write_text(json.dumps({**values, "dtype": "bfloat16", "device": device}))
        sums = json.loads(manifest.read_text())
        sums["training/state.json"] = sha256(state)
        manifest.write_text(json.dumps(sums))
        assert train(*more, "training.steps=3")["precision"] == precision


def test_damaged_last_gives_way_to_the_one_before(corpus: Path, tmp_path: Path) -> None:
    more = ["training.steps=12", "training.save_every=4", "training.validate_every=100"]
    train(*arguments(corpus, tmp_path / "whole", *more))
    train(*arguments(corpus, tmp_path / "cut", *more))
    flip(tmp_path / "cut" / "last" / "model.safetensors")
    train(*arguments(corpus, tmp_path / "cut", *more))
    assert_same(tmp_path / "whole" / "last", tmp_path / "cut" / "last")
    assert (tmp_path / "cut" / "damaged-last").is_dir()


AVERAGED = [
    "training.steps=12", "training.save_every=3", "training.validate_every=100", "training.keep_checkpoints=3",
    "training.warmup_steps=3", "training.log_every=1", "training.early_stopping=loss", "training.schedule=constant",
]  # fmt: skip


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def mean_of(*checkpoints: Path) -> dict[str, torch.Tensor]:
    """Of the weights, as `average_newest` adds them up."""
    return mean_weights(safetensors.torch.load_file(path / "model.safetensors") for path in checkpoints)


def assert_weights(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    found = safetensors.torch.load_file(folder / "model.safetensors")
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What validations to come will find; a test fills it."""
    real, losses = Scorer.validate, list[float]()

    def validate(self: Scorer, *arguments: Any) -> dict[str, float]:
        return {**real(self, *arguments), "loss": losses.pop(0)}

    monkeypatch.setattr(Scorer, "validate", validate)
    return losses


@pytest.mark.parametrize("damaged", [["step-6"], ["step-3", "step-6"], ["step-3", "step-6", "step-9"]])
def test_a_damaged_checkpoint_is_left_out_of_the_average(
    corpus: Path, tmp_path: Path, damaged: list[str], losses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    more = arguments(corpus, run_dir, *AVERAGED)
    losses[:] = [5.0, 4.0]  # the last step's and the average's
    train(*more)
    alone = safetensors.torch.load_file(run_dir / "best" / "model.safetensors")
    for name in damaged:
        flip(run_dir / "checkpoints" / name / "model.safetensors")
    capsys.readouterr()
    train(*more, "training.average_checkpoints=4")
    errors = capsys.readouterr().err
    for name in damaged:
        sentence = f"{run_dir}/checkpoints/{name}: model.safetensors is damaged"
        assert errors.count(f"warning: the average leaves a checkpoint out: {sentence}") == 1
    whole = [run_dir / "checkpoints" / name for name in ("step-9", "step-6", "step-3") if name not in damaged]
    if whole:
        assert f"average of {1 + len(whole)} checkpoints: loss" in errors
        assert_weights(run_dir / "best", mean_of(run_dir / "last", *whole))
    else:
        assert "warning: of the newest 4 checkpoints 1 is whole, so there is no average." in errors
        assert_weights(run_dir / "best", alone)


def test_an_average_that_is_best_is_on_record(corpus: Path, tmp_path: Path, losses: list[float]) -> None:
    """Also after a restart: only what is better than the average takes its place."""
    run_dir = tmp_path / "run"
    more = arguments(corpus, run_dir, *AVERAGED, "training.average_checkpoints=3")
    losses[:] = [5.0, 4.0]
    train(*more)
    checkpoints = [run_dir / "last", run_dir / "checkpoints" / "step-9", run_dir / "checkpoints" / "step-6"]
    average = mean_of(*checkpoints)
    assert_weights(run_dir / "best", average)
    state = json.loads((run_dir / "last" / "training" / "state.json").read_text())
    assert (state["best"]["loss"], state["best_step"], state["averaged"]) == (4.0, 12, [12, 9, 6])

    losses[:] = [4.5, 4.2]
    train(*more, "training.steps=15")
    assert_weights(run_dir / "best", average)
    losses[:] = [3.0, 3.5]
    train(*more, "training.steps=16")
    assert_weights(run_dir / "best", safetensors.torch.load_file(run_dir / "last" / "model.safetensors"))
    state = json.loads((run_dir / "last" / "training" / "state.json").read_text())
    assert (state["best"]["loss"], state["best_step"], state["averaged"]) == (3.0, 16, [])


def test_averaging_leaves_the_trained_weights_alone(corpus: Path, tmp_path: Path, losses: list[float]) -> None:
    losses[:] = [5.0, 5.0, 4.0]
    train(*arguments(corpus, tmp_path / "plain", *AVERAGED))
    train(*arguments(corpus, tmp_path / "averaged", *AVERAGED, "training.average_checkpoints=3"))
    assert_same(tmp_path / "plain" / "last", tmp_path / "averaged" / "last")


def test_a_damaged_average_is_made_again_or_said_to_be_lost(
    corpus: Path, tmp_path: Path, losses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    more = arguments(corpus, run_dir, *AVERAGED)
    losses[:] = [5.0, 4.0]
    train(*more, "training.average_checkpoints=3")
    checkpoints = [run_dir / "last", run_dir / "checkpoints" / "step-9", run_dir / "checkpoints" / "step-6"]
    average = mean_of(*checkpoints)
    flip(run_dir / "best" / "model.safetensors")
    train(*more)
    assert f"It is made again from {', '.join(map(str, checkpoints))}." in capsys.readouterr().err
    assert_weights(run_dir / "best", average)

    flip(run_dir / "best" / "model.safetensors")
    flip(checkpoints[1] / "model.safetensors")
    losses[:] = [6.0]
    train(*more)
    assert "It is lost, and the next validation takes its place." in capsys.readouterr().err
    assert_weights(run_dir / "best", safetensors.torch.load_file(run_dir / "last" / "model.safetensors"))
    state = json.loads((run_dir / "last" / "training" / "state.json").read_text())
    assert (state["best"]["loss"], state["best_step"], state["averaged"]) == (6.0, 12, [])


def test_measured_batch_tokens_are_measured_once(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run goes on with the number that it began with, and is the run that the number itself would have made."""
    more = ["training.validate_every=100", "training.save_every=3"]
    auto = arguments(corpus, tmp_path / "auto", *more, "training.batch_tokens=auto")
    train(*auto, "training.steps=3")
    said = capsys.readouterr().err
    assert "training.batch_tokens=auto: 1,024, the only size that was tried and fits (" in said
    stored = json.loads((tmp_path / "auto" / "last" / "config.json").read_text())["config"]
    assert stored["training"]["batch_tokens"] == 1024

    monkeypatch.setattr("seq2seq.train.measured_batch_tokens", None)  # would fail
    train(*auto, "training.steps=6")
    assert "training.batch_tokens=auto: 1,024, as this run began" in capsys.readouterr().err
    fixed = arguments(corpus, tmp_path / "fixed", *more, "training.batch_tokens=1024")
    train(*fixed, "training.steps=6")
    assert_same(tmp_path / "auto" / "last", tmp_path / "fixed" / "last")
    train(*fixed, "training.steps=7", f"run_dir={tmp_path}/auto")  # the number itself is that run, too
    with pytest.raises(Seq2SeqError, match=r"training.batch_tokens \(1024 there, 256 now\)"):
        train(*fixed, "training.batch_tokens=256", f"run_dir={tmp_path}/auto")


def test_accumulation_is_one_larger_batch(corpus: Path, tmp_path: Path) -> None:
    """The gradient of a step does not depend on how its sentences are cut into micro-batches."""
    from seq2seq.config import Config
    from seq2seq.data.batch import Batch
    from seq2seq.model.build import build_model
    from seq2seq.training.loss import batch_loss

    config: Config = check("train", arguments(corpus, tmp_path))
    torch.manual_seed(0)
    model = build_model(config.model, task=config.task, source_vocab_size=14, target_vocab_size=14).double().eval()
    source, target = torch.randint(4, 14, (8, 5)), torch.randint(4, 14, (8, 7))
    target[4:, 5:] = -100
    target_in = target.clamp(min=0)

    def batch(rows: slice) -> Batch:
        count = int((target[rows] != -100).sum())
        return Batch(source[rows], None, target_in[rows], target[rows], count)

    gradients = []
    for cuts in ([slice(0, 8)], [slice(0, 4), slice(4, 8)]):
        model.zero_grad()
        batches = [batch(rows) for rows in cuts]
        tokens = sum(part.num_tokens for part in batches)
        for part in batches:
            (batch_loss(model, part, label_smoothing=0.1)[0] / tokens).backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})  # type: ignore[union-attr]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-10, atol=1e-12)


def test_another_setting_or_text_is_not_gone_on_with(corpus: Path, tmp_path: Path) -> None:
    more = ["training.steps=3", "training.save_every=3", "training.validate_every=100"]
    train(*arguments(corpus, tmp_path / "run", *more))
    with pytest.raises(Seq2SeqError, match=r"training.learning_rate \(0.001 there, 0.5 now\)"):
        train(*arguments(corpus, tmp_path / "run", *more, "training.learning_rate=0.5"))
    with pytest.raises(Seq2SeqError, match="training.resume=never"):
        train(*arguments(corpus, tmp_path / "run", *more, "training.resume=never"))
    shutil.rmtree(tmp_path / "run" / "last")
    for resume in ("never", "auto"):
        with pytest.raises(Seq2SeqError, match="holds a result in best/ but no training state"):
            train(*arguments(corpus, tmp_path / "run", *more, f"training.resume={resume}"))


def test_a_changed_corpus_is_not_gone_on_with(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        for side in ("in", "out"):
            (tmp_path / f"{split}.{side}").write_text("1 2\n2 1\n3 4\n" * 30)
    more = [*TINY, f"data.train={tmp_path}/train", f"data.valid={tmp_path}/valid", f"run_dir={tmp_path}/run",
            f"data.cache_dir={tmp_path}/cache", "training.steps=3", "training.validate_every=100"]  # fmt: skip
    train(*more)
    with (tmp_path / "train.in").open("a") as one, (tmp_path / "train.out").open("a") as other:
        one.write("4 3\n")
        other.write("3 4\n")
    with pytest.raises(Seq2SeqError, match="text has changed .*: 91 pairs instead of 90; .* 91 is new"):
        train(*more)


TEACHER = ["training.steps=40", "training.validate_every=100", "training.learning_rate=4e-3", "training.warmup_steps=5"]


@pytest.fixture(scope="module")
def teacher(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    train(*arguments(corpus, folder, *TEACHER))
    return folder / "best"


def test_a_student_learns_from_a_teacher_and_goes_on_exactly(corpus: Path, tmp_path: Path, teacher: Path) -> None:
    # another text than the teacher's: a vocabulary of its own would have no 9
    for split in ("train", "valid"):
        for side in ("in", "out"):
            lines = [line for line in (corpus / f"{split}.{side}").read_text().splitlines() if "9" not in line]
            (tmp_path / f"{split}.{side}").write_text("".join(f"{line}\n" for line in lines))
    more = [
        *TEACHER, f"data.train={tmp_path}/train", f"training.teacher={teacher}", "training.teacher_weight=0.7",
        "training.teacher_temperature=2", "model.dim=16",
    ]  # fmt: skip
    train(*arguments(corpus, tmp_path / "whole", *more, "training.steps=12"))
    train(*arguments(corpus, tmp_path / "cut", *more, "training.steps=5"))
    moved = shutil.copytree(teacher, tmp_path / "moved")
    train(*arguments(corpus, tmp_path / "cut", *more, "training.steps=12", f"training.teacher={moved}"))
    assert_same(tmp_path / "whole" / "last", tmp_path / "cut" / "last")
    student = tmp_path / "whole" / "best"
    assert (student / "tokenizer.json").read_bytes() == (teacher / "tokenizer.json").read_bytes()
    shapes = {name: tensor.shape for name, tensor in safetensors.torch.load_file(student / "model.safetensors").items()}
    taught = safetensors.torch.load_file(teacher / "model.safetensors")
    assert shapes.keys() == taught.keys()  # nothing of the teacher's is kept
    assert all(16 in shape and 32 not in shape for name, shape in shapes.items() if "embedding" in name)
    plain = [word for word in more if not word.startswith("training.teacher")]
    train(*arguments(corpus, tmp_path / "plain", *plain, "training.steps=12"))
    assert figures(tmp_path / "plain") != figures(tmp_path / "whole")


def test_another_teacher_or_none_is_not_gone_on_with(corpus: Path, tmp_path: Path, teacher: Path) -> None:
    more = arguments(corpus, tmp_path / "run", *TEACHER, "training.steps=3")
    train(*more, f"training.teacher={teacher}")
    other = tmp_path / "other"
    train(*arguments(corpus, other, *TEACHER, "training.steps=2"))
    with pytest.raises(Seq2SeqError, match="is not the model that this run began with"):
        train(*more, f"training.teacher={other}")
    with pytest.raises(Seq2SeqError, match=r"training.teacher \(None\) is not the model"):
        train(*more)
    with pytest.raises(Seq2SeqError, match="there is no such folder"):
        train(*more, f"training.teacher={tmp_path}/nowhere")


def test_a_language_model_learns_from_a_larger_one(corpus: Path, tmp_path: Path) -> None:
    more = [
        "task=language_modelling", "model=lm_small", "decoding=sample", f"data.train={corpus}/train.in", "model.dim=32",
        "model.decoder_layers=1", "model.num_heads=2", "model.feed_forward_dim=64", "model.max_length=32",
        "tokenizer.kind=characters", "tokenizer.vocab_size=null", "training.batch_tokens=256", "training.threads=1",
        "training.tensorboard=false", "training.validate_every=100", "training.warmup_steps=5", "device=cpu",
        "precision=float32", f"data.cache_dir={corpus}/cache",
    ]  # fmt: skip
    train(*more, f"run_dir={tmp_path}/teacher", "training.steps=10")
    student = [*more, "model.dim=16", f"training.teacher={tmp_path}/teacher", "training.teacher_weight=1"]
    train(*student, f"run_dir={tmp_path}/whole", "training.steps=8")
    train(*student, f"run_dir={tmp_path}/cut", "training.steps=3")
    train(*student, f"run_dir={tmp_path}/cut", "training.steps=8")
    assert_same(tmp_path / "whole" / "last", tmp_path / "cut" / "last")


def test_the_command_line_answers_in_sentences(tmp_path: Path) -> None:
    for overrides, sentence in (
        ([], "no recipe and no data.train"),
        (["+recipe=wmt_smal"], "did you mean wmt_small?"),
        (["data.train=x", "data.valid=y", *LANGUAGES, f"run_dir={tmp_path}/r"], "data.train=x: no source file"),
    ):  # fmt: skip
        process = command(*overrides)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 2
        assert sentence in errors
        assert "Traceback" not in errors + output
    assert "+recipe=shakespeare_lm" in command().communicate(timeout=60)[0]

"""training.compile: the numbers of the layers as written, to rounding, in a handful of graphs; or one sentence."""

import copy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from seq2seq.config import FeedForward, ModelConfig, Norm, NormPlacement, Positions, Task, TrainingConfig
from seq2seq.data.batch import IGNORE, Batch
from seq2seq.errors import ConfigError
from seq2seq.model.build import build_model
from seq2seq.model.transformer import Model
from seq2seq.training import compilation
from seq2seq.training.compilation import check_compiler, compile_layers
from seq2seq.training.interval import IntervalSums
from seq2seq.training.step import build_objective, build_step

VOCAB = 50
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Graphs of other tests neither serve here nor count."""
    with warnings.catch_warnings():
        compilation._silence_warnings()
        try:
            check_compiler(CPU)
        except ConfigError as error:
            pytest.skip(str(error))
        torch.compiler.reset()
        counters.clear()
        yield


def model_of(task: Task = Task.translation, **settings: object) -> Model:
    torch.manual_seed(1)
    layers = {Task.translation: (2, 2), Task.language_modelling: (0, 2)}.get(task, (2, 0))
    shape = {
        "dim": 32,
        "num_heads": 2,
        "feed_forward_dim": 48,
        "encoder_layers": layers[0],
        "decoder_layers": layers[1],
    }
    config = ModelConfig(**{"dropout": 0.0, "embedding_dropout": 0.0, **shape, **settings})  # type: ignore[arg-type]
    return build_model(config, task=task, source_vocab_size=VOCAB, target_vocab_size=VOCAB).train()


def batch_of(rows: int, source_length: int, target_length: int, *, padded: bool = False) -> Batch:
    source, target = (torch.randint(VOCAB, (rows, length)) for length in (source_length, target_length + 1))
    mask, target_out = None, target[:, 1:].clone()
    if padded:
        mask = torch.ones(rows, source_length, dtype=torch.bool)
        mask[0, -1], target_out[0, -1] = False, IGNORE
    return Batch(source, mask, target[:, :-1].contiguous(), target_out, int((target_out != IGNORE).sum()))


SHAPES = [(9, 5, 7, False), (8, 8, 8, True), (32, 12, 32, False), (5, 29, 29, True), (61, 6, 4, True), (3, 2, 2, False)]
"""Rows, lengths of source and target, whether padded; some equal to one another or to an axis of the model."""


def loss_and_gradients(model: Model, batch: Batch, settings: TrainingConfig) -> tuple[Tensor, dict[str, Tensor]]:
    loss, _ = build_objective(settings, model, None)(batch)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return loss.detach(), gradients


def assert_alike(compiled: Model, written: Model, batch: Batch, settings: TrainingConfig | None = None) -> None:
    """The same loss and gradients to 1e-5 from the same random state."""
    settings = settings or TrainingConfig()
    results = []
    for model in (compiled, written):
        torch.manual_seed(7)
        results.append(loss_and_gradients(model, batch, settings))
    (loss, gradients), (expected_loss, expected) = results
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == expected.keys()
    size = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-5 * size, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "norm_placement": NormPlacement.post,
            "feed_forward": FeedForward.swiglu,
            "positions": Positions.rotary,
            "norm": Norm.rms_norm,
            "num_kv_heads": 1,
        },
        {"dropout": 0.2, "attention_dropout": 0.1, "activation_dropout": 0.1},
    ],  # fmt: skip
    ids=["pre-norm, ReLU, sinusoidal", "post-norm, SwiGLU, rotary, RMSNorm, one key head", "dropout"],
)
def test_loss_and_gradients_are_those_of_the_layers_as_written(settings: dict[str, object]) -> None:
    written = model_of(**settings)
    compiled = copy.deepcopy(written)
    compile_layers(compiled, dtype=torch.float32)
    graphs = counters["stats"]["unique_graphs"]
    assert 3 <= graphs <= 6  # encoder and decoder layers, with masks and without
    for rows, source_length, target_length, padded in SHAPES:
        assert_alike(compiled, written, batch_of(rows, source_length, target_length, padded=padded))
    assert_alike(compiled, written, batch_of(9, 5, 7), TrainingConfig(label_smoothing=0.0))
    if settings.get("dropout"):
        assert_alike(compiled, written, batch_of(9, 5, 7, padded=True), TrainingConfig(r_drop=5.0))
    assert_alike(compiled, written, batch_of(1, 5, 7))  # as written
    assert_alike(compiled, written, batch_of(4, 5, 1))
    assert counters["stats"]["unique_graphs"] == graphs


@pytest.mark.slow
@pytest.mark.parametrize("task", [Task.language_modelling, Task.classification])
def test_other_models_too(task: Task) -> None:
    written = model_of(task, positions=Positions.alibi, attention_window=3)
    compiled = copy.deepcopy(written)
    compile_layers(compiled, dtype=torch.float32)
    for rows, length, _, padded in SHAPES[:3]:
        batch = batch_of(rows, length, length, padded=padded)
        if task is Task.language_modelling:
            batch = replace(batch, source=None, source_mask=None)
        else:
            batch = replace(batch, target_in=None)
        if task is Task.classification:
            batch = replace(batch, target_out=batch.target_out[:, 0], num_tokens=rows)
        assert_alike(compiled, written, batch)
    assert counters["stats"]["unique_graphs"] <= 4


@pytest.mark.slow
def test_compiling_changes_no_state_and_a_copy_stands_for_itself() -> None:
    model = model_of(dropout=0.5)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.get_rng_state()
    compile_layers(model, dtype=torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and all(weight.grad is None for weight in model.parameters())
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    twin = copy.deepcopy(model)
    nn.init.zeros_(next(twin.parameters()))
    assert twin.encoder.layers[0].forward.__self__ is twin.encoder.layers[0]  # type: ignore[union-attr]

    graphs = counters["stats"]["unique_graphs"]
    batch = batch_of(4, 5, 6)
    assert batch.source is not None and batch.target_in is not None
    with torch.no_grad():
        expected = model.eval()(batch.source, batch.target_in)
        decoding = model.start(batch.source)
        stepwise = [model.step(batch.target_in[:, [number]], decoding) for number in range(6)]
    torch.testing.assert_close(torch.stack(stepwise, dim=1), expected, rtol=1e-4, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == graphs  # validation and decoding run as written


@pytest.mark.slow
def test_dropout_draws_from_torchs_random_state_alone() -> None:
    probability = 0.3
    model = model_of(Task.classification, dropout=probability)
    compile_layers(model, dtype=torch.float32)
    layer = model.encoder.layers[0]  # type: ignore[union-attr]
    for norm in (layer.self_attention_norm, layer.feed_forward_norm):
        nn.init.zeros_(norm.weight), nn.init.ones_(norm.bias)  # type: ignore[arg-type]
    nn.init.zeros_(layer.feed_forward.narrow.weight)  # type: ignore[union-attr, arg-type]
    nn.init.zeros_(layer.feed_forward.narrow.bias)  # type: ignore[union-attr, arg-type]
    x = torch.zeros(80, 50, 32, requires_grad=True)

    def drawn() -> Tensor:
        """Where the attention's output was dropped: nothing else is added to zero."""
        return layer(x) == 0  # type: ignore[operator, no-any-return]

    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = drawn(), drawn()
    deviation = (probability * (1 - probability) / first.numel()) ** 0.5
    for zeros in (first, second):
        assert abs(zeros.double().mean().item() - probability) < 5 * deviation + 1 / 256
    both = (first & second).double().mean().item()
    assert abs(both - first.double().mean().item() * second.double().mean().item()) < 5 * deviation
    torch.set_rng_state(state)
    assert torch.equal(drawn(), first) and torch.equal(drawn(), second)


@pytest.mark.slow
def test_graphs_are_the_same_whichever_batch_comes_first() -> None:
    """A run that goes on elsewhere in the data has the same numbers, bit for bit."""
    batches = [batch_of(rows, source, target, padded=padded) for rows, source, target, padded in SHAPES]
    results = []
    for order in (batches, batches[::-1]):
        torch.compiler.reset()
        step = build_step(TrainingConfig(compile=True), model_of(dropout=0.1), dtype=torch.float32)
        sums = IntervalSums(CPU)
        initial = {name: weight.clone() for name, weight in step.objective.state_dict().items()}
        for batch in order:  # the first batches decide nothing ...
            step([batch], rate=1e-3, sums=sums)
        step.objective.load_state_dict(initial)
        step.optimizer.state.clear()
        torch.manual_seed(5)
        for batch in batches:  # ... about these
            step([batch, batch], rate=1e-3, sums=sums)
        results.append(step.objective.state_dict())
    for name, weight in results[0].items():
        assert torch.equal(weight, results[1][name]), name


@pytest.mark.parametrize("missing", ["compiler", "gpu"])
def test_where_nothing_can_be_compiled_one_sentence_says_so(missing: str, tmp_path: Path) -> None:
    if missing == "gpu":
        with pytest.raises(ConfigError, match=r"^training.compile=true is for device=cpu and cuda, not mps; leave it"):
            check_compiler(torch.device("mps"))
        return
    words = ["data.train=sample", "data.valid=sample", f"run_dir={tmp_path / 'run'}", "device=cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "seq2seq.train", *words, "training.compile=true"],
        env={"PATH": str(tmp_path), "CXX": str(tmp_path / "none"), "HOME": str(tmp_path)},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert "training.compile=true does not work on this machine" in line and "leave training.compile out" in line
    assert not (tmp_path / "run" / "last").exists()

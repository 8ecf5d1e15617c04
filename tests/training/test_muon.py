import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils._python_dispatch import TorchDispatchMode

from seq2seq.config import FeedForward, ModelConfig, OptimizerKind, Positions, Task, TiedEmbeddings, TrainingConfig
from seq2seq.errors import ConfigError
from seq2seq.model.build import build_model
from seq2seq.training import muon
from seq2seq.training.muon import SMALLEST, Coefficients, Muon, matrices_of, minimax, orthogonalised
from seq2seq.training.optimizer import build_optimizer
from seq2seq.training.step import OptimizerStep

JORDAN: Coefficients = [(3.4445, -4.7750, 2.0315)] * 5
"""Of Jordan et al. 2024."""
STEPS = sorted(SMALLEST)


def matrix(rows: int, columns: int, singular: Tensor | None = None, seed: int = 0) -> Tensor:
    """A random matrix in float64, with these singular values if they are given."""
    made = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    if singular is None:
        return made
    left, _, right = torch.linalg.svd(made, full_matrices=False)
    return left * singular @ right


def polar(made: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(made, full_matrices=False)
    return left @ right


def iterated(values: Tensor, coefficients: Coefficients) -> Tensor:
    for a, b, c in coefficients:
        values = a * values + b * values**3 + c * values**5
    return values


# ------------------------------------------------------------ the iteration


@pytest.mark.parametrize("coefficients", [JORDAN, *map(minimax, STEPS)], ids=["Jordan", *map(str, STEPS)])
@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (5, 9), (9, 5)])
def test_each_singular_value_goes_its_own_way(coefficients: Coefficients, rows: int, columns: int) -> None:
    """By the singular value decomposition: its vectors stay, and the polynomials act on the values alone."""
    made = torch.stack([matrix(rows, columns, seed=seed) for seed in range(3)])
    for one, found in zip(made, orthogonalised(made, coefficients), strict=True):
        left, values, right = torch.linalg.svd(one, full_matrices=False)
        start = values / values.pow(4).sum() ** 0.25
        torch.testing.assert_close(found, left * iterated(start, coefficients) @ right, rtol=1e-9, atol=1e-10)


def test_jordans_coefficients_give_torchs_orthogonalisation() -> None:
    """torch.optim.Muon's iteration, here in float64 and from the same start."""
    made = matrix(7, 10)
    x = made / torch.linalg.svdvals(made).pow(4).sum() ** 0.25
    for a, b, c in JORDAN:
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    torch.testing.assert_close(orthogonalised(made[None], JORDAN)[0], x, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("steps", STEPS)
def test_minimax_brings_its_interval_to_between_0_7_and_1_3(steps: int) -> None:
    found = iterated(torch.linspace(SMALLEST[steps], 1.05, 100_001, dtype=torch.float64), minimax(steps))
    assert found.min() == pytest.approx(0.7, abs=2e-3) and found.max() < 1.302
    below = iterated(torch.logspace(-6, 0, 1000, dtype=torch.float64) * SMALLEST[steps], minimax(steps))
    assert below.min() > 0 and below.max() < 1.3


def test_four_minimax_steps_raise_small_values_like_five_of_jordans() -> None:
    values = torch.logspace(-6, 0, 1000, dtype=torch.float64) * 0.002
    ratio = iterated(values, minimax(4)) / iterated(values, JORDAN)
    assert ratio.min() > 0.55 and ratio.max() < 1.1


@pytest.mark.parametrize("shape", [(8, 8), (6, 13)], ids=str)
def test_nearly_the_polar_factor(shape: tuple[int, int]) -> None:
    made = matrix(*shape, torch.linspace(0.2, 1, min(shape), dtype=torch.float64))
    (found,) = orthogonalised(made[None], minimax(4))
    expected = polar(made)
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.97
    assert (torch.linalg.svdvals(found) - 1).abs().max() < 0.31


@given(
    rank=st.integers(0, 6),
    scale=st.floats(-30, 30),
    steps=st.sampled_from(STEPS),
    number_format=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 99),
)
def test_nothing_explodes(rank: int, scale: float, steps: int, number_format: torch.dtype, seed: int) -> None:
    """Whatever the rank and the size: a single direction is as large as the bound of the largest singular value."""
    made = matrix(6, rank, seed=seed) @ matrix(rank, 11, seed=seed + 1) * 10**scale
    (found,) = orthogonalised(made.to(number_format)[None], minimax(steps))
    assert torch.linalg.matrix_norm(found.double(), ord=2) < 1.4
    if rank == 0:
        assert not found.any()


# ----------------------------------------------------------------- the step


def muon_of(matrices: dict[Tensor, Sequence[int]], **settings: Any) -> Muon:
    rest = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    defaults = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1, "update_size": 0.2, "steps": 4}
    return Muon(matrices, rest, **(defaults | settings))


def take_steps(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], count: int = 3) -> None:
    for number in range(count):
        for index, parameter in enumerate(parameters):
            rows, columns = parameter.shape
            parameter.grad = matrix(rows, columns, seed=100 * number + index).to(parameter.dtype)
        optimizer.step()


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3)], ids=str)
def test_a_step_is_torchs(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Momentum, its look ahead, decay of the weights and size of the update, around exact orthogonalisation."""
    monkeypatch.setattr(muon, "orthogonalised", lambda stacked, _: polar(stacked))
    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", lambda gradient, *_: polar(gradient))
    ours, theirs = (nn.Parameter(matrix(*shape, seed=9)) for _ in range(2))
    take_steps(muon_of({ours: [shape[0]]}), [ours])
    torchs = torch.optim.Muon([theirs], lr=0.02, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    take_steps(torchs, [theirs])
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_matrices_made_in_one_product_are_matrices_of_their_own() -> None:
    sizes = [4, 2, 2]
    fused = nn.Parameter(matrix(8, 4))
    apart = [nn.Parameter(part.clone()) for part in fused.detach().split(sizes)]  # type: ignore[no-untyped-call]
    together, separate = muon_of({fused: sizes}), muon_of({part: [part.shape[0]] for part in apart})
    for seed in range(3):
        fused.grad = matrix(8, 4, seed=seed)
        for part, gradient in zip(apart, torch.split(fused.grad, sizes), strict=True):
            part.grad = gradient.clone()
        together.step()
        separate.step()
    torch.testing.assert_close(fused, torch.cat(apart), rtol=1e-12, atol=1e-12)


def test_an_update_does_not_depend_on_what_else_is_updated() -> None:
    shapes = [(4, 4), (3, 7), (7, 3), (4, 4), (2, 7)]
    among = [nn.Parameter(matrix(*shape, seed=seed)) for seed, shape in enumerate(shapes)]
    take_steps(muon_of({one: [one.shape[0]] for one in among}), among)
    for seed, shape in enumerate(shapes):
        alone = nn.Parameter(matrix(*shape, seed=seed))
        optimizer = muon_of({alone: [shape[0]]})
        for number in range(3):
            alone.grad = matrix(*shape, seed=100 * number + seed)
            optimizer.step()
        torch.testing.assert_close(alone, among[seed], rtol=1e-12, atol=1e-12)


def test_a_standing_matrix_is_a_lying_one_turned() -> None:
    lying, standing = nn.Parameter(matrix(3, 8)), nn.Parameter(matrix(3, 8).T.contiguous())
    for parameter in (lying, standing):
        optimizer = muon_of({parameter: [parameter.shape[0]]})
        for seed in range(3):
            gradient = matrix(3, 8, seed=seed)
            parameter.grad = gradient if parameter is lying else gradient.T
            optimizer.step()
    torch.testing.assert_close(lying, standing.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [0.2, 0.6])
def test_updates_are_as_large_as_asked_for(size: float) -> None:
    """The root mean square of the change, over the learning rate."""
    weight = nn.Parameter(torch.zeros(24, 60))
    take_steps(muon_of({weight: [24]}, lr=1e-3, update_size=size), [weight], count=1)
    assert float(weight.detach().square().mean().sqrt()) / 1e-3 == pytest.approx(size, rel=0.3)  # of [0.7, 1.3]


def test_without_a_gradient_nothing_changes() -> None:
    with_one, without = nn.Parameter(matrix(3, 3)), nn.Parameter(matrix(3, 3))
    optimizer = muon_of({with_one: [3], without: [3]})
    take_steps(optimizer, [with_one])
    torch.testing.assert_close(without.detach(), matrix(3, 3), rtol=0, atol=0)
    assert not torch.equal(with_one.detach(), matrix(3, 3)) and without not in optimizer.state


# --------------------------------------------------------------- real models


def model_of(task: Task = Task.translation, **settings: Any) -> nn.Module:
    shape: dict[str, Any] = {"encoder_layers": 1, "decoder_layers": 1, "dim": 16, "num_heads": 4, "num_kv_heads": 2}
    shape |= {"feed_forward_dim": 24, "feed_forward": FeedForward.swiglu, "positions": Positions.rotary}
    torch.manual_seed(1)
    config = ModelConfig(**(shape | settings))
    return build_model(config, task=task, source_vocab_size=30, target_vocab_size=30)


def test_which_weights_are_matrices_of_layers() -> None:
    model = model_of(tied_embeddings=TiedEmbeddings.none)
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert {names[parameter]: sizes for parameter, sizes in matrices_of(model).items()} == {  # type: ignore[index]
        "encoder.layers.0.self_attention.query_key_value.weight": [16, 8, 8],
        "encoder.layers.0.self_attention.output.weight": [16],
        "encoder.layers.0.feed_forward.gate_widen.weight": [24, 24],
        "encoder.layers.0.feed_forward.narrow.weight": [16],
        "decoder.layers.0.self_attention.query_key_value.weight": [16, 8, 8],
        "decoder.layers.0.self_attention.output.weight": [16],
        "decoder.layers.0.cross_attention.query.weight": [16],
        "decoder.layers.0.cross_attention.key_value.weight": [8, 8],
        "decoder.layers.0.cross_attention.output.weight": [16],
        "decoder.layers.0.feed_forward.gate_widen.weight": [24, 24],
        "decoder.layers.0.feed_forward.narrow.weight": [16],
    }


@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize("tied", TiedEmbeddings)
def test_every_parameter_has_one_optimiser(task: Task, tied: TiedEmbeddings) -> None:
    layers = {
        Task.language_modelling: {"encoder_layers": 0},
        Task.classification: {"decoder_layers": 0},
        Task.tagging: {"decoder_layers": 0},
    }.get(task, {})
    model = model_of(task, tied_embeddings=tied, feed_forward=FeedForward.relu, **layers)
    optimizer = build_optimizer(TrainingConfig(optimizer=OptimizerKind.muon, weight_decay=0.1), model)
    assert isinstance(optimizer, Muon)
    grouped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len(set(map(id, grouped))) and set(grouped) == set(model.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # the loop sets the rate of every group
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_a_loss_scale_and_gradients_that_overflowed() -> None:
    """As in float16 training on a GPU: scaled gradients make the same step, infinite ones make none."""
    plain, scaled = model_of(), model_of()
    optimizers = [
        build_optimizer(TrainingConfig(optimizer=OptimizerKind.muon, learning_rate=0.01), model)
        for model in (plain, scaled)
    ]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for number in range(3):
        for model, factor in ((plain, 1.0), (scaled, 1024.0)):
            for index, parameter in enumerate(model.parameters()):
                generator = torch.Generator().manual_seed(100 * number + index)
                parameter.grad = factor * torch.randn(parameter.shape, generator=generator)
        optimizers[0].step()
        scaler.scale(torch.zeros(()))  # makes the scale a tensor, as the loss does
        scaler.unscale_(optimizers[1])
        scaler.step(optimizers[1])
        scaler.update()
    for one, other in zip(plain.parameters(), scaled.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    before = [parameter.detach().clone() for parameter in scaled.parameters()]
    for parameter in scaled.parameters():
        parameter.grad = torch.full_like(parameter, torch.inf)
    scaler.unscale_(optimizers[1])
    scaler.step(optimizers[1])
    assert all(torch.equal(one, other) for one, other in zip(before, scaled.parameters(), strict=True))


class NothingIsRead(TorchDispatchMode):
    """Refuses whatever reads a number of a tensor: on a GPU it would wait for all work given out before."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a number was read"
        return func(*args, **(kwargs or {}))


def give_gradients(model: nn.Module, number: int, factor: float = 1.0) -> None:
    for index, parameter in enumerate(model.parameters()):
        generator = torch.Generator().manual_seed(100 * number + index)
        parameter.grad = factor * torch.randn(parameter.shape, generator=generator)


def test_steps_are_left_out_without_waiting_to_know_which() -> None:
    """By found_inf, as on a GPU: the numbers, bit for bit, of leaving them out on the host."""
    asked, told = model_of(), model_of()
    config = TrainingConfig(optimizer=OptimizerKind.muon, learning_rate=0.01, weight_decay=0.1)
    optimizers = build_optimizer(config, asked), build_optimizer(config, told)
    assert isinstance(optimizers[1], Muon) and not optimizers[1]._step_supports_amp_scaling  # of a CPU
    for number, bad in enumerate([None, 0.0, math.nan, math.inf, None]):  # 0: no matter why a step is to be left out
        if bad is None:
            give_gradients(asked, number)
            optimizers[0].step()
        give_gradients(told, number, 1.0 if bad is None else bad)
        optimizers[1].found_inf = torch.tensor(float(bad is not None))
        with NothingIsRead():
            optimizers[1].step()
        for one, other in zip(asked.parameters(), told.parameters(), strict=True):
            assert torch.equal(one, other)
            for name, value in optimizers[0].state[one].items():
                assert torch.equal(value, optimizers[1].state[other][name])


def test_a_training_step_hands_over_what_it_does_not_know() -> None:
    model = model_of()
    optimizer = build_optimizer(TrainingConfig(optimizer=OptimizerKind.muon), model)
    assert isinstance(optimizer, Muon)
    optimizer._step_supports_amp_scaling = True  # as on a GPU
    step = OptimizerStep(model, optimizer, clip_norm=1.0, device=torch.device("cpu"), dtype=torch.float32)
    for number, skipped in enumerate([False, True]):
        before = [parameter.detach().clone() for parameter in model.parameters()]
        give_gradients(model, number)
        with NothingIsRead():
            step._update(torch.tensor(skipped))
        same = [torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True)]
        assert all(same) if skipped else not any(same)


def test_the_first_step_may_be_left_out() -> None:
    model, fresh = model_of(), model_of()
    optimizer = build_optimizer(TrainingConfig(optimizer=OptimizerKind.muon, weight_decay=0.1), model)
    give_gradients(model, 0, math.nan)
    optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
    optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), fresh.parameters(), strict=True))
    assert not any(value.any() for state in optimizer.state.values() for value in state.values())


def test_a_gradient_scaler_may_leave_everything_to_the_step() -> None:
    """torch's GradScaler.step without unscale_ before, as with an optimiser on a GPU: it hands over the scale."""
    plain, scaled = model_of(), model_of()
    config = TrainingConfig(optimizer=OptimizerKind.muon, learning_rate=0.01)
    optimizers = build_optimizer(config, plain), build_optimizer(config, scaled)
    assert isinstance(optimizers[1], Muon)
    optimizers[1]._step_supports_amp_scaling = True
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.zeros(()))  # makes the scale a tensor, as the loss does
    for number, factor in enumerate([1024.0, math.inf, 1024.0]):
        give_gradients(scaled, number, factor)
        scaler.step(optimizers[1])
        scaler.update(1024.0)
        if factor != math.inf:
            give_gradients(plain, number)
            optimizers[0].step()
    for one, other in zip(plain.parameters(), scaled.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_torchs_own_state_dict_goes_on_too() -> None:
    whole, cut = model_of(), model_of()
    config = TrainingConfig(optimizer=OptimizerKind.muon)

    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, numbers: range) -> None:
        for number in numbers:
            for index, parameter in enumerate(model.parameters()):
                generator = torch.Generator().manual_seed(100 * number + index)
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()

    steps(whole, build_optimizer(config, whole), range(4))
    first = build_optimizer(config, cut)
    steps(cut, first, range(2))
    second = build_optimizer(config, cut)
    second.load_state_dict(first.state_dict())
    steps(cut, second, range(2, 4))
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        assert torch.equal(one, other)


def test_matrices_in_parts_are_refused(tmp_path: Path) -> None:
    model = model_of()
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(ConfigError, match="training.optimizer=muon needs every matrix whole in every process"):
            build_optimizer(TrainingConfig(optimizer=OptimizerKind.muon), model)
        build_optimizer(TrainingConfig(), model)
    finally:
        torch.distributed.destroy_process_group()

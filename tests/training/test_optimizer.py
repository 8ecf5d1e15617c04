from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seq2seq.config import OptimizerKind, TrainingConfig
from seq2seq.errors import CheckpointError
from seq2seq.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors

VOCAB, DIM = 9, 4


class Tiny(nn.Module):
    """An embedding, tied to the head, a norm, a layer with bias and a free-standing vector."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, DIM)
        self.layer = nn.Linear(DIM, DIM)
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, VOCAB, bias=False)
        self.head.weight = self.embedding.weight
        self.scale = nn.Parameter(torch.ones(DIM))

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.layer(self.embedding(ids))) * self.scale)
        return logits


def model_of(seed: int = 3) -> Tiny:
    torch.manual_seed(seed)
    return Tiny()


def take_steps(model: Tiny, optimizer: torch.optim.Optimizer, numbers: range) -> None:
    for number in numbers:
        ids = torch.randint(VOCAB, (5,), generator=torch.Generator().manual_seed(number))
        nn.functional.cross_entropy(model(ids), ids.flip(0)).backward()
        optimizer.step()
        optimizer.zero_grad()


def names_by_decay(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[float, set[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[float, set[str]] = {}
    for group in optimizer.param_groups:
        found.setdefault(group["weight_decay"], set()).update(names[id(one)] for one in group["params"])
    return found


def test_only_matrices_of_layers_decay() -> None:
    model = model_of()
    optimizer = build_optimizer(TrainingConfig(weight_decay=0.1), model)
    assert names_by_decay(model, optimizer) == {
        0.1: {"layer.weight"},
        0.0: {"embedding.weight", "layer.bias", "norm.weight", "norm.bias", "scale"},
    }


def test_a_model_without_matrices_or_without_vectors() -> None:
    for model in (nn.LayerNorm(4), nn.Linear(4, 4, bias=False)):
        assert len(build_optimizer(TrainingConfig(), model).param_groups) == 1


def test_settings_arrive() -> None:
    config = TrainingConfig(learning_rate=0.5, beta1=0.8, beta2=0.7, epsilon=1e-5)
    for group in build_optimizer(config, model_of()).param_groups:
        assert (group["lr"], group["betas"], group["eps"], group["fused"]) == (0.5, (0.8, 0.7), 1e-5, True)


def test_steps_equal_plain_adamw() -> None:
    ours, theirs = model_of(), model_of()
    config = TrainingConfig(learning_rate=1e-2, weight_decay=0.3, beta1=0.85, beta2=0.95, epsilon=1e-7)
    decayed = [theirs.layer.weight]
    others = [one for one in theirs.parameters() if one is not theirs.layer.weight]
    plain = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}],
        lr=1e-2, betas=(0.85, 0.95), eps=1e-7, fused=False, foreach=False,
    )  # fmt: skip
    take_steps(ours, build_optimizer(config, ours), range(5))
    take_steps(theirs, plain, range(5))
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def test_state_by_name_is_plain_tensors() -> None:
    model = model_of()
    optimizer = build_optimizer(TrainingConfig(), model)
    assert optimizer_tensors(optimizer, model) == {}
    take_steps(model, optimizer, range(1))
    tensors = optimizer_tensors(optimizer, model)
    names = [name for name, _ in model.named_parameters()]
    assert tensors.keys() == {f"{name}/{key}" for name in names for key in ("step", "exp_avg", "exp_avg_sq")}


@pytest.mark.parametrize("kind", OptimizerKind)
def test_10_steps_are_5_saved_loaded_and_5_more(kind: OptimizerKind) -> None:
    config = TrainingConfig(learning_rate=1e-2, weight_decay=0.1, optimizer=kind)
    whole = model_of()
    take_steps(whole, build_optimizer(config, whole), range(10))

    first = model_of()
    optimizer = build_optimizer(config, first)
    take_steps(first, optimizer, range(5))
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer, first).items()}
    second = model_of(seed=99)
    second.load_state_dict(first.state_dict())
    optimizer = build_optimizer(config, second)
    load_optimizer_tensors(optimizer, second, saved, origin="here")
    assert all(torch.equal(saved[name], one) for name, one in optimizer_tensors(optimizer, second).items())
    take_steps(second, optimizer, range(5, 10))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name  # bit for bit


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda tensors: tensors.pop("layer.bias/exp_avg"), "holds no optimiser state for layer.bias, or only a part"),
        (lambda tensors: tensors.clear(), "holds no optimiser state for scale"),
        (lambda tensors: tensors.update({"scale/exp_avg_sq": torch.ones(DIM + 1)}), "exp_avg_sq of scale has another"),
    ],
)
def test_state_that_does_not_fit(damage: Callable[[dict[str, Tensor]], None], words: str) -> None:
    model = model_of()
    optimizer = build_optimizer(TrainingConfig(), model)
    take_steps(model, optimizer, range(1))
    tensors = optimizer_tensors(optimizer, model)
    damage(tensors)
    with pytest.raises(CheckpointError, match=f"runs/x/last: .*{words}"):
        load_optimizer_tensors(optimizer, model, tensors, origin="runs/x/last")


def test_muon_keeps_momentum_for_matrices_and_takes_no_state_of_adamw() -> None:
    muon, adamw = model_of(), model_of()
    config = TrainingConfig(optimizer=OptimizerKind.muon)
    optimizer, other = build_optimizer(config, muon), build_optimizer(TrainingConfig(), adamw)
    take_steps(muon, optimizer, range(1))
    take_steps(adamw, other, range(1))
    tensors = optimizer_tensors(optimizer, muon)
    names = [name for name, _ in muon.named_parameters() if name != "layer.weight"]
    assert tensors.keys() == {"layer.weight/momentum"} | {
        f"{name}/{key}" for name in names for key in ("step", "exp_avg", "exp_avg_sq")
    }
    for one, model, state in ((optimizer, muon, optimizer_tensors(other, adamw)), (other, adamw, tensors)):
        with pytest.raises(CheckpointError, match="no optimiser state for layer.weight, or only a part"):
            load_optimizer_tensors(one, model, state, origin="runs/x/last")

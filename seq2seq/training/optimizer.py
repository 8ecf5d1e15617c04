"""AdamW with weight decay where it belongs, or Muon, and their state by parameter name."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seq2seq.config import OptimizerKind, TrainingConfig
from seq2seq.errors import CheckpointError, ConfigError
from seq2seq.model.positions import Learned
from seq2seq.training.muon import Muon, matrices_of


def build_optimizer(config: TrainingConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of all parameters of a model.

    Weight decay is for the matrices of the layers: norms, biases and embeddings are left alone.

    Raises:
        ConfigError: Muon is to have matrices of which each process holds a part.
    """
    if config.optimizer is OptimizerKind.adamw:
        return _adamw(config, model, list(model.parameters()))
    from torch.distributed.tensor import DTensor  # half a second that runs of AdamW need not wait

    matrices = matrices_of(model)
    if any(isinstance(matrix, DTensor) for matrix in matrices):
        raise ConfigError(
            "training.optimizer=muon needs every matrix whole in every process, and training.parallel=fsdp cuts them; "
            "set training.parallel=ddp or training.optimizer=adamw."
        )
    return Muon(
        matrices,
        _adamw(config, model, [parameter for parameter in model.parameters() if parameter not in matrices]),
        lr=config.learning_rate,
        momentum=config.muon_momentum,
        weight_decay=config.weight_decay,
        update_size=config.muon_update_size,
        steps=config.muon_steps,
    )


def _adamw(config: TrainingConfig, model: nn.Module, parameters: list[nn.Parameter]) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) of some parameters of a model, one fused kernel for all of them."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding | Learned)}
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in parameters:
        matrix = parameter.dim() >= 2 and id(parameter) not in embeddings
        (decayed if matrix else others).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    fused = {parameter.device.type for parameter in parameters} <= {"cpu", "cuda"}
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=fused,
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Every tensor of the optimiser's state as `parameter name/state name`."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor], *, origin: str
) -> None:
    """The inverse of `optimizer_tensors`.

    Raises:
        CheckpointError: a parameter's state is not there or has another shape.
    """
    for name, parameter in model.named_parameters():
        state = {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
        muon = isinstance(optimizer, Muon) and parameter in optimizer.matrices
        if state.keys() != ({"momentum"} if muon else {"step", "exp_avg", "exp_avg_sq"}):
            raise CheckpointError(
                f"{origin}: holds no optimiser state for {name}, or only a part of it; use another checkpoint."
            )
        for key, value in state.items():
            if value.dim() and value.shape != parameter.shape:
                raise CheckpointError(f"{origin}: the optimiser's {key} of {name} has another shape; use another one.")
        # step counters stay where the fused kernel wants them: beside the parameter
        optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in state.items()}

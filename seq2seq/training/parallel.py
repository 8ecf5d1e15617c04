"""One objective on several ranks: whole on each (DDP), or cut into shards (FSDP2).

Both average gradients over the ranks, and both exchange them only when told to. What FSDP needs takes more than half a
second to import, so only a run that uses it does; elsewhere its tensors and modules are told by what they can do.
"""

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from seq2seq.config import Parallel
from seq2seq.model.layers import DecoderLayer, EncoderLayer
from seq2seq.training.distributed import Ranks
from seq2seq.training.objective import Objective


def parallelised(objective: Objective, kind: Parallel, ranks: Ranks) -> nn.Module:
    """The module to call in the objective's place; the objective itself on one rank."""
    if ranks.world_size == 1:
        return objective
    if kind is Parallel.ddp:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the argument's new name is not known to torch 2.9
            # Buffers are tables of positions, which grow with the longest sentence that a rank has seen.
            return DistributedDataParallel(objective, broadcast_buffers=False, gradient_as_bucket_view=True)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(ranks.device.type, (ranks.world_size,))  # else a GPU is taken where there is one
    for module in objective.modules():
        if isinstance(module, EncoderLayer | DecoderLayer):
            fully_shard(module, mesh=mesh)
    # Embeddings and head, which may share a weight, stay one group: it is whole for the length of the forward pass.
    fully_shard(objective, mesh=mesh)
    return objective


def exchange(module: Any, *, now: bool) -> contextlib.AbstractContextManager[object]:
    """While entered, a backward pass exchanges gradients between the ranks, or keeps them for a later one."""
    if isinstance(module, DistributedDataParallel) and not now:
        return module.no_sync()
    if hasattr(module, "set_requires_gradient_sync"):  # FSDP's
        module.set_requires_gradient_sync(now)
    return contextlib.nullcontext()


def shard(tensor: Any) -> Tensor:
    """This rank's part of a tensor; all of one that is whole."""
    part: Tensor = tensor.to_local() if is_sharded(tensor) else tensor
    return part


def whole(tensor: Any) -> Tensor:
    """All of a tensor; a meeting of the ranks where it is in shards."""
    complete: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return complete


def is_sharded(tensor: Tensor) -> bool:
    """Whether this rank holds only a part of it."""
    return hasattr(tensor, "full_tensor")  # a DTensor's


def gathered(tensors: Mapping[str, Tensor], *, keep: bool = True) -> dict[str, Tensor]:
    """Whole tensors by name; a meeting of the ranks. Those that do not `keep` them get none and need no memory."""
    found = {}
    for name, tensor in tensors.items():
        complete = whole(tensor)
        if keep:
            found[name] = complete
    return found


def laid_out(tensor: Tensor, like: Any) -> Tensor:
    """A whole tensor, the same on every rank, on the device and in the shards of another; scalars are never cut."""
    tensor = tensor.to(like.device)
    if not is_sharded(like) or not tensor.dim():
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def all_finite(tensors: Mapping[str, Tensor], ranks: Ranks) -> bool:
    """Whether every number is one, on every rank; a meeting of the ranks."""
    finite = torch.stack([shard(tensor).isfinite().all() for tensor in tensors.values()]).all()
    return not ranks.largest(not bool(finite))

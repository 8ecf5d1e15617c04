"""A model beside itself: other modules over the same weights, so that one is watched while others run as ever."""

import copy
from typing import Any, TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def twin(module: ModuleT) -> ModuleT:
    """Other modules over the same weights, buffers and hooks.

    What is set on a module of the twin, such as `MultiHeadAttention.watch`, is not set on the module itself; so each
    thread may have a twin of its own and watch that. A step of the twin shows what is watched where the twin made the
    state too: a state knows the layers of its maker (see DecodingState).

    Args:
        module: with all that is in it; unchanged.
    """
    others: dict[nn.Module, Any] = {one: copy.copy(one) for one in module.modules()}
    for one, other in others.items():
        other._modules = {name: None if child is None else others[child] for name, child in one._modules.items()}
    found: ModuleT = others[module]
    return found

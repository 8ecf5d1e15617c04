"""Other linear layers in the place of a model's own."""

from collections.abc import Callable

from torch import nn


def replace_linear_layers(model: nn.Module, make: Callable[[nn.Module, nn.Linear], nn.Module]) -> None:
    """Put something in the place of every linear layer, however deep; what is not exactly nn.Linear stays.

    Args:
        model: is changed.
        make: (the module that has the layer as a child, the layer) -> what takes its place.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, make(parent, child))

"""Every linear layer is replaced, and its parent is told."""

from torch import nn

from seq2seq.model.replacing import replace_linear_layers


def test_linear_layers_however_deep_and_nothing_else() -> None:
    class Special(nn.Linear):
        pass

    inner, special = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), Special(4, 4)
    model = nn.Sequential(inner, special, nn.Linear(4, 2))
    parents = {}

    def make(parent: nn.Module, layer: nn.Linear) -> nn.Module:
        parents[layer.out_features, layer.in_features] = parent
        return nn.Identity()

    replace_linear_layers(model, make)
    assert parents == {(4, 3): inner, (2, 4): model}
    assert [type(module) for module in (*inner, *model)] == [nn.Identity, nn.ReLU, nn.Sequential, Special, nn.Identity]

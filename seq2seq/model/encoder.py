"""A stack of encoder layers with its positions."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from seq2seq.model.dropout import Dropout
from seq2seq.model.layers import EncoderLayer, LayerSpec
from seq2seq.model.masks import padding_mask, self_attention_mask
from seq2seq.model.positions import POSITIONS, Positions

WINDOW_LAYERS = ("all", "alternate")


def layer_windows(num_layers: int, window: int | None, window_layers: str) -> list[int | None]:
    """The window of each layer: all local, or with "alternate" layers 0, 2, 4, ... local and the others global."""
    if window_layers not in WINDOW_LAYERS:
        raise ValueError(f"window_layers ({window_layers}) must be one of {', '.join(WINDOW_LAYERS)}")
    return [window if window_layers == "all" or number % 2 == 0 else None for number in range(num_layers)]


def make_positions(kind: str | None, spec: LayerSpec, max_length: int) -> Positions:
    """Positions of a kind (a key of POSITIONS, or None for none) that fit the layers."""
    if kind is not None and kind not in POSITIONS:
        raise ValueError(f"positions ({kind}) must be one of {', '.join(POSITIONS)}")
    made = Positions if kind is None else POSITIONS[kind]
    return made(spec.dim, num_heads=spec.num_heads, max_length=max_length)


class Encoder(nn.Module):
    """Layers in which every position sees every other (Vaswani et al. 2017, section 3.1).

    Args:
        spec: shape of each layer.
        num_layers: how many.
        positions: a key of POSITIONS; None gives none.
        max_length: positions to prepare for; a learned table holds no more.
        window: self-attention sees this many positions each side; None sees all.
        window_layers: "all" layers are local, or only 0, 2, 4, ... ("alternate").
        dropout: on the sum of embeddings and positions, in [0, 1).
    """

    def __init__(
        self,
        spec: LayerSpec,
        *,
        num_layers: int,
        positions: str | None = None,
        max_length: int = 1024,
        window: int | None = None,
        window_layers: str = "all",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.positions = make_positions(positions, spec, max_length)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(spec) for _ in range(num_layers))
        self.final_norm = spec.make_final_norm()
        self.windows = layer_windows(num_layers, window, window_layers)

    def forward(self, x: Tensor, *, source_mask: Tensor | None = None) -> Tensor:
        """Encode embedded tokens.

        Args:
            x: (batch, length, dim)
            source_mask: bool (batch, length), True = a real token; None = no padding.

        Returns:
            (batch, length, dim); what stands at padding means nothing.
        """
        length = x.shape[1]
        x = self.dropout(self.positions(x))
        rotation = self.positions.rotation(length)
        bias = self.positions.bias(length, length)
        padding = padding_mask(source_mask)
        masks = {
            window: self_attention_mask(
                length, length, causal=False, window=window, padding=padding, bias=bias, device=x.device
            )[0]
            for window in set(self.windows)
        }
        for layer, window in zip(self.layers, self.windows, strict=True):
            x = layer(x, attention_mask=masks[window], rotation=rotation)
        result: Tensor = self.final_norm(x)
        return result

    if TYPE_CHECKING:
        __call__ = forward

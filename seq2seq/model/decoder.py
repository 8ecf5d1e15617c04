"""A stack of decoder layers with its positions; a language model's too."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from seq2seq.model.dropout import Dropout
from seq2seq.model.encoder import layer_windows, make_positions
from seq2seq.model.layers import DecoderLayer, LayerSpec
from seq2seq.model.masks import padding_mask, self_attention_mask
from seq2seq.model.state import DecodingState


class Decoder(nn.Module):
    """Layers in which a position sees itself, those before it and, with cross, an encoder's output.

    Vaswani et al. 2017, section 3.1; without cross-attention the language model of Radford et al. 2019.

    Args:
        spec: shape of each layer.
        num_layers: how many.
        cross: whether layers attend to an encoder's output.
        positions: a key of POSITIONS; None gives none.
        max_length: positions to prepare for; a learned table holds no more.
        window: self-attention sees this many positions behind; None sees all.
        window_layers: "all" layers are local, or only 0, 2, 4, ... ("alternate").
        dropout: on the sum of embeddings and positions, in [0, 1).
    """

    def __init__(
        self,
        spec: LayerSpec,
        *,
        num_layers: int,
        cross: bool = True,
        positions: str | None = None,
        max_length: int = 1024,
        window: int | None = None,
        window_layers: str = "all",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.positions = make_positions(positions, spec, max_length)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(DecoderLayer(spec, cross=cross) for _ in range(num_layers))
        self.final_norm = spec.make_final_norm()
        self.windows = layer_windows(num_layers, window, window_layers)
        self.cross = cross

    def forward(self, x: Tensor, memory: Tensor | None = None, *, memory_mask: Tensor | None = None) -> Tensor:
        """Decode all positions at once.

        Args:
            x: embedded tokens (batch, length, dim); padding, if any, is on the right.
            memory: the encoder's output (batch, source_length, dim).
            memory_mask: bool (batch, source_length), True = a real token; None = no padding.

        Returns:
            (batch, length, dim)
        """
        return self._run(x, memory, memory_mask=padding_mask(memory_mask), state=None)

    def start(self, rows: int, memory: Tensor | None = None, *, memory_mask: Tensor | None = None) -> DecodingState:
        """A state that has seen no target token; memory and memory_mask as for forward, with rows for batch."""
        projected = []
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            if layer.cross_attention is not None and memory is not None:
                projected.append(layer.cross_attention.project_memory(memory))
        return DecodingState(rows, num_layers=len(self.layers), memory=projected, memory_mask=padding_mask(memory_mask))

    def step(self, x: Tensor, state: DecodingState) -> Tensor:
        """Decode the positions that follow those in the state, and add them to it.

        Args:
            x: embedded tokens (rows, new_length, dim)
            state: made by `start`.

        Returns:
            (rows, new_length, dim)
        """
        return self._run(x, None, memory_mask=state.memory_mask, state=state)

    def _run(
        self,
        x: Tensor,
        memory: Tensor | None,
        *,
        memory_mask: Tensor | None,
        state: DecodingState | None,
    ) -> Tensor:
        new_length, start = x.shape[1], 0 if state is None else state.length
        x = self.dropout(self.positions(x, start=start))
        rotation = self.positions.rotation(new_length, start=start)
        bias = self.positions.bias(new_length, start + new_length)
        masks = {
            window: self_attention_mask(
                new_length, start + new_length, causal=True, window=window, bias=bias, device=x.device
            )
            for window in set(self.windows)
        }
        if state is not None:
            state.extend(new_length, x.device)
            masks = {window: state.attention_mask(*mask) for window, mask in masks.items()}
        for number, layer in enumerate(self.layers):
            attention_mask, is_causal = masks[self.windows[number]]
            x = layer(
                x,
                state.memory[number] if state is not None and state.memory else memory,
                attention_mask=attention_mask,
                is_causal=is_causal,
                memory_mask=memory_mask,
                rotation=rotation,
                cache=None if state is None else state.caches[number],
            )
        result: Tensor = self.final_norm(x)
        return result

    if TYPE_CHECKING:
        __call__ = forward

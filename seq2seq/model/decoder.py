"""A stack of decoder layers with its positions; a language model's too."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from seq2seq.model.dropout import Dropout
from seq2seq.model.encoder import layer_windows, make_positions
from seq2seq.model.layers import DecoderLayer, LayerSpec
from seq2seq.model.masks import additive, padding_mask, self_attention_mask
from seq2seq.model.positions import Rotation
from seq2seq.model.state import DecodingState
from seq2seq.model.step import LayerStep


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

    def start(
        self,
        rows: int,
        memory: Tensor | None = None,
        *,
        memory_mask: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> DecodingState:
        """A state that has seen no token; memory and memory_mask as for forward, padding as for DecodingState."""
        projected = []
        for layer in self._decoder_layers():
            if layer.cross_attention is not None and memory is not None:
                projected.append(layer.cross_attention.project_memory(memory))
        return DecodingState(
            rows,
            num_layers=len(self.layers),
            memory=projected,
            memory_mask=padding_mask(memory_mask),
            layer_steps=self._layer_steps(),
            padding=padding,
        )

    def step(self, x: Tensor, state: DecodingState) -> Tensor:
        """Decode the positions that follow those in the state, and add them to it.

        Args:
            x: embedded tokens (rows, new_length, dim)
            state: made by `start`.

        Returns:
            (rows, new_length, dim)
        """
        steps = state.layer_steps
        if steps is None or x.shape[1] != 1 or any(step.is_watched for step in steps):
            return self._run(x, None, memory_mask=state.memory_mask, state=state)
        x, rotation, masks = self._before_layers(x, state)
        x = x.squeeze(1)
        biases = {
            window: additive(mask, x.dtype) if mask is not None and mask.dtype == torch.bool else mask
            for window, (mask, _) in masks.items()
        }
        for number, step in enumerate(steps):
            x = step(
                x,
                cache=state.caches[number],
                memory=state.memory[number] if state.memory else None,
                memory_bias=state.memory_bias,
                attention_mask=biases[self.windows[number]],
                rotation=rotation,
            )
        result: Tensor = self.final_norm(x)
        return result.unsqueeze(1)

    def _layer_steps(self) -> list[LayerStep] | None:
        """The quick way to a single token; None where modules are trained, or hooks wait for their calls."""
        hooked = any(module._forward_hooks or module._forward_pre_hooks for module in self.modules())
        return None if self.training or hooked else [LayerStep(layer) for layer in self._decoder_layers()]

    def _decoder_layers(self) -> Iterator[DecoderLayer]:
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            yield layer

    def _run(
        self,
        x: Tensor,
        memory: Tensor | None,
        *,
        memory_mask: Tensor | None,
        state: DecodingState | None,
    ) -> Tensor:
        x, rotation, masks = self._before_layers(x, state)
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

    def _before_layers(
        self, x: Tensor, state: DecodingState | None
    ) -> tuple[Tensor, Rotation | None, dict[int | None, tuple[Tensor | None, bool]]]:
        """What the first layer gets, how its positions are turned, and the mask and causal flag of each window."""
        new_length, start = x.shape[1], 0 if state is None else state.length
        padding = None if state is None else state.row_padding
        x = self.dropout(self.positions(x, start=start, padding=padding))
        rotation = self.positions.rotation(new_length, start=start, padding=padding)
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
        return x, rotation, masks

    if TYPE_CHECKING:
        __call__ = forward

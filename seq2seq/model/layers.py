"""One encoder layer and one decoder layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.dropout import Dropout
from seq2seq.model.feed_forward import FEED_FORWARDS
from seq2seq.model.norm import NORMS
from seq2seq.model.positions import Rotation
from seq2seq.model.state import KeyValue, KeyValueCache

NORM_PLACEMENTS = ("pre", "post")


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerSpec:
    """Shape of a layer, the same for every layer of a stack.

    Raises:
        ValueError: an unknown kind.
    """

    dim: int
    """Width of the residual stream."""
    num_heads: int
    """Query heads of every attention; dim is a multiple of it."""
    feed_forward_dim: int
    """Inner width of the feed-forward block."""
    num_kv_heads: int | None = None
    """Key/value heads; None means num_heads."""
    feed_forward: str = "relu"
    """A key of FEED_FORWARDS."""
    norm: str = "layer_norm"
    """A key of NORMS."""
    norm_placement: str = "pre"
    """pre: before each sublayer; post: after each residual sum (Vaswani et al. 2017)."""
    bias: bool = True
    """Biases in linear layers and LayerNorm."""
    dropout: float = 0.0
    """On each sublayer's output, before the residual sum."""
    attention_dropout: float = 0.0
    """On attention weights."""
    activation_dropout: float = 0.0
    """Inside the feed-forward block."""

    def __post_init__(self) -> None:
        for name, kinds in (
            ("feed_forward", FEED_FORWARDS),
            ("norm", NORMS),
            ("norm_placement", NORM_PLACEMENTS),
        ):
            if getattr(self, name) not in kinds:
                raise ValueError(f"{name} ({getattr(self, name)}) must be one of {', '.join(kinds)}")

    def make_norm(self) -> nn.Module:
        """A norm of this kind."""
        return NORMS[self.norm](self.dim, bias=self.bias)

    def make_final_norm(self) -> nn.Module:
        """What closes a stack: a norm after pre-norm layers, nothing after post-norm layers, which end in one."""
        return self.make_norm() if self.norm_placement == "pre" else nn.Identity()

    def make_attention(self, *, cross: bool = False) -> MultiHeadAttention:
        """Self- or cross-attention of this shape."""
        return MultiHeadAttention(
            self.dim,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            cross=cross,
            dropout=self.attention_dropout,
            bias=self.bias,
        )

    def make_feed_forward(self) -> nn.Module:
        """Feed-forward block of this shape."""
        return FEED_FORWARDS[self.feed_forward](
            self.dim, self.feed_forward_dim, kind=self.feed_forward, dropout=self.activation_dropout, bias=self.bias
        )


class Residual(nn.Module):
    """Add a sublayer's output, after dropout, to the residual stream, with the norm before or after.

    Args:
        spec: says where the norm goes and how much is dropped.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.pre_norm = spec.norm_placement == "pre"
        self.dropout = Dropout(spec.dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor], norm: nn.Module) -> Tensor:
        """(batch, length, dim) -> (batch, length, dim)."""
        if self.pre_norm:
            return self.dropout(sublayer(norm(x)), x)
        result: Tensor = norm(self.dropout(sublayer(x), x))
        return result

    if TYPE_CHECKING:
        __call__ = forward


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each added to the residual stream (Vaswani et al. 2017, section 3.1).

    Args:
        spec: its shape.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.self_attention_norm = spec.make_norm()
        self.self_attention = spec.make_attention()
        self.feed_forward_norm = spec.make_norm()
        self.feed_forward = spec.make_feed_forward()
        self.residual = Residual(spec)

    def forward(self, x: Tensor, *, attention_mask: Tensor | None = None, rotation: Rotation | None = None) -> Tensor:
        """One layer further.

        Args:
            x: (batch, length, dim)
            attention_mask: see MultiHeadAttention.
            rotation: rotary positions.

        Returns:
            (batch, length, dim)
        """

        def attend_self(x: Tensor) -> Tensor:
            return self.self_attention(x, attention_mask=attention_mask, rotation=rotation)

        x = self.residual(x, attend_self, self.self_attention_norm)
        return self.residual(x, self.feed_forward, self.feed_forward_norm)

    if TYPE_CHECKING:
        __call__ = forward


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention unless in a language model, then feed-forward.

    Args:
        spec: its shape.
        cross: whether it attends to an encoder's output.
    """

    def __init__(self, spec: LayerSpec, *, cross: bool = True) -> None:
        super().__init__()
        self.self_attention_norm = spec.make_norm()
        self.self_attention = spec.make_attention()
        self.cross_attention = spec.make_attention(cross=True) if cross else None
        self.cross_attention_norm = spec.make_norm() if cross else nn.Identity()
        self.feed_forward_norm = spec.make_norm()
        self.feed_forward = spec.make_feed_forward()
        self.residual = Residual(spec)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | KeyValue | None = None,
        *,
        attention_mask: Tensor | None = None,
        is_causal: bool = False,
        memory_mask: Tensor | None = None,
        rotation: Rotation | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """One layer further.

        Args:
            x: (batch, length, dim)
            memory: the encoder's output (sentences, source_length, dim) or its projection; see MultiHeadAttention.
            attention_mask: who sees whom within the target; see MultiHeadAttention.
            is_causal: every position sees itself and those before it; instead of a mask.
            memory_mask: bool (sentences, 1, 1, source_length), True = may attend.
            rotation: rotary positions of x.
            cache: keys and values of earlier positions; those of x are appended.

        Returns:
            (batch, length, dim)
        """

        def attend_self(x: Tensor) -> Tensor:
            return self.self_attention(
                x, attention_mask=attention_mask, is_causal=is_causal, rotation=rotation, cache=cache
            )

        x = self.residual(x, attend_self, self.self_attention_norm)
        if self.cross_attention is not None:
            cross_attention = self.cross_attention

            def attend_memory(x: Tensor) -> Tensor:
                return cross_attention(x, memory, attention_mask=memory_mask)

            x = self.residual(x, attend_memory, self.cross_attention_norm)
        return self.residual(x, self.feed_forward, self.feed_forward_norm)

    if TYPE_CHECKING:
        __call__ = forward

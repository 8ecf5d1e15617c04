"""How a model learns the order of tokens: sinusoidal, learned, rotary, ALiBi.

Every kind answers the same three questions, so that no other file asks which kind it is: what is added to the
embeddings (`forward`), how queries and keys are turned (`rotation`), what is added to the scores (`bias`). The base
class answers "nothing" to all three. Cross-attention gets no position from any kind.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.model.masks import distances


class Rotation(NamedTuple):
    """Cosine and sine of each position's angles, each (length, 1, head_dim); the first half of the sines negative.

    Where rows differ in padding, (batch, length, 1, head_dim).
    """

    cos: Tensor
    sin: Tensor


class Positions(nn.Module):
    """No position at all; the other kinds override what they do.

    Args:
        dim: width of the embeddings.
        num_heads: heads of the query; dim is a multiple of it.
        max_length: positions to prepare for.
    """

    def __init__(self, dim: int, *, num_heads: int, max_length: int) -> None:
        super().__init__()
        self.dim, self.num_heads, self.max_length = dim, num_heads, max_length

    def forward(self, x: Tensor, *, start: int = 0, padding: Tensor | None = None) -> Tensor:
        """Embeddings with their positions added.

        Args:
            x: (batch, length, dim)
            start: position of the first token.
            padding: int64 (batch,), columns of padding before each row's own first token, whose position is 0; None =
                no padding.

        Returns:
            (batch, length, dim)
        """
        return x

    def rotation(self, length: int, *, start: int = 0, padding: Tensor | None = None) -> Rotation | None:
        """By how much queries and keys of `length` tokens from position `start` on are turned; None = not.

        Args:
            length: number of tokens.
            start: as for `forward`.
            padding: as for `forward`.
        """
        return None

    def bias(self, query_length: int, key_length: int) -> Tensor | None:
        """What is added to the scores: (heads, query_length, key_length), or None. The last query is the last key."""
        return None

    if TYPE_CHECKING:
        __call__ = forward


class Sinusoidal(Positions):
    """Fixed waves added to the embeddings (Vaswani et al. 2017, section 3.5), for any length.

    The sines fill the first half of the width and the cosines the second, as in tensor2tensor and Marian (the paper
    interleaves them; the two differ by a permutation of dimensions), so that Marian's weights fit as they are.
    Position p and wave i meet at the angle p / 10000^(2i / dim).

    Raises:
        ValueError: dim is odd.
    """

    table: Tensor

    def __init__(self, dim: int, *, num_heads: int, max_length: int) -> None:
        super().__init__(dim, num_heads=num_heads, max_length=max_length)
        if dim % 2:
            raise ValueError(f"sinusoidal positions need an even dim, not {dim}")
        self.register_buffer("table", self._waves(max_length), persistent=False)

    def _waves(self, length: int) -> Tensor:
        angles = _angles(length, self.dim)
        return torch.cat([angles.sin(), angles.cos()], dim=-1).to(torch.get_default_dtype())

    def forward(self, x: Tensor, *, start: int = 0, padding: Tensor | None = None) -> Tensor:
        """Embeddings (batch, length, dim) plus the waves of positions start, start + 1, ..."""
        end = start + x.shape[1]
        table = self.table  # another thread may put another in its place at any time
        if end > table.shape[0]:
            with torch.inference_mode(False):  # what is kept must serve training too
                table = self.table = self._waves(2 * end).to(table)
        return x + _rows_of(table, start, end, padding)

    if TYPE_CHECKING:
        __call__ = forward


class Learned(Positions):
    """One learned vector for each position, added to the embeddings (Gehring et al. 2017; Radford et al. 2019).

    Raises:
        ValueError: from forward, when a sequence is longer than max_length.
    """

    def __init__(self, dim: int, *, num_heads: int, max_length: int) -> None:
        super().__init__(dim, num_heads=num_heads, max_length=max_length)
        self.weight = nn.Parameter(torch.empty(max_length, dim))
        nn.init.normal_(self.weight, std=dim**-0.5)

    def forward(self, x: Tensor, *, start: int = 0, padding: Tensor | None = None) -> Tensor:
        """Embeddings (batch, length, dim) plus the vectors of positions start, start + 1, ..."""
        end = start + x.shape[1]
        last = end if padding is None or not len(padding) else end - int(padding.min())
        if last > self.max_length:
            raise ValueError(f"{last} positions, but the learned position table holds {self.max_length} (max_length)")
        return x + _rows_of(self.weight, start, end, padding)

    if TYPE_CHECKING:
        __call__ = forward


class Rotary(Positions):
    """Queries and keys turned by an angle that grows with the position (Su et al. 2021, "RoFormer"), for any length.

    Number i of a head is paired with number i + head_dim / 2 (the layout of GPT-NeoX and Llama).

    Raises:
        ValueError: the width of a head is odd.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, dim: int, *, num_heads: int, max_length: int) -> None:
        super().__init__(dim, num_heads=num_heads, max_length=max_length)
        self.head_dim = dim // num_heads
        if self.head_dim % 2:
            raise ValueError(f"rotary positions turn pairs of numbers, but a head has {self.head_dim}")
        cos, sin = self._waves(max_length)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _waves(self, length: int) -> tuple[Tensor, Tensor]:
        angles = _angles(length, self.head_dim)[:, None, :]
        cos = torch.cat([angles.cos(), angles.cos()], dim=-1)
        sin = torch.cat([-angles.sin(), angles.sin()], dim=-1)
        return cos.to(torch.get_default_dtype()), sin.to(torch.get_default_dtype())

    def rotation(self, length: int, *, start: int = 0, padding: Tensor | None = None) -> Rotation:
        """The angles of positions start to start + length - 1."""
        end = start + length
        cos, sin = self.cos, self.sin  # another thread may put others in their place at any time
        if end > min(cos.shape[0], sin.shape[0]):
            with torch.inference_mode(False):  # what is kept must serve training too
                cos, sin = (waves.to(cos) for waves in self._waves(2 * end))
            self.cos, self.sin = cos, sin
        return Rotation(_rows_of(cos, start, end, padding), _rows_of(sin, start, end, padding))


class ALiBi(Positions):
    """Scores lowered in proportion to distance (Press et al. 2022, "Train Short, Test Long"), for any length.

    The slope of a head is a power of two that falls from head to head. Encoders see distance in both directions.
    """

    slopes: Tensor

    def __init__(self, dim: int, *, num_heads: int, max_length: int) -> None:
        super().__init__(dim, num_heads=num_heads, max_length=max_length)
        self.register_buffer("slopes", torch.tensor(alibi_slopes(num_heads)), persistent=False)

    def bias(self, query_length: int, key_length: int) -> Tensor:
        """Minus slope times distance: (heads, query_length, key_length)."""
        distance = distances(query_length, key_length, device=self.slopes.device).abs()
        return -self.slopes[:, None, None] * distance


def alibi_slopes(num_heads: int) -> list[float]:
    """The geometric sequence of Press et al. 2022; other than powers of two fill up from the next one, as they do."""
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-8.0 * (head + 1) / power) for head in range(power)]
    between = [2.0 ** (-4.0 * (head + 1) / power) for head in range(0, 2 * (num_heads - power), 2)]
    return slopes + between


def _rows_of(table: Tensor, start: int, end: int, padding: Tensor | None) -> Tensor:
    """Entries start to end - 1 of a table (positions, ...); with padding (batch,) those of each row.

    These are (batch, length, ...). What stands at padding gets the first entry, which means nothing.
    """
    if padding is None:
        return table[start:end]
    places = torch.arange(start, end, device=table.device) - padding.unsqueeze(1)
    return table[places.clamp(min=0)]


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn each pair of numbers (i, i + head_dim / 2) by its position's angle.

    Args:
        x: (batch, length, heads, head_dim)
        rotation: of `length` positions.

    Returns:
        (batch, length, heads, head_dim), in x's number format.
    """
    cos, sin = rotation
    # (a, b) -> (a cos - b sin, b cos + a sin) in three passes over memory; a half at a time it is seven.
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin).to(x.dtype)


def _angles(length: int, width: int) -> Tensor:
    """Position times frequency, in float64: (length, width / 2)."""
    frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.arange(length, dtype=torch.float64)[:, None] * frequency


POSITIONS: dict[str, type[Positions]] = {
    "sinusoidal": Sinusoidal,
    "learned": Learned,
    "rotary": Rotary,
    "alibi": ALiBi,
}

"""Sizes of the models that are measured, and how many multiply-adds their matrix products take.

Knows neither torch nor seq2seq, so that a contestant of another package can count its work with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

TRAINING_PRODUCTS = 3
"""Products in a training step for each of the forward pass: itself, and the gradients of its two factors."""


@dataclass(frozen=True)
class Shape:
    """Size of a Transformer; 0 decoder layers make it encoder-only, 0 encoder layers decoder-only."""

    encoder_layers: int
    decoder_layers: int
    dim: int
    feed_forward_dim: int
    num_heads: int
    num_kv_heads: int
    outputs: int
    """Columns of the head: the target vocabulary or the labels."""
    gated: bool = False
    """Whether the feed-forward block has three matrices instead of two."""


def plain_shape(layers: int, dim: int, feed_forward_dim: int, num_heads: int, outputs: int = 8000) -> Shape:
    """An encoder-decoder as Vaswani et al. 2017 describe it."""
    return Shape(layers, layers, dim, feed_forward_dim, num_heads, num_heads, outputs)


SHAPES = {
    "small": plain_shape(layers=3, dim=256, feed_forward_dim=1024, num_heads=4),
    "base": plain_shape(layers=6, dim=512, feed_forward_dim=2048, num_heads=8),
}
VOCAB_SIZE = 8000
DROPOUT = 0.1
LABEL_SMOOTHING = 0.1


@dataclass(frozen=True)
class Product:
    """(rows, inner) times (inner, outer), `count` times in a forward pass."""

    rows: str
    """Which rows: source or target positions, or those that predict."""
    inner: int
    outer: int
    count: int


def linear_products(shape: Shape) -> list[Product]:
    """The products with weights of one forward pass; those of query, key and value are one, of a gate and its twin too.

    Embeddings are looked up, so only the head's product with the vocabulary counts.
    """
    dim, inner = shape.dim, shape.feed_forward_dim
    key_value = 2 * (dim // shape.num_heads) * shape.num_kv_heads
    products = []
    for rows, layers in (("source", shape.encoder_layers), ("target", shape.decoder_layers)):
        products += [
            Product(rows, dim, dim + key_value, layers),
            Product(rows, dim, dim, layers),
            Product(rows, dim, inner * (2 if shape.gated else 1), layers),
            Product(rows, inner, dim, layers),
        ]
    if shape.encoder_layers and shape.decoder_layers:
        products += [
            Product("target", dim, dim, 2 * shape.decoder_layers),  # query and output of cross-attention
            Product("source", dim, key_value, shape.decoder_layers),
        ]
    products.append(Product("predicted", dim, shape.outputs, 1))
    return [product for product in products if product.count]


@dataclass(frozen=True)
class BatchSizes:
    """How long the rows of a batch are, and how far they are padded."""

    source_lengths: Sequence[int]
    source_width: int
    target_lengths: Sequence[int]
    target_width: int
    predicted: int
    """Targets that count in the loss."""
    predicted_positions: int
    """Entries of the tensor of targets."""

    def padded(self) -> "BatchSizes":
        """The same batch as if padding were text."""
        return BatchSizes(
            [self.source_width] * len(self.source_lengths),
            self.source_width,
            [self.target_width] * len(self.target_lengths),
            self.target_width,
            self.predicted_positions,
            self.predicted_positions,
        )


def pair_sizes(source_lengths: Sequence[int], target_lengths: Sequence[int]) -> BatchSizes:
    """Sizes of a padded batch of pairs, end tokens counted."""
    source_width, target_width = max(source_lengths, default=0), max(target_lengths, default=0)
    return BatchSizes(
        source_lengths,
        source_width,
        target_lengths,
        target_width,
        sum(target_lengths),
        len(target_lengths) * target_width,
    )


def multiply_adds(shape: Shape, sizes: BatchSizes) -> int:
    """Multiply-adds of the matrix products of a forward pass over one batch, padding left out.

    Products with weights, and the two of attention, which are counted in full squares whether or not they are causal
    or local, as `torch.utils.flop_counter` does (whose operations are twice these). A training step has
    TRAINING_PRODUCTS times as many.
    """
    source, target = sizes.source_lengths, sizes.target_lengths
    rows = {"source": sum(source), "target": sum(target), "predicted": sizes.predicted}
    linear = sum(
        rows[product.rows] * product.inner * product.outer * product.count for product in linear_products(shape)
    )
    pairs = shape.encoder_layers * sum(length**2 for length in source)
    pairs += shape.decoder_layers * sum(length**2 for length in target)
    if source and target:
        pairs += shape.decoder_layers * sum(a * b for a, b in zip(source, target, strict=True))
    return linear + 2 * shape.dim * pairs

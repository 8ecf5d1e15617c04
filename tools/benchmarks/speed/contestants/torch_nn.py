"""torch.nn.Transformer in a plain loop, as a tutorial would have it."""

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speed.channel import job_and_channel
from speed.plain_loop import IGNORE, PairBatch, train
from speed.shapes import DROPOUT, LABEL_SMOOTHING, Shape

LONGEST = 256


class Translator(nn.Module):
    """nn.Transformer between tied embeddings, with dropout where ours has it.

    Args:
        shape: of the model.
    """

    positions: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.outputs, shape.dim)
        nn.init.normal_(self.embedding.weight, std=shape.dim**-0.5)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "enable_nested_tensor is True")  # it is for inference only
            self.transformer = nn.Transformer(
                shape.dim,
                shape.num_heads,
                shape.encoder_layers,
                shape.decoder_layers,
                shape.feed_forward_dim,
                DROPOUT,
                batch_first=True,
                norm_first=True,
            )
        self.dropout = nn.Dropout(DROPOUT)
        self.scale = math.sqrt(shape.dim)
        self.register_buffer("positions", sinusoids(LONGEST, shape.dim), persistent=False)
        for module in self.transformer.modules():  # its one argument also drops attention weights and activations
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            elif isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                module.dropout = nn.Dropout(0.0)

    def forward(self, source: Tensor, source_mask: Tensor, target_in: Tensor) -> Tensor:
        """Logits (batch, target_length, vocab)."""
        causal = nn.Transformer.generate_square_subsequent_mask(target_in.shape[1])
        hidden = self.transformer(
            self.embed(source),
            self.embed(target_in),
            tgt_mask=causal,
            tgt_is_causal=True,
            src_key_padding_mask=~source_mask,
            memory_key_padding_mask=~source_mask,
        )
        return F.linear(hidden, self.embedding.weight)

    def embed(self, ids: Tensor) -> Tensor:
        """Scaled embeddings and positions, dropped: (batch, length) to (batch, length, dim)."""
        dropped: Tensor = self.dropout(self.embedding(ids) * self.scale + self.positions[: ids.shape[1]])
        return dropped


def sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim), Vaswani et al. 2017, section 3.5."""
    angles = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, dim, 2) / dim)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).view(length, dim)


def main() -> None:
    """Train when told to."""
    job, channel = job_and_channel()
    torch.set_num_threads(job.threads)
    torch.manual_seed(1)
    model = Translator(job.shape).train()

    def loss(batch: PairBatch) -> Tensor:
        logits = model(batch["source"], batch["source_mask"], batch["target_in"])
        return F.cross_entropy(
            logits.flatten(0, 1), batch["target_out"].flatten(), ignore_index=IGNORE, label_smoothing=LABEL_SMOOTHING
        )

    train(job, channel, model, loss, version=f"torch {torch.__version__}")


if __name__ == "__main__":
    main()

"""The five models: encoder-decoder, decoder-only translator, language model, sequence and token classifier.

Each has `features`, hidden states after the final norm, and a linear `head` over them; `forward` is head(features).
A loss that does not want all logits at once takes the two apart. The first three write text: see writer.py.
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from seq2seq.model.decoder import Decoder
from seq2seq.model.encoder import Encoder
from seq2seq.model.pooling import POOLINGS
from seq2seq.model.state import DecodingState
from seq2seq.model.writer import Writer, new_logits


class EncoderDecoder(Writer):
    """The Transformer of Vaswani et al. 2017.

    Args:
        encoder: stack for the source.
        decoder: stack with cross-attention for the target.
        source_embedding: (source vocabulary, dim)
        target_embedding: (target vocabulary, dim); may be source_embedding itself.
        head: dim to target vocabulary; its weight may be target_embedding's.
        scale_embeddings: multiply embeddings by sqrt(dim) (Vaswani et al. 2017, section 3.4).
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        *,
        source_embedding: nn.Embedding,
        target_embedding: nn.Embedding,
        head: nn.Linear,
        scale_embeddings: bool = True,
    ) -> None:
        super().__init__()
        self.source_embedding = source_embedding
        self.target_embedding = target_embedding
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self.embedding_scale = math.sqrt(head.in_features) if scale_embeddings else 1.0

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """The memory that the decoder attends to.

        Args:
            source: token ids (batch, source_length)
            source_mask: bool (batch, source_length), True = a real token; None = no padding.

        Returns:
            (batch, source_length, dim)
        """
        return self.encoder(embed(source, self.source_embedding, self.embedding_scale), source_mask=source_mask)

    def features(self, source: Tensor, target_in: Tensor, *, source_mask: Tensor | None = None) -> Tensor:
        """Hidden states from which each target token's successor is predicted.

        Args:
            source: token ids (batch, source_length)
            target_in: token ids (batch, target_length), padded on the right.
            source_mask: bool (batch, source_length), True = a real token; None = no padding.

        Returns:
            (batch, target_length, dim)
        """
        memory = self.encode(source, source_mask)
        return self.decoder(self._embed_target(target_in), memory, memory_mask=source_mask)

    def forward(self, source: Tensor, target_in: Tensor, *, source_mask: Tensor | None = None) -> Tensor:
        """Logits (batch, target_length, vocab); arguments as for `features`."""
        logits: Tensor = self.head(self.features(source, target_in, source_mask=source_mask))
        return logits

    @torch.no_grad()
    def start(self, source: Tensor, *, source_mask: Tensor | None = None) -> DecodingState:
        """Read the source; arguments as for `encode`. One row for each sentence."""
        memory = self.encode(source, source_mask)
        return self.decoder.start(source.shape[0], memory, memory_mask=source_mask)

    def _embed_target(self, tokens: Tensor) -> Tensor:
        return embed(tokens, self.target_embedding, self.embedding_scale)

    if TYPE_CHECKING:
        __call__ = forward


class DecoderOnlyTranslator(Writer):
    """A decoder that reads the source as the beginning of one text and writes the target as its end.

    Liu et al. 2018, "Generating Wikipedia by Summarizing Long Sequences", section 4.2.3; without cross-attention, as
    the language model of Radford et al. 2019. The text is source, end token, begin token, target, end token: the two
    special tokens between are the separator. Only the target is predicted.

    Args:
        decoder: stack without cross-attention.
        source_embedding: (source vocabulary, dim)
        target_embedding: (target vocabulary, dim); may be source_embedding itself.
        head: dim to target vocabulary; its weight may be target_embedding's.
        scale_embeddings: multiply embeddings by sqrt(dim).
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        source_embedding: nn.Embedding,
        target_embedding: nn.Embedding,
        head: nn.Linear,
        scale_embeddings: bool = True,
    ) -> None:
        super().__init__()
        self.source_embedding = source_embedding
        self.target_embedding = target_embedding
        self.decoder = decoder
        self.head = head
        self.embedding_scale = math.sqrt(head.in_features) if scale_embeddings else 1.0

    def features(self, source: Tensor, target_in: Tensor, *, source_mask: Tensor | None = None) -> Tensor:
        """Hidden states from which each target token's successor is predicted.

        The target of a row stands right behind its source, whatever the lengths beside it: all padding is at the end,
        where no real token sees it.

        Args:
            source: token ids (batch, source_length), the end token last.
            target_in: token ids (batch, target_length), the begin token first, padded on the right.
            source_mask: bool (batch, source_length), True = a real token; None = no padding.

        Returns:
            (batch, target_length, dim)
        """
        before = embed(source, self.source_embedding, self.embedding_scale)
        x = torch.cat([before, self._embed_target(target_in)], dim=1)
        if source_mask is None:
            return self.decoder(x)[:, source.shape[1] :]
        is_padding = torch.cat([~source_mask, torch.zeros_like(target_in, dtype=torch.bool)], dim=1)
        order = is_padding.to(torch.uint8).argsort(dim=1, stable=True)
        x = self.decoder(x.gather(1, order.unsqueeze(2).expand_as(x)))
        places = source_mask.sum(dim=1, keepdim=True) + torch.arange(target_in.shape[1], device=x.device)
        return x.gather(1, places.unsqueeze(2).expand(-1, -1, x.shape[2]))

    def forward(self, source: Tensor, target_in: Tensor, *, source_mask: Tensor | None = None) -> Tensor:
        """Logits (batch, target_length, vocab); arguments as for `features`."""
        logits: Tensor = self.head(self.features(source, target_in, source_mask=source_mask))
        return logits

    @torch.no_grad()
    def start(self, source: Tensor, *, source_mask: Tensor | None = None) -> DecodingState:
        """Read the source; arguments as for `features`. One row for each sentence.

        Here padding goes to the left, so that the targets of all rows begin in one column.
        """
        padding = None
        if source_mask is not None:
            padding = (~source_mask).sum(dim=1)
            source = source.gather(1, source_mask.to(torch.uint8).argsort(dim=1, stable=True))
        state = self.decoder.start(source.shape[0], padding=padding)
        self.decoder.step(embed(source, self.source_embedding, self.embedding_scale), state)
        return state

    def _embed_target(self, tokens: Tensor) -> Tensor:
        return embed(tokens, self.target_embedding, self.embedding_scale)

    if TYPE_CHECKING:
        __call__ = forward


class LanguageModel(Writer):
    """A decoder that predicts each token of a text from those before it (Radford et al. 2019).

    Args:
        decoder: stack without cross-attention.
        embedding: (vocabulary, dim)
        head: dim to vocabulary; its weight may be embedding's.
        scale_embeddings: multiply embeddings by sqrt(dim).
    """

    def __init__(
        self, decoder: Decoder, *, embedding: nn.Embedding, head: nn.Linear, scale_embeddings: bool = True
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.decoder = decoder
        self.head = head
        self.embedding_scale = math.sqrt(head.in_features) if scale_embeddings else 1.0

    def features(self, tokens: Tensor) -> Tensor:
        """Hidden states from which each token's successor is predicted: ids (batch, length) -> (batch, length, dim)."""
        return self.decoder(self._embed_target(tokens))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits: ids (batch, length) -> (batch, length, vocab)."""
        logits: Tensor = self.head(self.features(tokens))
        return logits

    @torch.no_grad()
    def start(self, rows: int) -> DecodingState:
        """A state of this many rows that has seen no token."""
        return self.decoder.start(rows)

    def _embed_target(self, tokens: Tensor) -> Tensor:
        return embed(tokens, self.embedding, self.embedding_scale)

    @torch.no_grad()
    def step_each(self, tokens: Tensor, state: DecodingState) -> Tensor:
        """As `step`, with the logits after each of the tokens: (rows, new_length, vocab)."""
        return new_logits(self.head, self.decoder.step(self._embed_target(tokens), state))

    if TYPE_CHECKING:
        __call__ = forward


class TokenClassifier(nn.Module):
    """An encoder with one label for each token.

    Args:
        encoder: stack for the source.
        embedding: (vocabulary, dim)
        head: dim to labels.
        scale_embeddings: multiply embeddings by sqrt(dim).
    """

    def __init__(
        self, encoder: Encoder, *, embedding: nn.Embedding, head: nn.Linear, scale_embeddings: bool = True
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.encoder = encoder
        self.head = head
        self.embedding_scale = math.sqrt(head.in_features) if scale_embeddings else 1.0

    def features(self, source: Tensor, *, source_mask: Tensor | None = None) -> Tensor:
        """Hidden states of every token.

        Args:
            source: token ids (batch, length)
            source_mask: bool (batch, length), True = a real token; None = no padding.

        Returns:
            (batch, length, dim)
        """
        return self.encoder(embed(source, self.embedding, self.embedding_scale), source_mask=source_mask)

    def forward(self, source: Tensor, *, source_mask: Tensor | None = None) -> Tensor:
        """Logits (batch, length, labels); arguments as for `features`."""
        logits: Tensor = self.head(self.features(source, source_mask=source_mask))
        return logits

    if TYPE_CHECKING:
        __call__ = forward


class SequenceClassifier(nn.Module):
    """An encoder with one label for the whole sequence.

    Args:
        encoder: stack for the source.
        embedding: (vocabulary, dim)
        head: dim to labels.
        pooling: a key of POOLINGS: "mean" over real tokens, or the "first" token.
        scale_embeddings: multiply embeddings by sqrt(dim).

    Raises:
        ValueError: an unknown pooling.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        embedding: nn.Embedding,
        head: nn.Linear,
        pooling: str = "mean",
        scale_embeddings: bool = True,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling ({pooling}) must be one of {', '.join(POOLINGS)}")
        self.embedding = embedding
        self.encoder = encoder
        self.head = head
        self.pooling = pooling
        self.embedding_scale = math.sqrt(head.in_features) if scale_embeddings else 1.0

    def features(self, source: Tensor, *, source_mask: Tensor | None = None) -> Tensor:
        """One vector for each sequence.

        Args:
            source: token ids (batch, length)
            source_mask: bool (batch, length), True = a real token; None = no padding.

        Returns:
            (batch, dim)
        """
        x = self.encoder(embed(source, self.embedding, self.embedding_scale), source_mask=source_mask)
        return POOLINGS[self.pooling](x, source_mask)

    def forward(self, source: Tensor, *, source_mask: Tensor | None = None) -> Tensor:
        """Logits (batch, labels); arguments as for `features`."""
        logits: Tensor = self.head(self.features(source, source_mask=source_mask))
        return logits

    if TYPE_CHECKING:
        __call__ = forward


Model = EncoderDecoder | DecoderOnlyTranslator | LanguageModel | SequenceClassifier | TokenClassifier


def embed(tokens: Tensor, embedding: nn.Embedding, scale: float) -> Tensor:
    """Vectors of token ids, scaled: (batch, length) -> (batch, length, dim)."""
    x: Tensor = embedding(tokens)
    return x if scale == 1.0 else x * scale

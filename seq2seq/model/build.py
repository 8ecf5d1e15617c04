"""A model from its settings; the only file of the folder that reads a configuration."""

from typing import Any

from torch import nn

from seq2seq.config import ModelConfig, Task, TiedEmbeddings
from seq2seq.errors import ConfigError
from seq2seq.model.decoder import Decoder
from seq2seq.model.encoder import Encoder
from seq2seq.model.initialisation import INITIALISATIONS
from seq2seq.model.layers import LayerSpec
from seq2seq.model.transformer import (
    DecoderOnlyTranslator,
    EncoderDecoder,
    LanguageModel,
    Model,
    SequenceClassifier,
    TokenClassifier,
)


def build_model(config: ModelConfig, *, task: Task, source_vocab_size: int, target_vocab_size: int) -> Model:
    """Build and initialise the model of a task.

    Args:
        config: its shape.
        task: what it learns.
        source_vocab_size: token ids of the source; not read for a language model.
        target_vocab_size: token ids of the target, a language model's vocabulary, or the number of labels.

    Raises:
        ConfigError: the task and the layers do not fit, or embeddings are to be shared by different vocabularies.
    """
    if problems := list(_problems(config, task, source_vocab_size, target_vocab_size)):
        raise ConfigError(problems)
    model: Model
    if task is Task.translation:
        model = _translator(config, source_vocab_size, target_vocab_size)
    elif task is Task.language_modelling:
        embedding = nn.Embedding(target_vocab_size, config.dim)
        head = _head(config, embedding)
        model = LanguageModel(
            _decoder(config, cross=False), embedding=embedding, head=head, scale_embeddings=config.scale_embeddings
        )
    elif task is Task.classification:
        model = SequenceClassifier(
            _encoder(config),
            embedding=nn.Embedding(source_vocab_size, config.dim),
            head=nn.Linear(config.dim, target_vocab_size),
            pooling=config.pooling.value,
            scale_embeddings=config.scale_embeddings,
        )
    else:
        model = TokenClassifier(
            _encoder(config),
            embedding=nn.Embedding(source_vocab_size, config.dim),
            head=nn.Linear(config.dim, target_vocab_size),
            scale_embeddings=config.scale_embeddings,
        )
    INITIALISATIONS[config.initialisation.value](model)
    return model


def _problems(config: ModelConfig, task: Task, source_vocab_size: int, target_vocab_size: int) -> list[str]:
    problems = []
    if task in (Task.classification, Task.tagging) and config.encoder_layers == 0:
        problems.append(f"model.encoder_layers is 0, but task={task.value} needs an encoder.")
    if task in (Task.translation, Task.language_modelling) and config.decoder_layers == 0:
        problems.append(f"model.decoder_layers is 0, but task={task.value} needs a decoder.")
    shared = task is Task.translation and config.tied_embeddings is TiedEmbeddings.all
    if shared and source_vocab_size != target_vocab_size:
        problems.append(
            f"model.tied_embeddings=all needs one vocabulary, but the source has {source_vocab_size} entries and the "
            f"target {target_vocab_size}; set tokenizer.joint=true or model.tied_embeddings=decoder."
        )
    return problems


def _translator(
    config: ModelConfig, source_vocab_size: int, target_vocab_size: int
) -> EncoderDecoder | DecoderOnlyTranslator:
    target_embedding = nn.Embedding(target_vocab_size, config.dim)
    shared = config.tied_embeddings is TiedEmbeddings.all
    parts: dict[str, Any] = {
        "source_embedding": target_embedding if shared else nn.Embedding(source_vocab_size, config.dim),
        "target_embedding": target_embedding,
        "head": _head(config, target_embedding),
        "scale_embeddings": config.scale_embeddings,
    }
    if config.encoder_layers == 0:
        return DecoderOnlyTranslator(_decoder(config, cross=False), **parts)
    return EncoderDecoder(_encoder(config), _decoder(config, cross=True), **parts)


def _encoder(config: ModelConfig) -> Encoder:
    return Encoder(
        _spec(config),
        num_layers=config.encoder_layers,
        positions=config.positions.value,
        max_length=config.max_length,
        window=config.attention_window,
        window_layers=config.window_layers.value,
        dropout=config.embedding_dropout,
    )


def _decoder(config: ModelConfig, *, cross: bool) -> Decoder:
    return Decoder(
        _spec(config),
        num_layers=config.decoder_layers,
        cross=cross,
        positions=config.positions.value,
        max_length=config.max_length,
        window=config.attention_window,
        window_layers=config.window_layers.value,
        dropout=config.embedding_dropout,
    )


def _spec(config: ModelConfig) -> LayerSpec:
    return LayerSpec(
        dim=config.dim,
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        feed_forward_dim=config.feed_forward_dim,
        feed_forward=config.feed_forward.value,
        norm=config.norm.value,
        norm_placement=config.norm_placement.value,
        bias=config.bias,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        activation_dropout=config.activation_dropout,
    )


def _head(config: ModelConfig, embedding: nn.Embedding) -> nn.Linear:
    # Without bias, as in Vaswani et al. 2017: the embeddings' own scale and the final norm's bias do its work.
    head = nn.Linear(config.dim, embedding.num_embeddings, bias=False)
    if config.tied_embeddings is not TiedEmbeddings.none:
        head.weight = embedding.weight
    return head

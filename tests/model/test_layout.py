"""Weights laid out for use: the same numbers in, the same numbers out."""

import torch

from seq2seq.config import ModelConfig, Task, TiedEmbeddings
from seq2seq.model.build import build_model
from seq2seq.model.layout import for_few_rows
from seq2seq.model.transformer import EncoderDecoder


def test_the_same_logits_from_transposed_weights() -> None:
    config = ModelConfig(
        encoder_layers=1, decoder_layers=2, dim=16, num_heads=2, feed_forward_dim=24, tied_embeddings=TiedEmbeddings.all
    )
    model = build_model(config, task=Task.translation, source_vocab_size=11, target_vocab_size=11).double().eval()
    assert isinstance(model, EncoderDecoder)
    source, target = torch.randint(11, (3, 5)), torch.randint(11, (3, 4))
    before = model(source, target)
    weights = {name: weight.clone() for name, weight in model.named_parameters()}
    for_few_rows(model)
    torch.testing.assert_close(model(source, target), before, rtol=0, atol=1e-12)
    for name, weight in weights.items():
        assert torch.equal(dict(model.named_parameters())[name], weight)
    assert model.head.weight.stride() == (1, 11) and model.target_embedding.weight.stride() == (16, 1)
    assert model.decoder.layers[0].feed_forward.widen.weight.stride(0) == 1

"""Hugging Face's MarianMTModel in a plain loop, with the loss that it computes itself (it knows no label smoothing)."""

from typing import Any

import torch
import transformers
from torch import Tensor

from speed.channel import Job, job_and_channel
from speed.plain_loop import PairBatch, train
from speed.shapes import DROPOUT

PAD, BOS, EOS = 0, 1, 2


def config_of(job: Job) -> Any:
    """The plain Transformer, after Vaswani et al. 2017, with dropout where ours has it."""
    shape = job.shape
    return transformers.MarianConfig(
        vocab_size=shape.outputs,
        d_model=shape.dim,
        encoder_layers=shape.encoder_layers,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.num_heads,
        decoder_attention_heads=shape.num_heads,
        encoder_ffn_dim=shape.feed_forward_dim,
        decoder_ffn_dim=shape.feed_forward_dim,
        activation_function="relu",
        dropout=DROPOUT,
        attention_dropout=0.0,
        activation_dropout=0.0,
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
        max_position_embeddings=256,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        decoder_start_token_id=BOS,
    )


def main() -> None:
    """Train when told to."""
    job, channel = job_and_channel()
    torch.set_num_threads(job.threads)
    torch.manual_seed(1)
    model = transformers.MarianMTModel(config_of(job)).train()

    def loss(batch: PairBatch) -> Tensor:
        result: Tensor = model(
            input_ids=batch["source"],
            attention_mask=batch["source_mask"].long(),
            decoder_input_ids=batch["target_in"],
            labels=batch["target_out"],
            use_cache=False,
        ).loss
        return result

    train(job, channel, model, loss, version=f"transformers {transformers.__version__}")


if __name__ == "__main__":
    main()

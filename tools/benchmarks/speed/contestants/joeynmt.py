"""JoeyNMT 2.3 by its own `train`, on the same sentences; it cuts its own batches, which it does not sort by length.

Two of its functions are wrapped: the one that makes the batches, to hold them, and the start of its loop, to leave
dropout only where the others have it and to keep no checkpoint.
"""

import contextlib
from typing import Any

import torch
from joeynmt.datasets import BaseDataset
from joeynmt.training import TrainManager, train
from joeynmt.transformer_layers import MultiHeadedAttention, PositionwiseFeedForward

from speed.channel import Channel, Job, job_and_channel
from speed.shapes import DROPOUT, LABEL_SMOOTHING, BatchSizes, pair_sizes
from speed.turns import Finished, HeldLoader, Turns

ENDLESS = 10**9


def settings(job: Job) -> dict[str, Any]:
    """What a configuration file would hold."""
    shape, vocabulary = job.shape, str(job.folder / "vocab.txt")

    def side(language: str) -> dict[str, Any]:
        return {"lang": language, "level": "word", "lowercase": False, "max_length": 256, "voc_file": vocabulary}

    def stack(layers: int) -> dict[str, Any]:
        return {
            "type": "transformer",
            "num_layers": layers,
            "num_heads": shape.num_heads,
            "embeddings": {"embedding_dim": shape.dim, "scale": True, "dropout": DROPOUT},
            "hidden_size": shape.dim,
            "ff_size": shape.feed_forward_dim,
            "dropout": DROPOUT,
            "layer_norm": "pre",
        }

    return {
        "name": "joeynmt",
        "joeynmt_version": "2.3.0",
        "model_dir": str(job.folder / "joeynmt"),
        "use_cuda": False,
        "random_seed": 1,
        "data": {
            "train": str(job.folder / "train"),
            "dev": str(job.folder / "valid"),
            "dataset_type": "plain",
            "src": side("en"),
            "trg": side("de"),
        },
        "testing": {"beam_size": 1},
        "training": {
            "optimizer": "adamw",
            "adam_betas": [0.9, 0.98],
            "learning_rate": 1e-4,
            "learning_rate_min": 0.0,
            "scheduling": "warmupinversesquareroot",
            "learning_rate_warmup": 1000,
            "clip_grad_norm": 1.0,
            "label_smoothing": LABEL_SMOOTHING,
            "normalization": "tokens",
            "batch_type": "token",
            "batch_size": job.batch_tokens,
            "epochs": ENDLESS,
            "logging_freq": 100,
            "validation_freq": ENDLESS // 100 * 100,
        },
        "model": {
            "initializer": "xavier_uniform",
            "embed_initializer": "xavier_uniform",
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": stack(shape.encoder_layers),
            "decoder": stack(shape.decoder_layers),
        },
    }


def sizes_of(batch: Any) -> BatchSizes:
    """How long the rows of one of its batches are."""
    return pair_sizes(batch.src_mask.sum(dim=(1, 2)).tolist(), batch.trg_mask.sum(dim=(1, 2)).tolist())


def hold(job: Job, channel: Channel) -> None:
    """Wrap what makes the batches and what starts the loop."""
    make_iter, train_and_validate = BaseDataset.make_iter, TrainManager.train_and_validate
    about: dict[str, Any] = {}

    def held_iter(dataset: Any, *arguments: Any, **named: Any) -> HeldLoader:
        orders = channel.orders(version="joeynmt 2.3.0", **about)
        turns = Turns(job.shape, orders=orders, report=channel.report)
        return HeldLoader(make_iter(dataset, *arguments, **named), turns, sizes_of)

    def start(manager: Any, *arguments: Any, **named: Any) -> None:
        about["parameters"] = sum(parameter.numel() for parameter in manager.model.parameters())
        for module in manager.model.modules():  # one setting of its drops in all places
            if isinstance(module, MultiHeadedAttention):
                module.dropout.p = 0.0
            elif isinstance(module, PositionwiseFeedForward):
                module.pwff_layer[2].p = 0.0
        manager._save_checkpoint = lambda *_: None  # at the end, and there is no end
        train_and_validate(manager, *arguments, **named)

    BaseDataset.make_iter, TrainManager.train_and_validate = held_iter, start


def main() -> None:
    """Train when told to."""
    job, channel = job_and_channel()
    torch.set_num_threads(job.threads)
    (job.folder / "joeynmt").mkdir()
    hold(job, channel)
    with contextlib.suppress(Finished):
        train(rank=0, world_size=0, cfg=settings(job), skip_test=True)


if __name__ == "__main__":
    main()

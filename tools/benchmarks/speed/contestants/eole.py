"""eole by its own training program, on the same sentences; it cuts its own batches, of like lengths.

Two of its functions are wrapped: the one that makes the batches, to hold them, and the start of its loop, to leave
dropout only where the others have it.
"""

import contextlib
import importlib.metadata
from collections.abc import Iterator
from typing import Any

import eole.train_single
import torch
from eole.config.run import TrainConfig
from eole.constants import CorpusTask
from eole.modules.transformer_mlp import MLP
from eole.trainer import Trainer

from speed.channel import Channel, Job, job_and_channel
from speed.shapes import DROPOUT, LABEL_SMOOTHING, BatchSizes, pair_sizes
from speed.turns import Finished, HeldLoader, Turns

ENDLESS = 10**9


def settings(job: Job) -> dict[str, Any]:
    """What a configuration file would hold."""
    shape = job.shape
    text = (job.folder / "train.en").read_text(encoding="utf-8")
    return {
        "seed": 1,
        "src_vocab": str(job.folder / "vocab.txt"),
        "share_vocab": True,
        "vocab_size_multiple": 1,
        "data": {"corpus": {"path_src": str(job.folder / "train.en"), "path_tgt": str(job.folder / "train.de")}},
        "report_every": 100,
        "model": {
            "architecture": "transformer",
            "encoder": {"layers": shape.encoder_layers},
            "decoder": {"layers": shape.decoder_layers},
            "hidden_size": shape.dim,
            "heads": shape.num_heads,
            "transformer_ff": shape.feed_forward_dim,
            "add_qkvbias": True,
            "add_ffnbias": True,
            "share_embeddings": True,
            "share_decoder_embeddings": True,
            "embeddings": {
                "word_vec_size": shape.dim,
                "position_encoding": True,
                "position_encoding_type": "SinusoidalInterleaved",
            },
        },
        "training": {
            "model_path": str(job.folder / "eole"),
            "batch_type": "tokens",
            "batch_size": job.batch_tokens,
            "bucket_size": text.count("\n"),  # an epoch: all of it is sorted by length
            "num_workers": 0,  # a worker would go on while another contestant has its turn
            "normalization": "tokens",
            "accum_count": [1],
            "optim": "adam",
            "adam_beta2": 0.98,
            "learning_rate": 1e-4,
            "max_grad_norm": 1.0,
            "dropout": [DROPOUT],
            "attention_dropout": [0.0],
            "dropout_steps": [0],
            "label_smoothing": LABEL_SMOOTHING,
            "log_attention_entropy": False,
            "compute_dtype": "fp32",
            "train_steps": ENDLESS,
            "valid_steps": ENDLESS,
            "save_checkpoint_steps": ENDLESS,
        },
    }


def sizes_of(item: tuple[dict[str, Any], int]) -> BatchSizes:
    """How long the rows of one of its batches are; the first column of its target is read only."""
    batch, _ = item
    return pair_sizes(batch["srclen"].tolist(), (batch["tgtlen"] - 1).tolist())


def hold(job: Job, channel: Channel) -> None:
    """Wrap what makes the batches and what starts the loop."""
    build_iter, loop = eole.train_single.build_dynamic_dataset_iter, Trainer.train
    about: dict[str, Any] = {"version": f"eole {importlib.metadata.version('eole')}"}

    def held_iter(*arguments: Any, task: Any = CorpusTask.TRAIN, **named: Any) -> Any:
        loader = build_iter(*arguments, task=task, **named)
        if task != CorpusTask.TRAIN:
            return loader
        return HeldLoader(loader, Turns(job.shape, orders=orders(), report=channel.report), sizes_of)

    def orders() -> Iterator[int]:  # asked for when the loop has begun and all is known
        yield from channel.orders(**about)

    def start(trainer: Any, *arguments: Any, **named: Any) -> Any:
        about["parameters"] = sum(parameter.numel() for parameter in trainer.model.parameters())
        for module in trainer.model.modules():
            if isinstance(module, MLP):  # one setting of its drops here too
                module.dropout_1.p = 0.0
        return loop(trainer, *arguments, **named)

    eole.train_single.build_dynamic_dataset_iter, Trainer.train = held_iter, start


def main() -> None:
    """Train when told to."""
    job, channel = job_and_channel()
    torch.set_num_threads(job.threads)
    hold(job, channel)
    with contextlib.suppress(Finished):
        eole.train_single.main(TrainConfig(**settings(job)), device_id=-1)


if __name__ == "__main__":
    main()

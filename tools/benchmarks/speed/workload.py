"""The batches and the text of our run, written down for contestants of other packages."""

from collections.abc import Iterator
from pathlib import Path

import torch

from seq2seq.config import Config
from seq2seq.data.batch import Batch
from seq2seq.data.prepare import Prepared, prepare
from seq2seq.data.token_cache import TokenDataset
from seq2seq.data.tokenizer import NUM_SPECIALS, SentencePieceTokenizer
from seq2seq.scoring import training_batches


def export(config: Config, folder: Path, *, batches: int) -> None:
    """Write what our run trains on.

    batches.pt: the first batches in our order, a list of dictionaries of tensors; torch.load reads it with
    weights_only. train.en, train.de: the pairs, cut into our vocabulary's pieces, separated by spaces; the same of
    valid. vocab.txt: the pieces, a line each, special tokens left out.
    """
    prepared = prepare(config)
    torch.save(
        [_tensors(batch) for batch, _ in zip(in_order(config, prepared), range(batches), strict=False)],
        folder / "batches.pt",
    )
    tokenizer = prepared.tokenizers.source
    assert isinstance(tokenizer, SentencePieceTokenizer)
    assert isinstance(prepared.train, list) and isinstance(prepared.valid, TokenDataset)
    for split, dataset in (("train", prepared.train[0]), ("valid", prepared.valid)):
        for language, ids_of in (("en", dataset.source), ("de", dataset.target)):
            lines = (" ".join(tokenizer.pieces(ids_of(index).tolist()[:-1])) for index in range(len(dataset)))
            (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    pieces = tokenizer.pieces(range(NUM_SPECIALS, tokenizer.vocab_size))
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")


def in_order(config: Config, prepared: Prepared) -> Iterator[Batch]:
    """Every batch that our run trains on, epoch after epoch."""
    batches, number = training_batches(config, prepared), 0
    while True:
        plan = batches.epoch(number)
        yield from (plan[position] for position in range(len(plan)))
        number += 1


def _tensors(batch: Batch) -> dict[str, torch.Tensor]:
    assert batch.source is not None and batch.target_in is not None
    mask = torch.ones_like(batch.source, dtype=torch.bool) if batch.source_mask is None else batch.source_mask
    return {"source": batch.source, "source_mask": mask, "target_in": batch.target_in, "target_out": batch.target_out}

"""The model and the lines that are decoded, written down for all contestants."""

import json
from pathlib import Path

import torch

from seq2seq.checkpoint import load_checkpoint, save_checkpoint
from seq2seq.config import Task
from seq2seq.configure import run_config
from seq2seq.data.files import Lines
from seq2seq.data.lines import Line, repair
from seq2seq.data.pieces import cut_text
from seq2seq.data.prepare import prepare
from seq2seq.data.tokenizer import SentencePieceTokenizer, Tokenizers
from seq2seq.errors import ConfigError
from seq2seq.interop.huggingface import marian_settings, marian_weights
from seq2seq.model.build import build_model
from seq2seq.model.positions import Sinusoidal
from seq2seq.model.transformer import EncoderDecoder
from speed.ours import shape_of, shape_overrides
from speed.shapes import Shape

TEST = "test_2016_flickr"


def plain_overrides(shape: str, data: Path) -> list[str]:
    """Settings of a model of a shape that every contestant can hold, for `untrained`."""
    return [*shape_overrides(shape, data), "model.norm_placement=post", "device=cpu"]


def untrained(words: list[str], folder: Path, program: str) -> None:
    """Save a checkpoint with random weights and a tokenizer trained on its training text; words as for `run_config`."""
    config = run_config(words, program)
    prepared = prepare(config)
    torch.manual_seed(config.seed)
    size = prepared.tokenizers.target.vocab_size
    model = build_model(config.model, task=config.task, source_vocab_size=size, target_vocab_size=size)
    save_checkpoint(folder, config=config, model=model, tokenizers=prepared.tokenizers, metrics={})


def export(checkpoint: Path, folder: Path, lines: list[str], shape: Shape | None = None) -> Tokenizers:
    """Write what contestants decode.

    checkpoint: a link to ours. weights.pt: its weights by their names in a MarianMTModel. positions.pt: the table of
    positions (max_length, dim). torch.load reads both with weights_only. settings.json: what a MarianConfig holds.
    lines.txt: the text, a line each. sources.json: the ids of each line, the end token last. vocab.json: the pieces by
    id, special tokens too.

    Args:
        checkpoint: a folder with a trained model.
        folder: where to write.
        lines: the text.
        shape: that the model must have; None for any.

    Returns:
        the checkpoint's tokenizers.

    Raises:
        ConfigError: the model is not one that Marian can hold, or of another shape, or a line is longer than it takes.
        CheckpointError: there is no checkpoint.
    """
    loaded = load_checkpoint(checkpoint)
    config, model, tokenizers = loaded.config, loaded.model, loaded.tokenizers
    if config.task is not Task.translation or not isinstance(model, EncoderDecoder):
        raise ConfigError(f"{checkpoint}: task={config.task.value}, but only task=translation is measured.")
    size = model.head.out_features
    if shape is not None and (found := shape_of(config, size)) != shape:
        raise ConfigError(f"{checkpoint}: the model is {found}, but the measured shape is {shape}.")
    if not isinstance(tokenizers.target, SentencePieceTokenizer) or not tokenizers.joint:
        raise ConfigError(f"{checkpoint}: only models with one unigram or BPE vocabulary are measured.")
    try:
        settings = marian_settings(model, config.model)
    except ValueError as error:
        raise ConfigError(f"{checkpoint}: not the plain shape that every contestant can hold: {error}.") from None
    positions = model.decoder.positions
    assert isinstance(positions, Sinusoidal)
    (folder / "checkpoint").symlink_to(loaded.folder.resolve())
    torch.save(marian_weights(model), folder / "weights.pt")
    torch.save(positions.table, folder / "positions.pt")
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "vocab.json").write_text(json.dumps(tokenizers.target.pieces(range(size))))
    (folder / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    limit = config.data.max_length
    sources = []
    for number, (pieces, _) in enumerate(cut_text([Line(line) for line in lines], tokenizers.source, max_length=limit)):
        if len(pieces) != 1:
            raise ConfigError(f"line {number + 1} is blank or has more than data.max_length={limit} tokens.")
        sources.append(pieces[0].ids)
    (folder / "sources.json").write_text(json.dumps(sources))
    return tokenizers


def text_lines(data: Path, count: int, *, side: str = "en") -> list[str]:
    """The first lines of a side of the test set; none where it is not there."""
    path = data / f"{TEST}.{side}"
    if not any(path.with_name(name).is_file() for name in (path.name, f"{path.name}.gz")):
        return []
    lines = Lines(path if path.is_file() else path.with_name(f"{path.name}.gz"))
    return [repair(line).text for line, _ in zip(lines, range(count), strict=False)]

"""A checkpoint as a folder for CTranslate2, with tokenizers and configuration: nothing outside it is needed.

config.json, tokenizer.*, metrics.json   as in a checkpoint
export.json                              which engine, which number format, how many positions
ctranslate2/                             the model as CTranslate2 reads it
manifest.json                            every file with its checksum, written last
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seq2seq.checkpoint import FORMAT, Checkpoint, load_checkpoint, load_config, resolve, verify, versions
from seq2seq.config import Config, DataConfig, Positions, Quantization
from seq2seq.data.cache import cache_folder, key_of
from seq2seq.data.tokenizer import Tokenizers
from seq2seq.decoding.lengths import most_tokens
from seq2seq.errors import CheckpointError, ConfigError, Seq2SeqError
from seq2seq.files import sha256, whole_folder, write_json
from seq2seq.interop.ctranslate2 import to_ctranslate2
from seq2seq.plain import to_dict

MODEL = "ctranslate2"
"""The folder of their model in ours."""
WEIGHTS = f"{MODEL}/model.bin"
FEWEST_POSITIONS = 1024
EXPORT_FORMAT = 1
"""Raised when an export is no longer written as before; older ones in the cache are then made again."""


@dataclass(frozen=True, slots=True)
class Export:
    """What export.json tells.

    Attributes:
        quantization: number format of the weights.
        positions: of the table of sinusoids; None where positions are of another kind.
        ctranslate2: version of the package that wrote it.
    """

    quantization: Quantization
    positions: int | None
    ctranslate2: str


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported model, its files verified.

    Attributes:
        folder: where it is.
        config: of the run that trained it.
        tokenizers: of both sides.
        export: how it was written.
        joined_length: as the checkpoint has it, see data/joined.py.
    """

    folder: Path
    config: Config
    tokenizers: Tokenizers
    export: Export
    joined_length: int


def package() -> Any:
    """The package ctranslate2.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import ctranslate2
    except ImportError as error:
        raise ConfigError(
            f"engine=ctranslate2 needs the package ctranslate2 ({error}); pip install 'seq2seq[ctranslate2]'."
        ) from None
    return ctranslate2


def is_exported(folder: Path) -> bool:
    """Whether a folder, as `checkpoint.resolve` gives it, holds an exported model."""
    return (folder / "export.json").is_file()


def export_checkpoint(
    checkpoint: Checkpoint, output: Path, *, quantization: Quantization = Quantization.float32
) -> Export:
    """Write a checkpoint as a folder for CTranslate2, whole or not at all.

    Args:
        checkpoint: of a translator.
        output: the folder.
        quantization: number format of the weights.

    Raises:
        ConfigError: the package is not installed; the model has what theirs cannot have.
        CheckpointError: the folder cannot be written.
    """
    version = package().__version__
    config = checkpoint.config
    positions = _positions(config)
    specification = to_ctranslate2(
        checkpoint.model, config.model, checkpoint.tokenizers, positions=positions, quantization=quantization
    )
    sinusoidal = config.model.positions is Positions.sinusoidal
    export = Export(quantization, positions if sinusoidal else None, version)
    try:
        with whole_folder(output) as temporary:
            (temporary / MODEL).mkdir()
            specification.save(str(temporary / MODEL))
            write_json(temporary / "config.json", {"format": FORMAT, "versions": versions(), "config": to_dict(config)})
            checkpoint.tokenizers.save(temporary)
            write_json(temporary / "metrics.json", checkpoint.metrics)
            write_json(temporary / "export.json", {"format": EXPORT_FORMAT, "engine": MODEL, **asdict(export)})
            files = sorted(path for path in temporary.rglob("*") if path.is_file())
            manifest = {path.relative_to(temporary).as_posix(): sha256(path) for path in files}
            write_json(temporary / "manifest.json", manifest)
    except OSError as error:
        raise CheckpointError(f"{output}: the export could not be written ({error.strerror or error}).") from error
    return export


def load_exported(folder: str | Path) -> Exported:
    """An exported model; an ordinary checkpoint is exported into a cache first, once.

    Args:
        folder: what `seq2seq export` wrote, or a checkpoint or run folder.

    Raises:
        CheckpointError: the folder is neither, is damaged, or is of another version.
        ConfigError: the package is not installed, or the model has what theirs cannot have.
    """
    package()
    folder = resolve(folder)
    if not is_exported(folder):
        folder = _cached(folder)
    verify(folder, weights=WEIGHTS)
    try:
        stored = json.loads((folder / "export.json").read_text(encoding="utf-8"))
        if stored.pop("format") != EXPORT_FORMAT or stored.pop("engine") != MODEL:
            raise CheckpointError(f"{folder}: exported by another version; export the checkpoint again.")
        export = Export(**{**stored, "quantization": Quantization(stored["quantization"])})
        joined_length = json.loads((folder / "metrics.json").read_text(encoding="utf-8")).get("joined_length", 0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder}: export.json or metrics.json cannot be read ({error}); export anew."
        ) from error
    try:
        tokenizers = Tokenizers.load(folder)
    except Seq2SeqError as error:
        raise CheckpointError(str(error)) from error
    return Exported(folder, load_config(folder), tokenizers, export, joined_length)


def _cached(folder: Path) -> Path:
    """The export of a checkpoint, made if it is not there or is damaged.

    Raises:
        CheckpointError: the checkpoint is damaged, whatever of it was exported before.
    """
    verify(folder)
    manifest = sha256(folder / "manifest.json")  # which has the checksums of weights, settings and tokenizers
    key = key_of(export=EXPORT_FORMAT, ctranslate2=package().__version__, manifest=manifest)
    output = cache_folder(DataConfig()) / "exports" / key
    try:
        verify(output, weights=WEIGHTS)
    except CheckpointError:
        export_checkpoint(load_checkpoint(folder), output)
    return output


def _positions(config: Config) -> int:
    """Positions to write a table for: at least what a call with the checkpoint's own settings can need."""
    source = config.data.max_length
    return max(FEWEST_POSITIONS, 4 * source, most_tokens(config.decoding, source - 1))

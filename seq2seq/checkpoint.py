"""A trained thing on disk: configuration, weights, tokenizers, scores and, for resuming, the training state.

A checkpoint is one folder that needs nothing outside it. It holds safetensors, JSON and SentencePiece files only:
loading executes nothing from it. `manifest.json` lists every file with its checksum and is written last.
"""

import dataclasses
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from seq2seq.config import Config
from seq2seq.data.tokenizer import Tokenizers
from seq2seq.errors import CheckpointError, Seq2SeqError
from seq2seq.files import sha256, whole_folder, write_json
from seq2seq.model.build import build_model
from seq2seq.plain import from_dict, to_dict

FORMAT = 1
"""Raised when a folder written by an older version can no longer be read."""


@dataclasses.dataclass(slots=True)
class TrainingState:
    """What a run needs, beside its weights, to go on as if it had never stopped.

    Attributes:
        tensors: optimiser moments, random-number states and averaged weights, by name.
        values: step, position in the data, best score and the like: plain JSON values.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def group(self, name: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `name/`, without it."""
        return {
            key.removeprefix(f"{name}/"): value for key, value in self.tensors.items() if key.startswith(f"{name}/")
        }


@dataclasses.dataclass(slots=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        config: of the run that made it.
        model: in evaluation mode.
        tokenizers: of both sides.
        metrics: scores at that point.
        folder: where it is.
        checksums: of its files, by name; all were compared.
    """

    config: Config
    model: nn.Module
    tokenizers: Tokenizers
    metrics: dict[str, Any]
    folder: Path
    checksums: dict[str, str]


def versions() -> dict[str, str]:
    """The versions that made a result."""
    from seq2seq import __version__

    return {"seq2seq": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters by name, a tied one once, and buffers that are saved."""
    named: dict[str, Tensor] = dict(model.named_parameters())  # named_parameters() already leaves out duplicates
    saved = model.state_dict()
    named.update((name, buffer) for name, buffer in model.named_buffers() if name in saved)
    return {name: tensor.detach() for name, tensor in named.items()}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], *, origin: str) -> None:
    """Copy weights into a model, name by name.

    Raises:
        CheckpointError: a name or shape does not fit.
    """
    own = weights_of(model)
    if missing := sorted(own.keys() - weights.keys()):
        raise CheckpointError(f"{origin}: the weight {missing[0]} is missing; its config.json describes another model.")
    if surplus := sorted(weights.keys() - own.keys()):
        raise CheckpointError(f"{origin}: the weight {surplus[0]} has no place; config.json describes another model.")
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            raise CheckpointError(
                f"{origin}: {name} has shape {tuple(weights[name].shape)}, but config.json makes {tuple(tensor.shape)}."
            )
        tensor.copy_(weights[name])


def save_checkpoint(
    folder: str | Path,
    *,
    config: Config,
    model: nn.Module,
    tokenizers: Tokenizers,
    metrics: dict[str, Any],
    weights: Mapping[str, Tensor] | None = None,
    training: TrainingState | None = None,
    card: str | None = None,
    displaced: Path | None = None,
) -> None:
    """Write a checkpoint folder and move it whole into place.

    Args:
        folder: where; a checkpoint that stands there is replaced.
        config: the full configuration of the run.
        model: its weights are saved unless `weights` gives others (averaged ones, say) under the same names.
        tokenizers: stored in the folder.
        metrics: scores at this point.
        weights: by parameter name, instead of the model's own.
        training: what resuming needs; None for a checkpoint that is only used.
        card: a model card, written as README.md.
        displaced: a new name for a checkpoint that stands at `folder`; None removes it.

    Raises:
        CheckpointError: the folder cannot be written (a full disk, no permission); what stood there stays.
    """
    folder = Path(folder)
    try:
        with whole_folder(folder, displaced=displaced) as temporary:
            write_json(
                temporary / "config.json",
                {"format": FORMAT, "versions": versions(), "config": to_dict(config)},
            )
            contiguous = {name: tensor.detach().contiguous() for name, tensor in (weights or weights_of(model)).items()}
            safetensors.torch.save_file(contiguous, temporary / "model.safetensors", metadata={"format": "pt"})
            tokenizers.save(temporary)
            write_json(temporary / "metrics.json", metrics)
            if card is not None:
                (temporary / "README.md").write_text(card, encoding="utf-8")
            if training is not None:
                (temporary / "training").mkdir()
                tensors = {name: tensor.detach().contiguous() for name, tensor in training.tensors.items()}
                safetensors.torch.save_file(tensors, temporary / "training" / "state.safetensors")
                write_json(temporary / "training" / "state.json", training.values)
            files = sorted(path for path in temporary.rglob("*") if path.is_file())
            manifest = {path.relative_to(temporary).as_posix(): sha256(path) for path in files}
            write_json(temporary / "manifest.json", manifest)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: the checkpoint could not be written ({error}). Earlier checkpoints are untouched; make room or "
            "choose another run_dir, then start the same command again."
        ) from error


def verify(folder: str | Path, *, weights: str = "model.safetensors") -> dict[str, str]:
    """Compare every file of a checkpoint with its checksum.

    Args:
        folder: the checkpoint.
        weights: a file that must be among them.

    Returns:
        The checksums by name of file.

    Raises:
        CheckpointError: names the first file that is missing or damaged.
    """
    folder = Path(folder)
    manifest = _read_json(folder, "manifest.json")
    if weights not in manifest:
        if (folder / "export.json").is_file():
            raise CheckpointError(
                f"{folder}: a model exported to CTranslate2; translate with --engine ctranslate2, from "
                "Python with engine=ctranslate2."
            )
        raise CheckpointError(f"{folder}: manifest.json does not list {weights}; use another checkpoint.")
    for name, checksum in manifest.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{folder}: {name} is missing; use another checkpoint of the run.")
        try:
            found = sha256(path)
        except OSError as error:
            raise CheckpointError(f"{folder}: {name} cannot be read ({error.strerror or error}).") from error
        if found != checksum:
            raise CheckpointError(f"{folder}: {name} is damaged (its checksum differs); use another checkpoint.")
    return manifest


def resolve(path: str | Path) -> Path:
    """The checkpoint folder that a path means: itself, or a run folder's best/, else last/.

    Raises:
        CheckpointError: there is none; says where it looked.
    """
    path = Path(path)
    for candidate in (path, path / "best", path / "last"):
        if (candidate / "manifest.json").is_file():
            return candidate
    if path.name == "best" and (path.parent / "last" / "manifest.json").is_file():
        raise CheckpointError(
            f"{path}: there is none before the first validation; give {path.parent}, whose last/ is then used."
        )
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such folder; give a checkpoint folder such as runs/wmt_small/best.")
    raise CheckpointError(
        f"{path}: this is not a checkpoint folder (no manifest.json in it, in best/ or in last/); give one such as "
        "runs/wmt_small/best."
    )


def load_checkpoint(folder: str | Path, *, device: torch.device | str = "cpu") -> Checkpoint:
    """Load a checkpoint for use: every file verified, the model in evaluation mode.

    Raises:
        CheckpointError: the folder is not a checkpoint, is damaged, or was made by a newer version.
    """
    folder = resolve(folder)
    checksums = verify(folder)
    config = load_config(folder)
    try:
        tokenizers = Tokenizers.load(folder)
    except Seq2SeqError as error:
        raise CheckpointError(str(error)) from error
    model = build_model(
        config.model,
        task=config.task,
        source_vocab_size=tokenizers.source.vocab_size,
        target_vocab_size=tokenizers.target.vocab_size,
    )
    load_weights(model, read_weights(folder), origin=str(folder))
    return Checkpoint(
        config, model.to(device).eval(), tokenizers, _read_json(folder, "metrics.json"), folder, checksums
    )


def load_config(folder: Path) -> Config:
    """The configuration that a checkpoint was trained with.

    Raises:
        CheckpointError: it cannot be read, or is of another format.
    """
    stored = _read_json(folder, "config.json")
    if stored.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder}: written in checkpoint format {stored.get('format')}, this version reads {FORMAT}; see "
            "'Compatibility' in CHANGELOG.md."
        )
    try:
        config = from_dict(Config, _of_today(stored["config"]))
    except Seq2SeqError as error:
        raise CheckpointError(f"{folder}/config.json: {error}") from error
    assert isinstance(config, Config)
    return config


def _of_today(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as this version has them: data.subword_nbest is gone, and data.subword_alpha had another default."""
    data = settings.get("data") if isinstance(settings, dict) else None
    if isinstance(data, dict) and "subword_nbest" in data:
        gone = {"subword_nbest"} | ({"subword_alpha"} if data.get("subword_sampling") == "none" else set())
        settings = {**settings, "data": {name: value for name, value in data.items() if name not in gone}}
    return settings


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Weights by parameter name.

    Raises:
        CheckpointError: the file cannot be read.
    """
    return _read_tensors(folder, "model.safetensors")


def load_training_state(folder: Path) -> TrainingState:
    """The training state of a checkpoint.

    Raises:
        CheckpointError: it has none, or it cannot be read.
    """
    if not (folder / "training").is_dir():
        raise CheckpointError(f"{folder}: holds no training state, so training cannot go on from it.")
    return TrainingState(_read_tensors(folder, "training/state.safetensors"), training_values(folder))


def training_values(folder: Path) -> dict[str, Any]:
    """The `values` of the training state of a checkpoint, without reading its tensors.

    Raises:
        CheckpointError: they cannot be read.
    """
    return _read_json(folder, "training/state.json")


def _read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load_file(folder / name)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{folder}: {name} cannot be read ({error}); use another checkpoint.") from error
    return tensors


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: {name} cannot be read ({error}); use another checkpoint.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{folder}: {name} does not hold a JSON object; use another checkpoint.")
    return value

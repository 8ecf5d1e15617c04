"""COMET (Rei et al. 2020) by the unbabel-comet package, with sacreBLEU's intervals and paired tests around it.

The package is an extra, `pip install 'seq2seq[comet]'`. A model is a neural network that reads source, translation and
reference; without one on the disk, the package fetches it by name from the Hugging Face hub.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacrebleu.metrics.base import Metric, Score, Signature

from seq2seq.device import resolve_device
from seq2seq.errors import ConfigError

BATCH_SIZE = 16
"""Sentences that the model reads at once."""


class _CometSignature(Signature):  # type: ignore[misc]
    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__(arguments)
        self.info["version"] = f"comet-{arguments['version']}"
        self.info["model"] = arguments["model_name"]


class Comet(Metric):  # type: ignore[misc]
    """The mean of a COMET model's scores of sentences, as a metric of sacreBLEU.

    Args:
        name: of a model for unbabel-comet, or the path of a checkpoint file (hparams.yaml stands above its folder).
        sources: a line for each sentence.
        references: the same.
        device: auto, cpu, cuda or mps.

    Raises:
        ConfigError: the package is not installed, or the model is not there.
    """

    _SIGNATURE_TYPE = _CometSignature

    def __init__(self, name: str, *, sources: Sequence[str], references: Sequence[str], device: str = "auto") -> None:
        super().__init__()
        self.model_name = name
        self.num_refs = 1
        self._sources, self._references = list(sources), list(references)
        self._gpus = _gpus(device)
        self._model, self.version = _load(name)
        self._known: dict[tuple[str, ...], list[list[float]]] = {}

    def _extract_corpus_statistics(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]] | None
    ) -> list[list[float]]:
        """[score, 1] of each sentence."""
        key = tuple(hypotheses)
        if key not in self._known:
            samples = [
                {"src": source, "mt": hypothesis, "ref": reference}
                for source, hypothesis, reference in zip(self._sources, key, self._references, strict=True)
            ]
            found = self._model.predict(
                samples,
                batch_size=BATCH_SIZE,
                gpus=self._gpus,
                accelerator="auto" if self._gpus else "cpu",
                progress_bar=False,
            )
            self._known[key] = [[float(score), 1.0] for score in found.scores]
        return self._known[key]

    def _aggregate_and_compute(self, stats: list[list[float]]) -> Score:
        return self._compute_score_from_stats([sum(column) for column in zip(*stats, strict=True)])

    def _compute_score_from_stats(self, stats: list[float]) -> Score:
        return Score("COMET", float(stats[0]) / float(stats[1]))

    # sacreBLEU's class is abstract in these too, and calls them from its own `_extract_corpus_statistics` only. Ours
    # takes its place, because a sentence alone comes without its source, which the model must read.

    def _preprocess_segment(self, sent: str) -> str:
        return sent

    def _extract_reference_info(self, refs: Sequence[str]) -> dict[str, Any]:
        return {}

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[float]:
        raise TypeError("a COMET model reads the source too, which is not given here: score the whole text")


def _load(name: str) -> tuple[Any, str]:
    """A model, and the version of the package."""
    try:
        import comet
    except ImportError as error:
        if error.name != "comet":
            raise ConfigError(f"The metric comet cannot be used: unbabel-comet does not load ({error}).") from error
        raise ConfigError(
            "The metric comet needs the package unbabel-comet; install it with pip install 'seq2seq[comet]'."
        ) from None
    for library in ("sacrebleu", "pytorch_lightning"):  # importing comet makes every library speak of its work
        logging.getLogger(library).setLevel(logging.WARNING)
    path = name
    try:
        if not Path(name).is_file():
            if name.endswith(".ckpt") or os.path.isabs(name) or Path(name).is_dir():
                raise FileNotFoundError("there is no such file")
            path = comet.download_model(name)
        return comet.load_from_checkpoint(path).eval(), str(getattr(comet, "__version__", "unknown"))
    except Exception as error:  # the package raises plain Exception, KeyError and those of four libraries below it
        reason = str(error.args[0] if error.args else error).strip().rstrip(".")
        raise ConfigError(
            f"--comet-model {name}: it cannot be loaded ({reason or type(error).__name__}); give the path of a "
            "checkpoint, .../checkpoints/model.ckpt, or a name that the hub has."
        ) from error


def _gpus(device: str) -> int:
    """How many GPUs the package is told to use.

    Raises:
        ConfigError: there is no such device here, or one of several is asked for by number.
    """
    place = resolve_device(device)
    if place.index is not None:
        raise ConfigError(f"--device {device}: the metric comet takes the first GPU; use --device {place.type}.")
    return 0 if place.type == "cpu" else 1

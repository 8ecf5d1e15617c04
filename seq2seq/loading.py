"""A checkpoint, or several that predict together, made ready for use."""

from collections.abc import Sequence
from pathlib import Path

from seq2seq.combination import Combination, load_combined
from seq2seq.config import INT8, EngineKind, EnsembleRule, Precision
from seq2seq.device import resolve_device, resolve_precision
from seq2seq.errors import ConfigError
from seq2seq.model.layout import for_few_rows
from seq2seq.model.quantized import quantize
from seq2seq.translator import Translator


def load(
    folder: str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    precision: str = "auto",
    ensemble: str | None = None,
    ensemble_weights: Sequence[float] | None = None,
    lm: str | Path | None = None,
    lm_weight: float | None = None,
    engine: str = EngineKind.torch.value,
    quantization: str | None = None,
) -> Translator:
    """A trained model, ready for use, or several that predict together.

    Args:
        folder: a checkpoint folder, or a run folder with best/ (or else last/) in it; a list of them makes an ensemble
            of models with the same vocabulary, which decodes by the settings of the first.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, float32, bfloat16, float16 or int8: the number format of weights and activations. auto is
            float32 on a CPU, the format that keeps lines independent of each other. int8 is for CPUs: 8-bit products,
            see model/quantized.py.
        ensemble: of several, the mean of their log_probs or of their probs; None is the former.
        ensemble_weights: of that mean, one for each, above 0; None weighs all alike.
        lm: the folder of a language model with the translator's target vocabulary. To each token's log-probability
            comes lm_weight times the language model's (shallow fusion, Gulcehre et al. 2015).
        lm_weight: above 0; None is 0.2.
        engine: torch, or ctranslate2, which only translates, by one model: see engines/ctranslate2.py. It also takes
            the folder that `seq2seq export` wrote.
        quantization: for engine=ctranslate2: a number format such as int8, in the place of precision.

    Raises:
        CheckpointError: a folder is not a checkpoint or is damaged.
        ConfigError: the device is not there, or cannot do the precision; the models do not fit each other, or a
            setting of their combination is impossible or without effect; the engine is unknown, not installed or
            cannot run this model.
    """
    folders = [folder] if isinstance(folder, str | Path) else list(folder)
    try:
        rule = None if ensemble is None else EnsembleRule(ensemble)
    except ValueError:
        raise ConfigError(f"ensemble ({ensemble}) must be one of {', '.join(EnsembleRule)}.") from None
    combination = Combination(folders, rule, ensemble_weights, lm, lm_weight)
    if engine != EngineKind.torch.value:
        return _by_engine(engine, combination, device=device, precision=precision, quantization=quantization)
    if quantization is not None:
        raise ConfigError(f"quantization ({quantization}) has no effect with engine=torch; use engine=ctranslate2.")
    try:
        place = resolve_device(device)
        if precision == INT8 and place.type != "cpu":
            raise ConfigError(f"precision=int8 is for CPUs; with device={place} use precision=float16 or bfloat16.")
        wanted = Precision.float32 if precision == INT8 else Precision(precision)
        if wanted is Precision.auto and place.type == "cpu":
            wanted = Precision.float32
        dtype = resolve_precision(wanted, place)
    except RuntimeError:
        raise ConfigError(f"device ({device}) must be auto, cpu, cuda, cuda:N or mps.") from None
    except ValueError:
        raise ConfigError(
            f"precision ({precision}) must be one of {', '.join(kind.value for kind in Precision)}, {INT8}."
        ) from None
    checkpoint = load_combined(combination, device=place)
    model = checkpoint.model.to(dtype)
    if precision == INT8:
        quantize(model)
    elif place.type == "cpu":
        for_few_rows(model)
    ratio = checkpoint.metrics.get("length_ratio")
    joined = checkpoint.metrics.get("joined_length", 0)
    return Translator(checkpoint.config, model, checkpoint.tokenizers, usual_length_ratio=ratio, joined_length=joined)


def _by_engine(
    engine: str, combination: Combination, *, device: str, precision: str, quantization: str | None
) -> Translator:
    kinds = [kind.value for kind in EngineKind]
    if engine not in kinds:
        raise ConfigError(f"engine ({engine}) must be one of {', '.join(kinds)}.")
    if problems := list(combination.problems()):
        raise ConfigError(problems)
    if not combination.is_one:
        raise ConfigError(f"engine={engine} runs one model by itself; name one checkpoint and no lm, or leave it out.")
    from seq2seq.engines.ctranslate2 import load_engine

    other = load_engine(combination.folders[0], device=device, precision=precision, quantization=quantization)
    exported = other.exported
    return Translator(exported.config, None, exported.tokenizers, joined_length=exported.joined_length, engine=other)

"""`python -m seq2seq.evaluate ckpt=FOLDER data=TEXT [decoding=greedy|beam|sample]`: score a checkpoint on a text.

Writes the translations and the scores beside each other, and the scores as one line of JSON to stdout. With
`baseline=FILE`, or the folder of a run that was evaluated, the difference from its translations is tested.
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from seq2seq.combination import Combination, load_combined
from seq2seq.config import Config, DecodingConfig, EnsembleRule, Precision, Task
from seq2seq.configure import check, checked, conf_dir, fail, hydra_flags, register_schemas
from seq2seq.data.corpus import Corpus, open_text
from seq2seq.data.prepare import Prepared, encode_text
from seq2seq.device import resolve_device, resolve_precision, set_threads
from seq2seq.errors import ConfigError, Seq2SeqError
from seq2seq.evaluation.significance import Judge, Paired
from seq2seq.evaluation.texts import EVALUATION, TRANSLATIONS, read_text, references_of, translations_of
from seq2seq.files import write_json, write_text
from seq2seq.plain import to_dict
from seq2seq.scoring import Scorer

PROGRAM = "python -m seq2seq.evaluate"


@dataclass(slots=True)
class EvaluateConfig:
    """What is scored on what, and how output is searched for."""

    ckpt: Any = ""
    """Checkpoint folder, or a run folder that holds best/ or last/; a list of them is an ensemble."""
    ensemble: EnsembleRule | None = None
    """Of several checkpoints, the mean of their log_probs (null is that) or of their probs."""
    ensemble_weights: list[float] | None = None
    """Of that mean, one for each checkpoint, above 0; null weighs all alike."""
    lm: str | None = None
    """Folder of a language model with the translator's target vocabulary, for shallow fusion."""
    lm_weight: float | None = None
    """What its log-probabilities are multiplied by, above 0; null is 0.2."""
    data: str = ""
    """A text spec (see config.DataConfig), or valid or test: the text that the run was validated or tested on."""
    output_dir: str | None = None
    """Where scores and translations are written; null: CKPT/../evaluation, for one checkpoint by itself."""
    device: str = "auto"
    precision: Precision = Precision.auto
    """Number format of the loss; output is decoded in float32, where lines do not depend on their neighbours."""
    threads: int | None = None
    """CPU threads; null uses every core this process may use."""
    seed: int = 1
    """Of decoding=sample."""
    ter: bool = False
    """Also score TER, which takes a second or more for a hundred lines."""
    baseline: str | None = None
    """Translations of the same text to test the difference from: a file, or the folder of a run that was evaluated."""
    paired: Paired = Paired.bootstrap
    """How: paired bootstrap resampling (1,000 samples) or approximate randomisation (10,000 trials)."""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)

    @property
    def combination(self) -> Combination:
        """The models that are scored together."""
        folders = self.ckpt if isinstance(self.ckpt, list) else [self.ckpt]
        return Combination(folders, self.ensemble, self.ensemble_weights, self.lm, self.lm_weight)

    def problems(self) -> Iterator[str]:
        """Sentences on impossible values, each naming the key, the value and the fix."""
        if not self.ckpt:
            yield "ckpt is not set; name a checkpoint folder, for example ckpt=runs/wmt_small/best."
        elif not all(isinstance(folder, str) and folder for folder in self.combination.folders):
            yield f"ckpt ({self.ckpt!r}) must be a checkpoint folder, or a list of them."
        else:
            yield from self.combination.problems()
            if not self.combination.is_one and self.output_dir is None:
                yield "output_dir is not set, and several models together have no folder of their own; name one."
        if not self.data:
            yield "data is not set; name a text, for example data=test or data=corpus/test."
        if self.paired is not Paired.bootstrap and not self.baseline:
            yield f"paired={self.paired.value} has no effect without baseline=FILE; leave it out."
        if self.threads is not None and self.threads < 1:
            yield f"threads ({self.threads}) must be at least 1, or null for all."
        if self.decoding.n_best != 1:
            yield f"decoding.n_best ({self.decoding.n_best}) must be 1: one translation of each line is scored."
        yield from self.decoding.problems()


def run(settings: EvaluateConfig) -> dict[str, Any]:
    """Score a checkpoint.

    Returns:
        The scores, as written to scores.json.

    Raises:
        Seq2SeqError: something the user can mend.
    """
    device = resolve_device(settings.device)
    dtype = resolve_precision(settings.precision, device)
    set_threads(settings.threads)
    checkpoint = load_combined(settings.combination, device=device)
    config: Config = dataclasses.replace(checkpoint.config, decoding=settings.decoding, seed=settings.seed)
    if config.task is not Task.translation:
        for name in ("ter", "baseline"):
            if getattr(settings, name):
                raise ConfigError(f"{name} has no effect with a model of task={config.task.value}; leave it out.")
    spec, split = settings.data, "test"
    if spec in ("valid", "test"):
        spec, split = getattr(config.data, spec), spec
        if spec is None:
            raise ConfigError(f"data={settings.data}: the run had no data.{settings.data}; name a text instead.")
    text = open_text(spec, config.data, task=config.task, key="data", split=split)
    encoded = encode_text(text, config, checkpoint.tokenizers)
    corpus = Corpus([text], text, text, "files", documents=config.data.documents)
    prepared = Prepared(corpus, checkpoint.tokenizers, [], encoded, encoded, None)
    scorer = Scorer(config, prepared, dtype=dtype, joined_length=checkpoint.metrics.get("joined_length", 0))
    references = [reference for _, reference in scorer.pairs("test") or ()]
    baseline = _baseline(settings.baseline, references) if settings.baseline else None
    scores = {"test": scorer.score(checkpoint.model, "test", with_ter=settings.ter)}
    for line in scorer.describe("test", scores):
        print(line, file=sys.stderr)
    folder = Path(settings.output_dir) if settings.output_dir else checkpoint.folder.parent / EVALUATION
    ckpt: Any = str(checkpoint.folder) if settings.combination.is_one else settings.ckpt
    result = {**scores["test"], "ckpt": ckpt, "data": spec, "decoding": to_dict(settings.decoding)}
    for name in ("ensemble", "ensemble_weights", "lm", "lm_weight"):
        if getattr(settings, name) is not None:
            result[name] = getattr(settings, name)
    if config.task is Task.translation:
        result["references_sha256"] = _checksum(references)
    if baseline is not None:
        result["baseline"] = _tested(settings, scorer.outputs["test"], baseline, references)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if "test" in scorer.outputs:
            write_text(folder / TRANSLATIONS, "".join(f"{line}\n" for line in scorer.outputs["test"]))
        write_json(folder / "scores.json", result)
    except OSError as error:
        raise ConfigError(
            f"output_dir={folder}: cannot be written ({error.strerror or error}); choose another."
        ) from error
    print(f"scores and output are in {folder}", file=sys.stderr)
    return result


def _baseline(name: str, references: Sequence[str]) -> list[str]:
    """The translations to compare with.

    Raises:
        DataError: they cannot be read.
        ConfigError: they are of another text.
    """
    path = translations_of(name)
    lines = [line.text for line in read_text(path)]
    if len(lines) != len(references):
        raise ConfigError(
            f"baseline={name}: it has {len(lines):,} lines, the text has {len(references):,}; name a translation of "
            "this text."
        )
    known = references_of(path) if path != name else None
    if known not in (None, _checksum(references)):
        raise ConfigError(
            f"baseline={name}: its translations are of another text; evaluate that run on this one first."
        )
    return lines


def _tested(
    settings: EvaluateConfig, outputs: Sequence[str], baseline: Sequence[str], references: Sequence[str]
) -> dict[str, Any]:
    """The differences from the baseline, for scores.json; also told on stderr."""
    judge = Judge([references], ["bleu", "chrf", *(["ter"] if settings.ter else [])])
    scores = judge.scores(outputs)
    (differences,) = judge.differences(outputs, [baseline], test=settings.paired)
    print(f"beside {settings.baseline} (paired {settings.paired.value})", file=sys.stderr)
    for name, difference in differences.items():
        print(f"  {difference.line(scores[name])}", file=sys.stderr)
    metrics = {name: difference.as_dict() for name, difference in differences.items()}
    return {"translations": settings.baseline, "paired": settings.paired.value, **metrics}


def _checksum(references: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(references).encode("utf-8", errors="replace")).hexdigest()


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="evaluate")
def _hydra_main(composed: DictConfig) -> None:
    try:
        print(json.dumps(run(checked(composed, EvaluateConfig)), ensure_ascii=False))
    except Seq2SeqError as error:
        sys.exit(fail(PROGRAM, error))
    except KeyboardInterrupt:
        print(f"{PROGRAM}: stopped.", file=sys.stderr)
        sys.exit(130)


def main() -> None:
    """Check the command line, then let Hydra run it."""
    register_schemas(evaluate_schema=EvaluateConfig)
    try:
        if not hydra_flags(sys.argv[1:]):
            check("evaluate", sys.argv[1:], EvaluateConfig)
    except ConfigError as error:
        sys.exit(fail(PROGRAM, error))
    _hydra_main()


if __name__ == "__main__":
    main()

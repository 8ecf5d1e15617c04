"""`python -m seq2seq.train +recipe=NAME [key=value ...]`: from text to a trained checkpoint and its scores.

`run` is the table of contents: text, tokenizers and ids; batches; model; training loop; scores.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the seconds that torch takes to load: no traceback

import contextlib
import errno
import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig

from seq2seq.checkpoint import (
    load_config,
    load_training_state,
    load_weights,
    read_weights,
    save_checkpoint,
    training_values,
    verify,
    versions,
)
from seq2seq.config import AUTO, Config, Precision, Resume, Task
from seq2seq.configure import checked, conf_dir, fail, hydra_flags, names_a_text, recipes, register_schemas, run_config
from seq2seq.data.changes import describe_change
from seq2seq.data.prepare import Prepared, prepare
from seq2seq.device import DTYPES, is_out_of_memory, resolve_device, resolve_precision, set_threads
from seq2seq.errors import CheckpointError, ConfigError, Seq2SeqError, TrainingError
from seq2seq.files import write_json
from seq2seq.memory import keep_freed_memory
from seq2seq.model.build import build_model
from seq2seq.model_card import model_card
from seq2seq.planning.budget import measured_batch_tokens
from seq2seq.scoring import Scorer, examples, training_batches
from seq2seq.training.averaging import mean_weights
from seq2seq.training.compilation import check_compiler
from seq2seq.training.curves import draw_curves
from seq2seq.training.distillation import load_teacher
from seq2seq.training.distributed import (
    LostContactError,
    Ranks,
    joined,
    left_at_once,
    place_of_this_process,
    spoken_once,
)
from seq2seq.training.interrupts import Interrupted, StopAtOnce
from seq2seq.training.loop import SaveCheckpoint, Trainer, is_better
from seq2seq.training.report import MetricsLog, duration, optional, show_notice
from seq2seq.training.run_folder import RunFolder, changed_settings
from seq2seq.training.vocabulary import given_tokenizers

PROGRAM = "python -m seq2seq.train"

WATCHED = {
    Task.translation: "bleu",
    Task.language_modelling: "loss",
    Task.classification: "accuracy",
    Task.tagging: "accuracy",
}
"""The metric that decides what is best, where training.early_stopping names none."""

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EIO)
"""Faults of a disk, not of the program."""


def run(config: Config) -> dict[str, Any]:
    """Train, or go on training, and score the result.

    Returns:
        What metrics.json holds.

    Raises:
        Seq2SeqError: something the user can mend.
        Interrupted: stopped by a signal; what was finished is saved.
    """
    folder = RunFolder(config.run_dir, keep=config.training.keep_checkpoints)
    with joined(config.device) as ranks, folder.reserved() if ranks.first else contextlib.nullcontext():
        return train_and_score(config, folder, ranks)


@dataclass(slots=True)
class Assembly:
    """A run put together: ready to train, at its start or where it stopped.

    Attributes:
        config: with a number for training.batch_tokens.
        folder: the run folder.
        prepared: the text.
        trainer: owns the model.
        scorer: of the validation and test text.
        save: writes checkpoints of this run.
        facts: what metrics.json says of it beside scores.
    """

    config: Config
    folder: RunFolder
    prepared: Prepared
    trainer: Trainer
    scorer: Scorer
    save: SaveCheckpoint
    facts: dict[str, Any]

    def log(self) -> MetricsLog:
        """Where its figures go; those of ranks other than the first go nowhere."""
        first = self.trainer.ranks.first
        return MetricsLog(
            self.folder.metrics_lines if first else Path(os.devnull),
            tensorboard=self.folder.path / "tensorboard" if self.config.training.tensorboard and first else None,
            step=self.trainer.position.step,
        )


def assembled(config: Config, folder: RunFolder, ranks: Ranks | None = None) -> Assembly:
    """Text, tokenizers and ids; model; training loop; from the folder's newest checkpoint where there is one.

    Args:
        config: the run.
        folder: where it is or will be.
        ranks: those that train together; None is this process alone.
    """
    ranks = ranks or Ranks(device=resolve_device(config.device))
    device = ranks.device
    dtype = ranks.broadcast(resolve_precision(config.precision, device))
    threads = set_threads(config.training.threads or ranks.threads())
    if config.training.compile:
        check_compiler(device)
    resumed = ranks.broadcast(checkpoint_to_go_on_from(folder, config) if ranks.first else None)
    state = load_training_state(resumed) if resumed else None
    if (
        state is not None
        and config.precision is Precision.auto
        and state.values.get("device", device.type) == device.type
    ):
        dtype = DTYPES[Precision(state.values["dtype"])]  # what the probe said at the start stays true

    with ranks.in_turn():
        teacher = load_teacher(config, device=device)
        tokenizers = given_tokenizers(config, resumed=resumed, teacher=teacher)
        prepared = prepare(config, tokenizers=tokenizers)
    check_text_is_shared(prepared, ranks)
    report_text(prepared)
    if resumed is not None and state is not None:
        check_text(state.values["text"], config, prepared, origin=resumed)
    if config.training.batch_tokens == AUTO:
        config = with_measured_batch_tokens(config, prepared, resumed, dtype=dtype, ranks=ranks)
    keep_freed_memory()
    torch.manual_seed(config.seed)
    model = build_model(
        config.model,
        task=config.task,
        source_vocab_size=prepared.tokenizers.source.vocab_size,
        target_vocab_size=prepared.tokenizers.target.vocab_size,
    ).to(device)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    say(f"model: {parameters:,} parameters, {device.type}, {str(dtype).removeprefix('torch.')}, {threads} threads")
    if teacher is not None:
        taught = sum(parameter.numel() for parameter in teacher.model.parameters())
        say(f"teacher: {taught:,} parameters, {config.training.teacher}")
    if ranks.world_size > 1:
        say(f"{ranks.world_size} ranks, {config.training.parallel.value}")
    if config.training.never_warm:
        say(
            f"training.warmup_steps ({config.training.warmup_steps:,}) is not below training.steps "
            f"({config.training.steps:,}): training.learning_rate is never reached; a tenth of the steps is usual"
        )

    scorer = Scorer(config, prepared, dtype=dtype, ranks=ranks, joined_length=prepared.joined_length)
    save = partial(
        save_checkpoint,
        config=config,
        tokenizers=prepared.tokenizers,
        card=model_card(config, corpus=prepared.corpus_name, parameters=parameters),
    )
    watch = config.training.early_stopping or WATCHED[config.task]
    trainer = Trainer(
        config,
        model,
        batches=training_batches(config, prepared),
        validate=scorer.validate,
        watch=watch,
        folder=folder,
        save=save,
        dtype=dtype,
        text=fingerprints_of(prepared),
        teacher=teacher,
        ranks=ranks,
    )
    if resumed is not None and state is not None:
        trainer.load_state(state, read_weights(resumed), origin=str(resumed))
        if ranks.first:
            mend_best(folder, trainer, save)
            folder.truncate_metrics(trainer.position.step)
        trainer.position = ranks.broadcast(trainer.position)
        say(f"going on from step {trainer.position.step:,} of {resumed}")
        before, now = state.values.get("micro_batches", trainer.micro_batches), trainer.micro_batches
        if before != now:
            say(
                f"warning: a step is now {now} micro-batches (ranks times training.accumulation) and was {before} "
                "before; the run goes on at the same place in the text, but not as it would have."
            )
        if config.training.steps is not None and config.training.steps < trainer.position.step:
            say(
                f"warning: training.steps ({config.training.steps}) is below the {trainer.position.step} steps that "
                "this run has already; it is scored as it is."
            )
    elif ranks.first:
        folder.metrics_lines.unlink(missing_ok=True)
    facts = {
        "corpus": prepared.corpus_name,
        "parameters": parameters,
        "precision": str(dtype).removeprefix("torch."),
        "device": device.type,
        "threads": threads,
        "ranks": ranks.world_size,
        "versions": versions(),
    }
    if config.task is Task.translation:
        facts["length_ratio"] = prepared.length_ratio
        facts["joined_length"] = prepared.joined_length
    return Assembly(config, folder, prepared, trainer, scorer, save, facts)


def train_and_score(config: Config, folder: RunFolder, ranks: Ranks) -> dict[str, Any]:
    """`run`, in a folder that only these ranks write to."""
    parts = assembled(config, folder, ranks)
    config, trainer, scorer = parts.config, parts.trainer, parts.scorer
    log = parts.log()
    try:
        trainer.fit(log)
    finally:
        log.close()
    ranks.barrier()  # what the first rank wrote is there for all

    average_newest(config, folder, trainer, scorer, parts.save)
    ranks.barrier()
    verify(folder.best)
    model = trainer.whole_model.to(ranks.device)
    load_weights(model, read_weights(folder.best), origin=str(folder.best))
    model.eval()
    final = {
        **scorer.final(model),
        **parts.facts,
        "best_step": trainer.position.best_step,
        "steps": trainer.position.step,
        "training_seconds": round(trainer.position.seconds, 1),
    }
    if ranks.first:
        corpus, parameters = parts.prepared.corpus_name, parts.facts["parameters"]
        card = model_card(config, corpus=corpus, parameters=parameters, metrics=final)
        parts.save(folder.best, model=model, metrics={"step": trainer.position.best_step, **final}, card=card)
        write_result(final, folder)
    report_result(config, scorer, final, folder)
    return final


def write_result(final: dict[str, Any], folder: RunFolder) -> None:
    """metrics.json and, where they can be drawn, the curves.

    Raises:
        TrainingError: the disk is full.
    """
    try:
        write_json(folder.metrics, final)
    except OSError as error:
        raise TrainingError(
            f"{folder.path}: the final scores could not be written ({error.strerror or error}); the checkpoints are "
            "whole. Make room and start the same command again."
        ) from error
    picture = folder.path / "curves.png"
    with optional(str(picture)):
        draw_curves(folder.metrics_lines, picture)
        say(f"curves: {picture}")


def fingerprints_of(prepared: Prepared) -> list[str]:
    """What the training texts are, as hashes."""
    return [source.fingerprint for source in prepared.corpus.train]


def check_text_is_shared(prepared: Prepared, ranks: Ranks) -> None:
    """Every rank must read the same text and vocabulary.

    Raises:
        TrainingError: one does not.
    """
    sides = (prepared.tokenizers.source, prepared.tokenizers.target)
    prints = ranks.gather((fingerprints_of(prepared), *(side.fingerprint for side in sides)))
    if different := [rank for rank, found in enumerate(prints) if found != prints[0]]:
        raise TrainingError(
            f"rank {different[0]} reads another text or vocabulary than rank 0; keep the text, data.cache_dir and "
            "run_dir on a disk that all machines share."
        )


def checkpoint_to_go_on_from(folder: RunFolder, config: Config) -> Path | None:
    """The newest good checkpoint of a run that is there already; None in a new folder.

    Raises:
        TrainingError: the folder holds another run.
    """
    folder.restore()
    newest, refused = folder.newest_good()
    if newest is None and not folder.best.exists():
        return None
    if newest is None:  # the loop writes last/ before its first step, so somebody removed it
        raise TrainingError(
            f"run_dir={folder.path} holds a result in best/ but no training state to go on from; choose another "
            "run_dir, or remove the folder."
        )
    if config.training.resume is Resume.never:
        raise TrainingError(
            f"run_dir={folder.path} already holds a run and training.resume=never; choose another run_dir, remove the "
            "folder, or go on with training.resume=auto."
        )
    for sentence in refused:
        say(f"warning: {sentence}")
    different = changed_settings(load_config(newest), config)
    if different:
        raise TrainingError(
            f"run_dir={folder.path} holds a run with other settings: {'; '.join(different[:5])}. To go on, give the "
            "same settings; to start anew, choose another run_dir or remove the folder."
        )
    if refused and folder.last.exists() and newest != folder.last:
        aside = folder.path / "damaged-last"
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(folder.last, aside)
    return newest


def mend_best(folder: RunFolder, trainer: Trainer, save: SaveCheckpoint) -> None:
    """Make a best/ that is damaged or missing again, from the states that it came from; else the next validation does.

    These are the state of its step or, where it is an average, those of all its steps.
    """
    position = trainer.position
    if position.best is None:
        return
    try:
        verify(folder.best)
        return
    except CheckpointError as error:
        reason = str(error)
    if states := states_of(folder, position.averaged or [position.best_step]):
        if position.averaged:
            weights = mean_weights(map(read_weights, states))
        else:
            weights = load_training_state(states[0]).group("average") or read_weights(states[0])
        metrics = {"step": position.best_step, "valid": position.best}
        save(folder.best, model=trainer.whole_model, weights=weights, metrics=metrics)
        say(f"warning: {reason} It is made again from {', '.join(map(str, states))}.")
        return
    say(f"warning: {reason} It is lost, and the next validation takes its place.")
    shutil.rmtree(folder.best, ignore_errors=True)
    position.best, position.best_step, position.averaged, position.validated_step = None, 0, [], 0


def states_of(folder: RunFolder, steps: Sequence[int]) -> list[Path]:
    """The whole checkpoints of some steps, in their order; [] where one is missing."""
    found = {}
    for state in (folder.last, *folder.kept()):
        with contextlib.suppress(CheckpointError):
            step = training_values(state)["step"]
            if step in steps and step not in found:
                verify(state)
                found[step] = state
    return [found[step] for step in steps] if found.keys() == set(steps) else []


def check_text(before: list[str] | str, config: Config, prepared: Prepared, *, origin: Path) -> None:
    """Refuse to go on with a training text that is not the one a run began with.

    Raises:
        TrainingError: says what has changed.
    """
    if isinstance(before, str):  # how a run of an older version noted it
        now = fingerprints_of(prepared)
        before = now if before == " ".join(now) else before.split(" ")
    if change := describe_change(before, config, prepared):
        raise TrainingError(
            f"{origin}: the training text has changed since this run began: {change}. Bring the old text back to go "
            "on, or choose another run_dir to start anew."
        )


def with_measured_batch_tokens(
    config: Config, prepared: Prepared, resumed: Path | None, *, dtype: torch.dtype, ranks: Ranks
) -> Config:
    """The run with a number for training.batch_tokens=auto: the one it began with, else what is measured now."""
    if resumed is not None:
        tokens = load_config(resumed).training.token_budget
        say(f"training.batch_tokens=auto: {tokens:,}, as this run began")
    else:
        say("training.batch_tokens=auto: trying sizes, for about a minute at most ...")
        tokens, reason = measured_batch_tokens(config, prepared, dtype=dtype, ranks=ranks)
        say(f"training.batch_tokens=auto: {tokens:,}, {reason}")
    return config.with_batch_tokens(tokens)


def average_newest(config: Config, folder: RunFolder, trainer: Trainer, scorer: Scorer, save: SaveCheckpoint) -> None:
    """Average the newest checkpoints and take the result as best if it scores better."""
    ranks = trainer.ranks
    newest = ranks.broadcast(checkpoints_to_average(folder, config.training.average_checkpoints) if ranks.first else {})
    if not newest:
        return
    steps = list(newest)
    with trainer.model_with(mean_weights(map(read_weights, newest.values()))) as model:
        model.eval()
        metrics = scorer.validate(model, lambda: None)
        better = is_better(trainer.watch, metrics, trainer.position.best)
        say(
            f"average of {len(newest)} checkpoints: {trainer.watch} {metrics[trainer.watch]:.4g}"
            f"{'  (best so far)' if better else ''}"
        )
        if better and ranks.first:
            save(folder.best, model=model, metrics={"step": steps[0], "valid": metrics})
    if better:
        trainer.record_average(metrics, steps)


def checkpoints_to_average(folder: RunFolder, count: int) -> dict[int, Path]:
    """By step, the whole ones among the newest so many checkpoints, at least two; none where there are fewer."""
    newest = [folder.last, *(older for older in folder.kept() if older != folder.name_when_older(0))][:count]
    if len(newest) < 2:
        return {}
    whole = {}
    for checkpoint in newest:
        try:
            verify(checkpoint)
            whole[int(training_values(checkpoint)["step"])] = checkpoint
        except CheckpointError as error:
            say(f"warning: the average leaves a checkpoint out: {error}")
    if len(whole) < 2:
        say(
            f"warning: of the newest {len(newest)} checkpoints {len(whole) or 'none'} is whole, so there is no average."
        )
        return {}
    return whole


# -------------------------------------------------------------------- reports


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


def report_text(prepared: Prepared) -> None:
    """What text there is, boxed if it is not the text that was asked for."""
    show_notice(prepared.notice)
    if prepared.drop_counts is not None:
        say(str(prepared.drop_counts))


def report_result(config: Config, scorer: Scorer, final: dict[str, Any], folder: RunFolder) -> None:
    """Examples and scores for people on stderr; metrics.json as one line on stdout."""
    say("")
    for line in examples(config, scorer):
        say(line)
    for split in ("valid", "test"):
        for line in scorer.describe(split, final):
            say(f"{split}: {line}")
    say(f"trained {final['steps']:,} steps in {duration(final['training_seconds'])}")
    use = {
        Task.translation: f"seq2seq-translate --ckpt {folder.best} < input.txt > output.txt",
        Task.language_modelling: f'seq2seq generate --ckpt {folder.best} --prompt "..."',
        Task.classification: f"seq2seq predict --ckpt {folder.best} < input.txt > output.txt",
        Task.tagging: f"seq2seq predict --ckpt {folder.best} < input.txt > output.txt",
    }[config.task]
    say(f"use it: {use}")
    print(json.dumps(final, ensure_ascii=False))


# --------------------------------------------------------------- command line


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="train")
def _hydra_main(composed: DictConfig) -> None:
    try:
        config = checked(composed)
    except ConfigError as error:
        sys.exit(spoken_once(partial(fail, PROGRAM, error)))
    try:
        with StopAtOnce():
            run(config)
    except LostContactError as error:
        fail(PROGRAM, error)
        sys.stderr.flush()
        os._exit(2)  # what still waits for the lost rank, on a GPU perhaps, must not keep this process
    except Seq2SeqError as error:
        sys.exit(fail(PROGRAM, error))
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        reason = f"{error.filename or 'run_dir'}: {error.strerror}. What was saved is whole; make room or mend the "
        sys.exit(fail(PROGRAM, TrainingError(f"{reason}permissions, then start the same command again.")))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (
            "There is not enough memory for the model and its optimiser, or to validate; what was saved is whole. Use "
        )
        sys.exit(fail(PROGRAM, TrainingError(f"{reason}a smaller model or a lower decoding.batch_tokens.")))
    except (Interrupted, KeyboardInterrupt) as stop:  # the latter: a second Ctrl-C, which does not wait
        again = shlex.join([*launcher(), "-m", "seq2seq.train", *sys.argv[1:]])
        reason = str(stop) or "stopped at once"
        say(f"\n{reason}; everything that was finished is saved. Go on with the same command:\n  {again}")
        sys.exit(stop.exit_code if isinstance(stop, Interrupted) else 128 + signal.SIGINT)


def launcher() -> list[str]:
    """The program that started this process, as far as it can be told."""
    ranks = place_of_this_process().local_world_size
    return ["python"] if ranks == 1 else ["torchrun", f"--nproc_per_node={ranks}"]


def list_recipes() -> str:
    """The recipes that ship, a line each."""
    lines = [f"  +recipe={name:<24}{description}" for name, description in recipes().items()]
    return "\n".join(["Choose a recipe, or name a training text with data.train=...:", "", *lines, ""])


def main() -> None:
    """Check the command line, then let Hydra run it."""
    arguments = sys.argv[1:]
    register_schemas()
    with left_at_once():
        try:
            if not hydra_flags(arguments):
                if not names_a_text(arguments) and place_of_this_process().rank == 0:
                    print(list_recipes())
                run_config(arguments, PROGRAM)
        except ConfigError as error:
            sys.exit(spoken_once(partial(fail, PROGRAM, error)))
        _hydra_main()


if __name__ == "__main__":
    main()

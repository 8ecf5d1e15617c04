"""What `distil` and `back-translate` share: a model translates a long text into one side of a new training corpus."""

import argparse
import shlex
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from seq2seq.cli.pair_output import LineProgress, PairOutput, Record
from seq2seq.config import Config, Task
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.answering import Answer
    from seq2seq.data.lines import Line
    from seq2seq.translator import Translator

T = TypeVar("T")

SETTINGS = [
    "search",
    "beam_size",
    "length_normalisation",
    "length_penalty",
    "split",
    "min_length",
    "max_length_ratio",
    "min_length_ratio",
    "max_length",
    "no_repeat_ngram_size",
    "repetition_penalty",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "epsilon_cutoff",
    "batch_tokens",
]
"""Search settings of both commands."""


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """--output, --source-language, --target-language."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output",
        required=True,
        metavar="PREFIX",
        help="the corpus to write, as data.train names it: PREFIX.LANGUAGE for each side. Until both are whole, the "
        "work done is in PREFIX.partial",
    )
    for side in ("source", "target"):
        group.add_argument(
            f"--{side}-language",
            metavar="NAME",
            help=f"of the model's {side}, the ending of that file's name (default: as the model was trained)",
        )


def languages(arguments: argparse.Namespace, config: Config) -> tuple[str, str]:
    """The model's source and target language.

    Raises:
        ConfigError: it does not translate, or a language is neither in the checkpoint nor given.
    """
    if config.task is not Task.translation:
        raise ConfigError(f"--ckpt {arguments.ckpt} holds a model of task={config.task.value}; a translator is needed.")
    found = []
    for side in ("source", "target"):
        language = getattr(arguments, f"{side}_language") or getattr(config.data, f"{side}_language")
        if language is None:
            raise ConfigError(f"the checkpoint has no data.{side}_language; name the file's ending: --{side}-language.")
        found.append(language)
    return found[0], found[1]


def answers_key(arguments: argparse.Namespace, model: "Translator", settings: dict[str, Any], **text: Any) -> str:
    """A name that is equal exactly when a command gives the same answers.

    Args:
        arguments: --ckpt among them.
        model: loaded from it.
        settings: of the search.
        text: what tells the text, and what is kept of an answer.
    """
    from seq2seq.checkpoint import resolve
    from seq2seq.data.cache import key_of
    from seq2seq.files import sha256
    from seq2seq.plain import to_dict

    seed = settings.get("seed")
    decoding = to_dict(model.settings(**settings))
    del decoding["batch_tokens"]  # changes speed and memory only
    return key_of(
        weights=sha256(resolve(arguments.ckpt) / "model.safetensors"),
        config=to_dict(model.config.model),
        tokenizers=[model.tokenizers.source.fingerprint, model.tokenizers.target.fingerprint],
        precision=arguments.precision,
        decoding=decoding,
        seed=seed,
        **text,
    )


def translate_rest(
    model: "Translator",
    lines: Iterable[tuple["Line | str", T]],
    *,
    output: PairOutput,
    progress: LineProgress,
    settings: dict[str, Any],
    record: Callable[["Answer", T], Record],
) -> None:
    """Translate the lines that have no answer yet.

    Args:
        model: translates.
        lines: all of them, each with what `record` wants to know of it.
        output: keeps the answers.
        progress: told of each.
        settings: of the search.
        record: what is kept of an answer.

    Raises:
        KeyboardInterrupt: says how to go on.
    """
    done = output.done
    waiting: deque[T] = deque()

    def rest() -> Iterator["Line | str"]:
        for line, companion in islice(lines, done, None):
            waiting.append(companion)
            yield line

    try:
        for answer in model.translate_stream(rest(), first_line=done, **settings):
            output.add(record(answer, waiting.popleft()))
            progress.advance()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; {output.done:,} of {progress.total:,} lines are done and kept in {output.partial}, and the same "
            "command goes on from there"
        ) from None


def training_command(config: Config) -> str:
    """The command line of a training run, as a shell reads it."""
    from seq2seq.configure import overrides_of

    # Neither a run's folder-keeping nor its machine belongs to the next run, and this one learns from text alone.
    fresh, settings = Config(), config.training
    for name in ("threads", "resume", "teacher", "teacher_weight", "teacher_temperature"):
        setattr(settings, name, getattr(fresh.training, name))
    config.device, config.precision, config.data.workers = fresh.device, fresh.precision, fresh.data.workers
    words = [shlex.quote(word) for word in overrides_of(config)]
    return " ".join(["python -m seq2seq.train", *words])

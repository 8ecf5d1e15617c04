"""`seq2seq distil`: a training corpus for a student, in which every target is the teacher's own output."""

import argparse
import itertools
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from seq2seq.cli.answers import load_model
from seq2seq.cli.augmentation import (
    SETTINGS,
    add_output_options,
    answers_key,
    languages,
    training_command,
    translate_rest,
)
from seq2seq.cli.formulas import length_formulas
from seq2seq.cli.options import add_model_options, add_search_options, at_least_one, given_settings
from seq2seq.cli.pair_output import LineProgress, PairOutput, Record
from seq2seq.config import Config, DecodingConfig, Search, Task
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.answering import Answer
    from seq2seq.data.files import Pair

DESCRIPTION = """\
Sequence-level knowledge distillation (Kim and Rush 2016, sections 3.2 and 3.3): translate a training corpus with a
trained model. A smaller model learns more from the result, which is more regular than the original.

  seq2seq distil --ckpt runs/multi30k/best --data corpus/train --output distilled/train

writes distilled/train.en, the sources as they are, and distilled/train.de, the model's outputs, line by line; then it
shows the command that trains on them. Stopped, the same command goes on where it was. The last line of stdout is a
summary in JSON."""

epilog = length_formulas


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model_options(parser)
    group = parser.add_argument_group("input")
    group.add_argument(
        "--data",
        required=True,
        nargs="+",
        metavar="TEXT",
        help="texts as data.train names them: corpus/train for corpus/train.en and corpus/train.de, a .tsv, .jsonl, "
        "hub:NAME",
    )
    group.add_argument(
        "--interpolate",
        type=at_least_one,
        metavar="N",
        help="of the N best outputs take the one most like the corpus's own target, by BLEU of the sentence "
        "(sequence-level interpolation); N is at most --beam-size (default: the best output)",
    )
    add_output_options(parser)
    add_search_options(parser, SETTINGS)


def run(arguments: argparse.Namespace, program: str) -> int:
    """Distil; returns the exit code."""
    from seq2seq.data.corpus import open_text

    settings = given_settings(arguments, SETTINGS)
    model = load_model(arguments)
    config = model.config
    config.data.source_language, config.data.target_language = languages(arguments, config)
    config.data.max_pairs = None  # all of the text that is named
    if arguments.interpolate is not None:
        _check_interpolation(arguments.interpolate, model.settings(**settings))
        settings["n_best"] = arguments.interpolate
    texts = [
        open_text(spec, config.data, task=Task.translation, key="--data", split="train") for spec in arguments.data
    ]

    def pairs() -> Iterator["Pair"]:
        return itertools.chain.from_iterable(texts)

    key = answers_key(
        arguments, model, settings, text=[text.fingerprint for text in texts], interpolate=arguments.interpolate
    )
    with PairOutput(arguments.output, (config.data.source_language, config.data.target_language), key=key) as output:
        total = sum(1 for _ in pairs())  # a line that cannot be read shows before hours of work
        progress = LineProgress(program, total=total, done=output.done, quiet=arguments.quiet)
        translate_rest(
            model, pairs(), output=output, progress=progress, settings=settings, record=_keeper(arguments.interpolate)
        )
        counts = {"pairs": total, "unchanged": 0, "unfinished": 0}

        def distilled() -> Iterator["Pair"]:
            for (source, target), record in zip(pairs(), output.records(), strict=True):
                counts["unchanged"] += record["text"] == target
                counts["unfinished"] += record["unfinished"]
                yield source, record["text"]

        output.write(distilled())
    command = training_command(_student(config, arguments.output))
    progress.say(
        f"{program}: {total:,} pairs, {counts['unchanged']:,} of them with the target they had, "
        f"{counts['unfinished']:,} cut at the length limit\n"
        f"train a student on them, its model.* as small as you like:\n  {command}"
    )
    summary: dict[str, Any] = {"output": [str(path) for path in output.paths], **counts, "train": command}
    print(json.dumps(summary, ensure_ascii=False))
    return 0


def _check_interpolation(count: int, settings: DecodingConfig) -> None:
    """Make sure that there are so many outputs to choose from.

    Raises:
        ConfigError: there are not.
    """
    if count == 1:
        raise ConfigError("--interpolate 1 leaves nothing to choose; name a larger number, or leave it out.")
    if settings.search is Search.greedy:
        raise ConfigError("--interpolate has no effect with --search greedy, which gives one output; use beam.")
    if settings.search is Search.beam and count > settings.beam_size:
        raise ConfigError(f"--interpolate ({count}) is more than --beam-size ({settings.beam_size}); raise that.")


def _keeper(interpolate: int | None) -> Callable[["Answer", str], Record]:
    """What is kept of an answer to a line with a given reference."""
    from seq2seq.data.lines import Note

    if interpolate is None:
        return lambda answer, _: {"text": answer.text, "unfinished": Note.unfinished in answer.notes}
    from seq2seq.evaluation.scores import SentenceBleu

    bleu = SentenceBleu()

    def closest(answer: "Answer", reference: str) -> Record:
        texts = [candidate.text for candidate in answer.candidates]
        # of equals the first, which the model likes best
        return {
            "text": max(texts, key=lambda text: bleu(text, reference)),
            "unfinished": Note.unfinished in answer.notes,
        }

    return closest


def _student(teacher: Config, corpus: str) -> Config:
    """The run of a student, as its teacher's but for the text."""
    teacher.data.train, teacher.data.weights = corpus, None
    teacher.run_dir = f"{teacher.run_dir}_student"
    return teacher

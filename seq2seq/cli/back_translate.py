"""`seq2seq back-translate`: text of the target language alone becomes training pairs, by a model of the reverse."""

import argparse
import itertools
import json
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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
from seq2seq.cli.options import add_model_options, add_search_options, given_settings
from seq2seq.cli.pair_output import LineProgress, PairOutput, Record
from seq2seq.cli.streams import Inputs
from seq2seq.config import Config, TokenizerKind
from seq2seq.data.filters import RATIO_SLACK, Filter
from seq2seq.data.lines import Line, Note
from seq2seq.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seq2seq.answering import Answer
    from seq2seq.data.files import Pair
    from seq2seq.data.tokenizer import Tokenizers

TAG = "<bt>"
BLOCK = 1000
"""Pairs whose lengths are compared at once."""

DESCRIPTION = f"""\
Back-translation (Sennrich et al. 2016): text of the language that you want to translate into, without translations,
becomes training pairs. A model of the reverse direction makes the sources.

  seq2seq back-translate --ckpt runs/de-en/best --input mono.de --output bt/train --tag

for an English-German model: writes bt/train.de, lines of mono.de, and bt/train.en, what the model makes of them, and
shows the command that trains on both corpora. Train the reverse model by swapping data.source_language and
data.target_language. Stopped, the same command goes on where it was. The last line of stdout is a summary in JSON.

  --search sample    draws the sources instead of searching for the likeliest: where there is much text, their variety
                     teaches more (Edunov et al. 2018); with little text or a weak model, beam search is better
  --tag              begins each source with {TAG}, so that the model learns which sources are made up (Caswell et al.
                     2019); the tokenizer needs that symbol, as the command shown has it

Left out and counted: blank lines, lines that are not UTF-8, repeated lines, lines longer than the model takes, outputs
that are empty, that stop at the length limit, that copy their line, or whose length does not go with it."""


@dataclass(slots=True)
class Counts:
    """Lines read and why some became no pair; each is counted under the first rule it breaks."""

    read: int = 0
    blank: int = field(default=0, metadata={"label": "blank lines"})
    damaged: int = field(default=0, metadata={"label": "not UTF-8"})
    repeated: int = field(default=0, metadata={"label": "repeated lines"})
    too_long: int = field(default=0, metadata={"label": "longer than data.max_length of the model"})
    unfinished: int = field(default=0, metadata={"label": "output stopped at its length limit"})
    copied: int = field(default=0, metadata={"label": "output is the line itself"})
    empty: int = field(default=0, metadata={"label": "output is empty"})
    length_ratio: int = field(default=0, metadata={"label": "lengths beyond --pair-ratio"})
    pairs: int = 0

    def __str__(self) -> str:
        """One table."""
        rows = [("lines read", self.read)]
        for item in self.__dataclass_fields__.values():
            if label := item.metadata.get("label"):
                rows.append((f"left out: {label}", getattr(self, item.name)))
        rows.append(("pairs written", self.pairs))
        return "\n".join(f"{label:<50}{count:>12,}" for label, count in rows)


epilog = length_formulas


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model_options(parser)
    group = parser.add_argument_group("input")
    group.add_argument(
        "--input",
        required=True,
        nargs="+",
        metavar="FILE",
        help="text files in the model's source language, a sentence a line, gzip where the name ends in .gz",
    )
    add_output_options(parser)
    group = parser.add_argument_group("pairs")
    group.add_argument(
        "--tag",
        nargs="?",
        const=TAG,
        metavar="SYMBOL",
        help=f"begin each made-up source with this symbol (without SYMBOL: {TAG})",
    )
    group.add_argument(
        "--pair-ratio",
        type=float,
        default=3.0,
        metavar="X",
        help=f"leave out pairs whose sides differ in tokens by more than this factor and {RATIO_SLACK} (default: 3)",
    )
    add_search_options(parser, SETTINGS)


def run(arguments: argparse.Namespace, program: str) -> int:
    """Back-translate; returns the exit code."""
    from seq2seq.data.files import hash_files

    settings = given_settings(arguments, SETTINGS)
    _check(arguments)
    model = load_model(arguments)
    config = model.config
    if arguments.tag and config.tokenizer.kind in (TokenizerKind.characters, TokenizerKind.bytes):
        kind = config.tokenizer.kind.value
        raise ConfigError(
            f"--tag needs a tokenizer that can hold a symbol; tokenizer.kind={kind} cannot, leave it out."
        )
    mono_language, made_language = languages(arguments, config)
    key = answers_key(arguments, model, settings, text=hash_files(*map(Path, arguments.input)))
    with PairOutput(arguments.output, (made_language, mono_language), key=key) as output:
        usable, counts = _usable(arguments.input)
        progress = LineProgress(program, total=int(usable.sum()), done=output.done, quiet=arguments.quiet)
        lines = ((line, None) for line in _chosen(arguments.input, usable))
        translate_rest(model, lines, output=output, progress=progress, settings=settings, record=_kept)
        answered = zip(output.records(), _chosen(arguments.input, usable), strict=True)
        rules = Filter(max_length=config.data.max_length, max_length_ratio=arguments.pair_ratio)
        tag = f"{arguments.tag} " if arguments.tag else ""
        good = _good(answered, rules, model.tokenizers, counts)
        counts.pairs = output.write(_some((tag + made, line) for made, line in good))
    command = training_command(_forward(config, arguments, made_language, mono_language))
    progress.say(f"{counts}\ntrain on the pairs beside the others, as often as data.weights says:\n  {command}")
    if config.data.max_pairs is not None and config.data.max_pairs < counts.pairs:
        progress.say(
            f"its data.max_pairs={config.data.max_pairs} also limits the new pairs; remove it to read them all."
        )
    summary: dict[str, Any] = {"output": [str(path) for path in output.paths], **asdict(counts), "train": command}
    print(json.dumps(summary, ensure_ascii=False))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that cannot be.

    Raises:
        ConfigError: one cannot.
    """
    Inputs(arguments.input)  # refuses what is not there
    for name in arguments.input:
        if not Path(name).is_file():
            raise ConfigError(
                f"--input {name}: the text is read more than once, so it must be a file; write it to one."
            )
    if not arguments.pair_ratio >= 1:
        raise ConfigError(f"--pair-ratio ({arguments.pair_ratio}) must be 1 or more.")
    tag = arguments.tag
    if tag is not None and (not tag or len(tag.split()) != 1 or tag != tag.strip() or not tag.isprintable()):
        raise ConfigError(f"--tag ({tag!r}) must be one word without spaces, such as {TAG}.")
    if tag in ("<s>", "</s>", "<pad>", "<unk>"):
        raise ConfigError(f"--tag ({tag}) is a special symbol of every tokenizer; name another, such as {TAG}.")


def _lines(names: list[str]) -> Iterator[Line]:
    return (line for line in Inputs(names).lines() if line is not None)


def _usable(names: list[str]) -> tuple[npt.NDArray[np.bool_], Counts]:
    """Which lines are worth translating, and the counts of the others; 8 bytes of memory a line."""
    counts = Counts()
    hashes = array("Q")
    good = array("b")
    for line in _lines(names):
        words = line.text.split()
        counts.blank += not words
        damaged = bool(words) and Note.invalid_utf8 in line.notes
        counts.damaged += damaged
        good.append(bool(words) and not damaged)
        digest = blake2b(" ".join(words).encode(), digest_size=8).digest()
        hashes.append(int.from_bytes(digest, "little"))
    counts.read = len(good)
    usable = np.array(good, dtype=np.bool_)
    places = np.flatnonzero(usable)
    _, first = np.unique(np.array(hashes, dtype=np.uint64)[places], return_index=True)
    counts.repeated = len(places) - len(first)
    usable[:] = False
    usable[places[first]] = True
    return usable, counts


def _chosen(names: list[str], usable: npt.NDArray[np.bool_]) -> Iterator[Line]:
    """The usable lines.

    Raises:
        DataError: the files have changed since they were looked at.
    """
    count = 0
    for line in _lines(names):
        if count < len(usable) and usable[count]:
            yield line
        count += 1
    if count != len(usable):
        raise DataError(f"{', '.join(names)}: changed while being read; start the command again.")


def _kept(answer: "Answer", _: None) -> Record:
    return {
        "text": answer.text,
        "too_long": Note.split in answer.notes or Note.cut in answer.notes,
        "unfinished": Note.unfinished in answer.notes,
    }


def _good(
    answered: Iterator[tuple[Record, Line]], rules: Filter, tokenizers: "Tokenizers", counts: Counts
) -> Iterator["Pair"]:
    """(made-up source, line) of the answers that no rule forbids; the others are counted."""

    def candidates() -> Iterator["Pair"]:
        for record, line in answered:
            if record["too_long"]:
                counts.too_long += 1
            elif record["unfinished"]:
                counts.unfinished += 1
            elif _plain(record["text"]) == _plain(line.text):
                counts.copied += 1
            else:
                yield record["text"], line.text

    pairs = candidates()
    while block := list(itertools.islice(pairs, BLOCK)):
        made, lines = zip(*block, strict=True)
        lengths = [
            np.array([len(ids) for ids in tokenizer.encode_batch(texts)], dtype=np.int64)
            for tokenizer, texts in ((tokenizers.target, made), (tokenizers.source, lines))
        ]
        keep, dropped = rules.keep(*lengths)
        counts.empty += dropped.empty
        counts.too_long += dropped.too_long
        counts.length_ratio += dropped.length_ratio
        yield from itertools.compress(block, keep)


def _some(pairs: Iterator["Pair"]) -> Iterator["Pair"]:
    """The pairs.

    Raises:
        DataError: there is none.
    """
    first = next(pairs, None)
    if first is None:
        raise DataError("no pair is left to train on: every line was dropped, or its translation was no use.")
    yield first
    yield from pairs


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _forward(reverse: Config, arguments: argparse.Namespace, source: str, target: str) -> Config:
    """The run of the model that the pairs are for: the reverse model's, turned round, on both corpora."""
    data = reverse.data
    data.source_language, data.target_language = source, target
    data.source_field, data.target_field = data.target_field, data.source_field
    corpora = data.train if isinstance(data.train, list) else [data.train]
    data.weights = [*(data.weights or [1.0] * len(corpora)), 1.0]
    data.train = [*corpora, arguments.output]
    if arguments.tag and arguments.tag not in reverse.tokenizer.user_symbols:
        reverse.tokenizer.user_symbols = [*reverse.tokenizer.user_symbols, arguments.tag]
    reverse.run_dir = f"{reverse.run_dir}_back_translated"
    return reverse

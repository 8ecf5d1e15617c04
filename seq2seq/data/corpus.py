"""From text specs (data.train, data.valid, data.test) to the text they name."""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seq2seq.config import DataConfig, Documents, Task, WhenOffline
from seq2seq.data.cache import cache_folder, key_of
from seq2seq.data.files import Columns, JsonLinesFile, Pair, PairedFiles, TextFile, TextSource, TsvFile
from seq2seq.data.hub import HubUnreachableError, open_hub
from seq2seq.data.offline import english_text, sample_text
from seq2seq.errors import DataError

HUB = "hub:"
SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class Corpus:
    """The text of a run.

    Attributes:
        train: one source for each entry of data.train.
        valid: validation text.
        test: test text, where data.test names one.
        name: "files", "hub" or "sample", by where the training text comes from.
        notice: what the user must know about it, to be shown in a box; None when all is as asked.
        documents: what one document of a language model's text is.
        valid_from_train: the validation text was cut off the end of the training text.
    """

    train: list[TextSource]
    valid: TextSource
    test: TextSource | None
    name: str
    notice: str | None = None
    documents: Documents = Documents.line
    valid_from_train: bool = False


def open_corpus(config: DataConfig, *, task: Task) -> Corpus:
    """The text that data.train, data.valid and data.test name. Local text is not read yet, hub text is fetched.

    Raises:
        DataError: a file is missing, a language is not set, or the hub cannot be reached and data.when_offline=fail.
    """
    specs: list[str] = config.train if isinstance(config.train, list) else [config.train]
    try:
        train = [open_text(spec, config, task=task, key="data.train") for spec in specs]
        valid = open_text(config.valid, config, task=task, key="data.valid") if config.valid is not None else None
        test = open_text(config.test, config, task=task, key="data.test") if config.test is not None else None
    except HubUnreachableError as error:
        from_hub = any(spec.startswith(HUB) for spec in specs)
        if config.when_offline is WhenOffline.fail or not from_hub:
            raise HubUnreachableError(
                f"{error} Name a local file there, or sample, a text that is embedded."
            ) from error
        return _stand_in(config, task=task, reason=error)
    if all(spec == SAMPLE for spec in specs):
        name = "sample"
    else:
        name = "hub" if any(spec.startswith(HUB) for spec in specs) else "files"
    return _corpus(config, train, valid, test, name=name)


def open_text(spec: str, config: DataConfig, *, task: Task, key: str, split: str | None = None) -> TextSource:
    """The text that one spec names; see DataConfig for the kinds of spec.

    Args:
        spec: the text spec.
        config: languages, columns and the like.
        task: decides whether text comes in pairs.
        key: the setting that holds the spec, for messages.
        split: train, valid or test, for a hub dataset that names none; None: the end of `key`.

    Raises:
        HubUnreachableError: a hub dataset that is not in the cache while the hub cannot be reached.
        DataError: a file is missing or a language is not set.
    """
    split = split or key.removeprefix("data.")
    limit = config.max_pairs if split == "train" else None
    language_model = task is Task.language_modelling
    if spec == SAMPLE:
        source = _sample(config, task=task, split=split, key=key)
    elif spec.startswith(HUB):
        source = open_hub(
            spec.removeprefix(HUB),
            default_split={"valid": "validation"}.get(split, split),
            columns=_columns(config, task=task, key=key),
            streaming=config.streaming,
            limit=limit,
            cache=cache_folder(config),
            key=key,
        )
    else:
        path = Path(spec).expanduser()
        kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        if kind == ".jsonl":
            source = JsonLinesFile(_existing(path, key), _columns(config, task=task, key=key))
        elif language_model:
            source = TextFile(_one_side(spec, config, key=key), whole=config.documents is Documents.file)
        elif kind == ".tsv":
            source = TsvFile(_existing(path, key))
        else:
            source = PairedFiles(*_two_sides(spec, config, key=key))
    return source if limit is None else FirstPairs(source, limit)


class FirstPairs:
    """The first `count` pairs of a source."""

    def __init__(self, source: TextSource, count: int) -> None:
        self.source, self.count, self.name = source, count, source.name

    @property
    def fingerprint(self) -> str:
        """The source's, with the number of pairs."""
        return key_of(source=self.source.fingerprint, first=self.count)

    def __iter__(self) -> Iterator[Pair]:
        """Read from the start; of two files all lines are counted, which tells whether they belong together."""
        if isinstance(self.source, PairedFiles):
            self.source.check_line_counts()
        yield from itertools.islice(self.source, self.count)

    def where(self, index: int) -> str:
        """The place in the source."""
        return self.source.where(index)

    def fraction(self) -> float | None:
        """Unknown: the reading stops somewhere inside the source."""
        return None


class TextPart:
    """The first or the last part of a language model's text.

    Args:
        source: the whole text.
        last: the share at its end that is held out.
        held_out: this is the held-out part; else the part before it.
        by_characters: cut at a character (nanoGPT's split of one text); else between documents.
    """

    def __init__(self, source: TextSource, *, last: float, held_out: bool, by_characters: bool) -> None:
        self.source, self.last, self.held_out, self.by_characters = source, last, held_out, by_characters
        self.name = f"{'the last' if held_out else 'all but the last'} {last:.0%} of {source.name}"

    @property
    def fingerprint(self) -> str:
        """The source's, with the part."""
        return key_of(
            source=self.source.fingerprint, last=self.last, held_out=self.held_out, by_characters=self.by_characters
        )

    def __iter__(self) -> Iterator[Pair]:
        """Read from the start.

        Raises:
            DataError: this part would be empty.
        """
        total = sum(self._size(text) for _, text in self.source)
        cut = int(total * (1 - self.last))
        if not 0 < cut < total:
            raise DataError(
                f"{self.source.name} has {total:,} {'characters' if self.by_characters else 'documents'}, too few to "
                f"keep {self.last:.0%} for validation. Name a validation text with data.valid, raise "
                "data.valid_fraction, or set data.documents=file to cut inside a document."
            )
        position = 0
        for _, text in self.source:
            before, inside = position, self._size(text)
            position += inside
            if self.by_characters:
                split = min(max(cut - before, 0), inside)
                text = text[split:] if self.held_out else text[:split]
                if text:
                    yield "", text
            elif (before >= cut) == self.held_out:
                yield "", text

    def _size(self, text: str) -> int:
        return len(text) if self.by_characters else 1

    def where(self, index: int) -> str:
        """The name alone: a language model's text has no line that could be wrong."""
        return self.name

    def fraction(self) -> float | None:
        """Share of the whole text read."""
        return self.source.fraction()


def _corpus(
    config: DataConfig, train: list[TextSource], valid: TextSource | None, test: TextSource | None, *, name: str
) -> Corpus:
    """A corpus, its validation text cut off the training text when there is no other."""
    if valid is not None:
        return Corpus(train, valid, test, name, documents=config.documents)
    if len(train) > 1:
        raise DataError(
            f"data.valid is not set, and data.train names {len(train)} texts; name a validation text with data.valid."
        )
    kept, held_out = (
        TextPart(
            train[0],
            last=config.valid_fraction,
            held_out=held_out,
            by_characters=config.documents is Documents.file,
        )
        for held_out in (False, True)
    )
    return Corpus([kept], held_out, test, name, documents=config.documents, valid_from_train=True)


def _stand_in(config: DataConfig, *, task: Task, reason: HubUnreachableError) -> Corpus:
    """The corpus at hand for when the hub is not."""
    if task not in (Task.translation, Task.language_modelling):
        raise DataError(f"{reason} There is no embedded sample corpus for task={task.value}.") from reason
    forbid = "data.when_offline=fail forbids this."

    def limited(text: TextSource) -> TextSource:
        return text if config.max_pairs is None else FirstPairs(text, config.max_pairs)

    if task is Task.language_modelling:
        text = limited(english_text(whole=config.documents is Documents.file, cache=cache_folder(config)))
        notice = f"{reason} Training on English text that comes with Python instead ({text.name}); {forbid}"
        corpus = _corpus(config, [text], None, None, name="sample")
    else:
        languages = f"{config.source_language}-{config.target_language}"
        reverse = config.source_language == "de" or config.target_language == "en"
        train, valid, test = (
            sample_text(split, reverse=reverse, cache=cache_folder(config)) for split in ("train", "valid", "test")
        )
        direction = "German-English" if reverse else "English-German"
        asked = "" if {config.source_language, config.target_language} == {"en", "de"} else f", not {languages},"
        notice = (
            f"{reason} Training, validating and testing on the embedded sample corpus instead ({direction}{asked} made "
            f"by a small grammar; its scores say nothing about real text); {forbid}"
        )
        corpus = Corpus([limited(train)], valid, test, "sample")
    return dataclasses.replace(corpus, notice=notice)


def _sample(config: DataConfig, *, task: Task, split: str, key: str) -> TextSource:
    if task is Task.language_modelling:
        return english_text(whole=config.documents is Documents.file, cache=cache_folder(config))
    languages = config.source_language, config.target_language
    if task is not Task.translation or set(languages) != {"en", "de"}:
        raise DataError(
            f"{key}=sample is English-German text for task=translation; this run has task={task.value}, "
            f"data.source_language={languages[0]} and data.target_language={languages[1]}. Set those to en and de, "
            "or name another text."
        )
    return sample_text(split, reverse=languages[0] == "de", cache=cache_folder(config))


def _columns(config: DataConfig, *, task: Task, key: str) -> Columns:
    """Where a row keeps its pair: the columns set, else the language code, or translation.<code>."""
    if task is Task.language_modelling:
        return Columns((), (config.source_field or "text",), join=config.documents is Documents.file)

    def names(field: str | None, language: str | None, side: str) -> tuple[str, ...]:
        if field is not None:
            return (field,)
        if language is None:
            raise DataError(
                f"{key}: neither data.{side}_field nor data.{side}_language is set; name the column that holds the "
                f"{side}."
            )
        return language, f"translation.{language}"

    return Columns(
        names(config.source_field, config.source_language, "source"),
        names(config.target_field, config.target_language, "target"),
    )


def _existing(path: Path, key: str) -> Path:
    if not path.is_file():
        raise DataError(f"{key}: no such file, {path}. Correct the path; relative ones start at {Path.cwd()}.")
    return path


def _candidates(spec: str, language: str | None, *, key: str, side: str) -> list[Path]:
    """Files that may hold one side of a prefix or pattern."""
    if language is None:
        raise DataError(f"{key}={spec} needs data.{side}_language, the end of the {side} file's name; set it.")
    name = spec.replace("{language}", language) if "{language}" in spec else f"{spec}.{language}"
    return [Path(name).expanduser(), Path(f"{name}.gz").expanduser()]


def _two_sides(spec: str, config: DataConfig, *, key: str) -> tuple[Path, Path]:
    if Path(spec).expanduser().is_file():
        raise DataError(
            f"{key}={spec} is one file, and two sides are needed. Give what their names have in common (corpus/train "
            "for corpus/train.en and corpus/train.de), or a .tsv or .jsonl file."
        )
    sides = []
    for side, language in (("source", config.source_language), ("target", config.target_language)):
        tried = _candidates(spec, language, key=key, side=side)
        found = next((path for path in tried if path.is_file()), None)
        if found is None:
            raise DataError(
                f"{key}={spec}: no {side} file; looked for {tried[0]} and {tried[1]}. Correct the path (relative ones "
                f"start at {Path.cwd()}) or data.{side}_language."
            )
        sides.append(found)
    return sides[0], sides[1]


def _one_side(spec: str, config: DataConfig, *, key: str) -> Path:
    """A language model's file: the one named, or the source side of a prefix or pattern."""
    tried = [Path(spec).expanduser()]
    if config.source_language is not None:
        tried += _candidates(spec, config.source_language, key=key, side="source")
    for path in tried:
        if path.is_file():
            return path
    raise DataError(
        f"{key}: no such file; looked for {' and '.join(map(str, tried))}. Correct the path; relative ones start at "
        f"{Path.cwd()}."
    )

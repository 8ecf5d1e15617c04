"""Hugging Face datasets: from the hub, fetched once into the cache, and from local folders in the hub's layout."""

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from seq2seq.data.cache import key_of
from seq2seq.data.files import Columns, Pair, TextSource, hash_files
from seq2seq.data.progress import say
from seq2seq.data.text_cache import kept
from seq2seq.errors import DataError

HUB_SECONDS = 4.0
"""How long the hub may take to answer before it counts as unreachable, a hanging name look-up included."""
FORMAT = 2
"""Version of the fetched files."""
CONVERTED = "refs/convert/parquet"
"""Branch on which the hub keeps its own conversion of datasets that need a script."""


class HubUnreachableError(DataError):
    """A dataset lives on the hub, and the hub cannot be reached."""


def open_hub(
    spec: str,
    *,
    default_split: str,
    columns: Columns,
    streaming: bool,
    limit: int | None,
    cache: Path,
    key: str,
) -> TextSource:
    """The text of a dataset.

    A local folder is read where it lies. A dataset on the hub is copied row by row into `cache` when it is first
    asked for; from then on every run reads that copy, so that a run is the same tomorrow, starts at once and needs no
    network.

    Args:
        spec: NAME[:CONFIG[:SPLIT]], NAME a hub name or a folder.
        default_split: the split when `spec` names none.
        columns: where a row keeps its pair.
        streaming: read over the network as a stream; else let `datasets` download the files whole first.
        limit: fetch no more rows than these; None fetches all.
        cache: the cache folder.
        key: the setting that holds the spec, for messages.

    Raises:
        HubUnreachableError: the hub cannot be reached within HUB_SECONDS and the dataset is not in the cache.
        DataError: no such dataset, configuration or split.
    """
    name, config, split = (*spec.split(":"), "", "")[:3]
    split = split or default_split
    asked = f"{key}=hub:{spec}"
    if Path(name).expanduser().is_dir():
        return LocalDataset(Path(name).expanduser(), config=config or None, split=split, columns=columns, asked=asked)
    if name.startswith((".", "/", "~")):
        raise DataError(f"{asked}: no such folder, {name}. Correct the path; relative ones start at {Path.cwd()}.")

    rows = HubRows(name, config or None, split=split, columns=columns, streaming=streaming, limit=limit, asked=asked)
    folder = key_of(format=FORMAT, name=name, config=config, split=split, columns=str(columns), limit=limit)
    return kept(cache / "hub" / folder, rows, name=f"{name} ({split})", total=limit)


class HubRows:
    """The pairs of a dataset on the hub, readable from any place on.

    Args:
        name: of the dataset.
        config: configuration; None when there is one.
        split: "train", "validation", ...
        columns: where a row keeps its pair.
        streaming: read over the network as a stream; else let `datasets` download the files whole first.
        limit: no more rows than these; None for all.
        asked: the setting, for messages.
    """

    def __init__(
        self,
        name: str,
        config: str | None,
        *,
        split: str,
        columns: Columns,
        streaming: bool,
        limit: int | None,
        asked: str,
    ) -> None:
        self.name, self.config, self.split, self.columns = name, config, split, columns
        self.streaming, self.limit, self.asked = streaming, limit, asked
        self._dataset: Any = None

    def behind(self, done: int, mark: Any) -> Iterator[Pair]:
        """The pairs behind the first `done`.

        A stream goes on at `mark` without reading what lies before it, unless another version of `datasets` made it;
        then, as where there is no mark and in a dataset that is no stream, the rows before are left out.

        Raises:
            HubUnreachableError: the hub cannot be reached, or no longer.
            DataError: no such dataset, configuration or split; or a row without the columns.
        """
        self._dataset = _remote(
            self.name, config=self.config, split=self.split, streaming=self.streaming, asked=self.asked
        )
        with _told(self.asked):
            import datasets

            stream = isinstance(self._dataset, datasets.IterableDataset)
            if stream and mark is not None and mark["datasets"] == datasets.__version__:
                self._dataset.load_state_dict(mark["state"])
            elif done:
                self._dataset = self._dataset.skip(done)
            left = None if self.limit is None else max(self.limit - done, 0)
            for number, row in enumerate(itertools.islice(_plain_rows(self._dataset), left), start=done + 1):
                yield self.columns(row, where=partial("{}, row {}".format, self.asked, number))

    def mark(self) -> Any:
        """Where a stream is, as `datasets` has it; None for other datasets."""
        import datasets

        if not isinstance(self._dataset, datasets.IterableDataset):
            return None
        return {"datasets": datasets.__version__, "state": self._dataset.state_dict()}


def why_unreachable(*, seconds: float = HUB_SECONDS) -> str | None:
    """Ask the hub for a sign of life; None when it gives one, else the reason, after `seconds` at most."""
    if hub_is_forbidden():
        return "HF_HUB_OFFLINE is set"
    answer: list[str | None] = []

    def ask() -> None:
        try:
            from huggingface_hub import constants
            from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

            get_session().head(constants.ENDPOINT, timeout=seconds)
            answer.append(None)
        except Exception as error:  # the library's HTTP client is not ours to know
            answer.append(str(error) or type(error).__name__)

    # A name look-up obeys no time limit, so it is left behind in a thread of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0] if answer else f"no answer within {seconds:.0f} seconds"


def hub_is_forbidden() -> bool:
    """Whether the environment forbids the network, by the variables that Hugging Face's libraries obey."""
    values = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))
    return any(value.upper() in ("1", "ON", "YES", "TRUE") for value in values)


class LocalDataset:
    """A split of a dataset in a local folder, read as a stream.

    Args:
        folder: the dataset's folder: data files, and a card (README.md) where there are several configurations.
        config: configuration; None when there is one.
        split: "train", "validation", ...
        columns: where a row keeps its pair.
        asked: the setting, for messages.
    """

    def __init__(self, folder: Path, *, config: str | None, split: str, columns: Columns, asked: str) -> None:
        self.folder, self.config, self.split, self.columns, self.asked = folder, config, split, columns, asked
        self.name = f"{folder} ({split})"
        with _told(asked):
            import datasets

            self._builder = datasets.load_dataset_builder(str(folder), config)
        files = self._builder.config.data_files or {}
        if split not in files:
            raise DataError(
                f"{asked}: the dataset has no split {split!r}, but {', '.join(map(repr, files))}. Name one: "
                f"hub:{folder}:{config or ''}:SPLIT."
            )
        self._files = [Path(file) for file in files[split]]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the data files and of the columns read."""
        return f"{hash_files(*self._files)} {self.columns}"

    def __iter__(self) -> Iterator[Pair]:
        """Read from the start."""
        with _told(self.asked):
            dataset = self._builder.as_streaming_dataset(split=self.split)
            for index, row in enumerate(_plain_rows(dataset)):
                yield self.columns(row, where=partial(self.where, index))

    def where(self, index: int) -> str:
        """The row's number."""
        return f"{self.name}, row {index + 1}"

    def fraction(self) -> float | None:
        """Unknown."""
        return None


def _remote(name: str, *, config: str | None, split: str, streaming: bool, asked: str) -> Any:
    """A dataset on the hub; nothing of it has been read yet when this returns, but it exists."""
    forbidden = hub_is_forbidden()
    if not forbidden and (reason := why_unreachable()):
        raise HubUnreachableError(f"{asked}: the Hugging Face hub cannot be reached ({reason}).")
    # Told to stay offline, `datasets` may still have the files from an earlier download, which it cannot stream.
    streaming = streaming and not forbidden
    if not forbidden:
        say(f"{asked}: {'reading from' if streaming else 'downloading from'} the Hugging Face hub.")
    with _told(asked):
        import datasets

        try:
            dataset = datasets.load_dataset(name, config, split=split, streaming=streaming)
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            folder = config or "default"
            dataset = datasets.load_dataset(name, data_dir=folder, revision=CONVERTED, split=split, streaming=streaming)
    return dataset


def _plain_rows(dataset: Any) -> Iterator[dict[str, Any]]:
    """Rows with names in place of the numbers of class labels."""
    names = {column: feature.names for column, feature in _labelled(dataset.features or {})}
    for row in dataset:
        for column, labels in names.items():
            value = row[column]
            row[column] = [_name(one, labels) for one in value] if isinstance(value, list) else _name(value, labels)
        yield row


def _name(number: int | None, labels: list[str]) -> str:
    return labels[number] if number is not None and number >= 0 else ""  # -1 is the hub's "no label"


def _labelled(features: Any) -> Iterator[tuple[str, Any]]:
    import datasets

    for column, feature in features.items():
        inner = getattr(feature, "feature", feature)  # a list of labels, as tagging sets have
        if isinstance(inner, datasets.ClassLabel):
            yield column, inner


@contextlib.contextmanager
def _told(asked: str) -> Iterator[None]:
    """Turn what `datasets` raises into one sentence."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # the library's exceptions come from a dozen others
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        if isinstance(error, ConnectionError | TimeoutError) or "httpx" in type(error).__module__:
            raise HubUnreachableError(f"{asked}: the Hugging Face hub cannot be reached ({reason}).") from error
        raise DataError(f"{asked}: the dataset cannot be read ({reason}).") from error

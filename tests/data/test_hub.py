"""Datasets in local folders as the hub lays them out, and a hub that answers, is silent, or is forbidden."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from seq2seq.data import hub, text_cache
from seq2seq.data.files import Columns, TextSource
from seq2seq.data.hub import HubUnreachableError, open_hub, why_unreachable
from seq2seq.errors import DataError

CARD = """---
configs:
- config_name: de-en
  data_files:
  - {split: train, path: de-en/train-*}
  - {split: validation, path: de-en/validation-*}
- config_name: fr-en
  data_files:
  - {split: train, path: fr-en/train-*}
---
A card.
"""
COLUMNS = Columns(("de", "translation.de"), ("en", "translation.en"))


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    for part in range(2):  # two shards
        rows = [{"translation": {"de": f"Satz {part}{n}", "en": f"sentence {part}{n}"}} for n in range(5)]
        write_parquet(folder / "de-en" / f"train-0000{part}-of-00002.parquet", rows)
    write_parquet(folder / "de-en" / "validation-00000-of-00001.parquet", [{"translation": {"de": "A", "en": "a"}}])
    write_parquet(folder / "fr-en" / "train-00000-of-00001.parquet", [{"translation": {"fr": "B", "en": "b"}}])
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local folders need no hub; whoever asks it anyway fails."""

    def forbidden() -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub, "why_unreachable", forbidden)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def opened(
    spec: str, tmp_path: Path, *, columns: Columns = COLUMNS, split: str = "train", limit: int | None = None
) -> TextSource:
    return open_hub(
        spec,
        default_split=split,
        columns=columns,
        streaming=True,
        limit=limit,
        cache=tmp_path / "cache",
        key="data.train",
    )


def test_local_folder_with_card_and_shards(dataset: Path, tmp_path: Path) -> None:
    text = opened(f"{dataset}:de-en", tmp_path)
    expected = [(f"Satz {part}{n}", f"sentence {part}{n}") for part in range(2) for n in range(5)]
    assert list(text) == list(text) == expected
    assert list(opened(f"{dataset}:de-en", tmp_path, split="validation")) == [("A", "a")]
    assert list(opened(f"{dataset}:fr-en:train", tmp_path, columns=Columns(("translation.fr",), ("translation.en",)),
                       split="test")) == [("B", "b")]  # fmt: skip
    assert not (tmp_path / "cache").exists()  # read where it lies
    assert text.where(3).endswith("(train), row 4")


def test_local_fingerprint_is_of_the_content(dataset: Path, tmp_path: Path) -> None:
    before = opened(f"{dataset}:de-en", tmp_path).fingerprint
    assert opened(f"{dataset}:de-en", tmp_path).fingerprint == before
    path = dataset / "de-en" / "train-00001-of-00002.parquet"
    write_parquet(path, [{"translation": {"de": "C", "en": "c"}}])
    assert opened(f"{dataset}:de-en", tmp_path).fingerprint != before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{}:es-en", "'es-en' not found. Available: .*'de-en'"),
        ("{}", "Config name is missing.*'de-en', 'fr-en'"),
        ("{}:de-en:dev", "no split 'dev', but 'train', 'validation'. Name one: hub:.*:de-en:SPLIT"),
        ("{}/de-en/nothing", "no such folder"),
        ("./nothing", "no such folder, ./nothing. Correct the path; relative ones start at /"),
    ],
)
def test_what_is_missing_is_named(dataset: Path, tmp_path: Path, spec: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"data\.train=hub:.*{message}"):
        opened(spec.format(dataset), tmp_path)


def test_missing_column_and_labels_by_name(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    folder = tmp_path / "labelled"
    folder.mkdir()
    rows = {"text": ["x", "y", "z"], "label": [1, 0, -1]}
    table = datasets.Dataset.from_dict(rows, features=features).with_format("arrow")[:]
    pa.parquet.write_table(table, folder / "train.parquet")
    text = opened(str(folder), tmp_path, columns=Columns(("text",), ("label",)))
    assert list(text) == [("x", "good"), ("y", "bad"), ("z", "")]
    with pytest.raises(DataError, match=r"labelled \(train\), row 1: no column 'de'.*it has 'text', 'label'"):
        list(opened(str(folder), tmp_path, columns=Columns(("de",), ("label",))))


def test_damaged_parquet_is_one_sentence(dataset: Path, tmp_path: Path) -> None:
    (dataset / "de-en" / "train-00000-of-00002.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match=r"data\.train=hub:.*: the dataset cannot be read"):
        list(opened(f"{dataset}:de-en", tmp_path))


class FakeHub:
    """Stands for `datasets.load_dataset` and for what that returns; counts the rows taken."""

    features = None

    def __init__(self, rows: int) -> None:
        self.rows, self.taken, self.calls = rows, 0, []  # type: ignore[var-annotated]

    def __call__(self, name: str, config: str | None = None, **settings: Any) -> Any:
        self.calls.append((name, config, settings))
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self.rows):
            self.taken += 1
            yield {"translation": {"de": f"Satz {number}", "en": f"sentence {number}"}}


def test_hub_text_is_fetched_once_and_no_more_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    fake = FakeHub(1000)
    monkeypatch.setattr(datasets, "load_dataset", fake)
    monkeypatch.setattr(hub, "why_unreachable", lambda: None)
    text = opened("wmt/wmt14:de-en", tmp_path, limit=7)
    assert (len(list(text)), fake.taken) == (7, 7)
    assert fake.calls == [("wmt/wmt14", "de-en", {"split": "train", "streaming": True})]

    def silent() -> str:
        return "no such host"

    # From then on neither the hub nor the network is needed.
    monkeypatch.setattr(hub, "why_unreachable", silent)
    again = opened("wmt/wmt14:de-en", tmp_path, limit=7)
    assert list(again) == list(text) and again.fingerprint == text.fingerprint and len(fake.calls) == 1
    with pytest.raises(HubUnreachableError, match=r"cannot be reached \(no such host\)"):
        opened("wmt/wmt14:de-en", tmp_path, limit=8)


@pytest.mark.parametrize(("streaming", "then"), [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("other_version", [False, True])
def test_a_broken_fetch_goes_on_where_it_stopped(
    streaming: bool, then: bool, other_version: bool, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    import datasets

    load, broken_at = datasets.load_dataset, [8]
    monkeypatch.setattr(text_cache, "SHARD_ROWS", 3)
    monkeypatch.setattr(text_cache, "ROWS", 2)
    monkeypatch.setattr(hub, "why_unreachable", lambda: None)
    # The dataset of the hub is one on disk, read by the library itself; its network breaks while a row is read.
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda name, config, *, split, streaming: load(
            str(dataset), config, split=split, streaming=streaming, cache_dir=str(tmp_path / "library")
        ),
    )
    rows, read = hub._plain_rows, []

    def breaking(found: Any) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(rows(found), start=1):
            if number == broken_at[0]:
                raise ConnectionError("the line is dead")
            read.append(row["translation"]["de"])
            yield row

    monkeypatch.setattr(hub, "_plain_rows", breaking)

    def fetch(folder: str, limit: int | None = None, streaming: bool = then) -> TextSource:
        return open_hub("some/set:de-en", default_split="train", columns=COLUMNS, streaming=streaming, limit=limit,
                        cache=tmp_path / folder, key="data.train")  # fmt: skip

    with pytest.raises(HubUnreachableError, match="cannot be reached .the line is dead"):
        fetch("broken", limit=9, streaming=streaming)
    broken_at[0], read[:] = 0, []
    if other_version:
        monkeypatch.setattr(datasets, "__version__", "0.0")
    capsys.readouterr()
    text = fetch("broken", limit=9)
    assert "getting some/set (train): going on behind row 6" in capsys.readouterr().err
    assert read == ["Satz 11", "Satz 12", "Satz 13"]
    assert list(text) == [(f"Satz {part}{n}", f"sentence {part}{n}") for part in range(2) for n in range(5)][:9]
    assert text.fingerprint == fetch("broken", limit=9).fingerprint
    monkeypatch.undo()
    assert list((tmp_path / "broken").rglob(".*")) == []


def test_script_datasets_come_from_the_hubs_own_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    fake = FakeHub(3)

    def load(name: str, config: str | None = None, **settings: Any) -> Any:
        if "revision" not in settings:
            raise RuntimeError("Dataset scripts are no longer supported, but found tiny_shakespeare.py")
        return fake(name, config, **settings)

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub, "why_unreachable", lambda: None)
    assert len(list(opened("karpathy/tiny_shakespeare", tmp_path))) == 3
    assert fake.calls[0][2] == {
        "split": "train", "streaming": True, "revision": "refs/convert/parquet", "data_dir": "default"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), HubUnreachableError, "cannot be reached .Couldn't reach"),
        (FileNotFoundError("Dataset 'a/b' doesn't exist on the Hub"), DataError, "cannot be read .*doesn't exist"),
        (ValueError("Bad split: dev.\nAvailable splits: ['train']"), DataError, r"Available splits: \['train'\]"),
    ],
)
def test_what_the_hub_refuses(
    raised: Exception, kind: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def load(*_: Any, **__: Any) -> Any:
        raise raised

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub, "why_unreachable", lambda: None)
    with pytest.raises(DataError, match=message) as caught:
        list(opened("a/b", tmp_path))
    assert type(caught.value) is kind
    assert not list((tmp_path / "cache").rglob("*.arrow"))


def test_a_silent_hub_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.utils

    session = SimpleNamespace(head=lambda *_, **__: time.sleep(30))  # a name look-up that hangs
    monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: session)
    started = time.monotonic()
    assert why_unreachable(seconds=0.3) == "no answer within 0 seconds"
    assert time.monotonic() - started < 2


def test_a_hub_that_answers_anything_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.utils

    session = SimpleNamespace(head=lambda *_, **__: SimpleNamespace(status_code=404))
    monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: session)
    assert why_unreachable() is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert why_unreachable() == "HF_HUB_OFFLINE is set"


OFFLINE = """
import sys
from pathlib import Path
from seq2seq.data.files import Columns
from seq2seq.data.hub import open_hub, HubUnreachableError
try:
    list(open_hub("some/dataset", default_split="train", columns=Columns((), ("text",)), streaming=True, limit=None,
                  cache=Path(sys.argv[1]), key="data.train"))
except HubUnreachableError as error:
    print(error)
"""


def test_forbidden_network_is_honoured(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert "data.train=hub:some/dataset: the Hugging Face hub cannot be reached" in done.stdout, done.stderr
    assert done.stderr == ""

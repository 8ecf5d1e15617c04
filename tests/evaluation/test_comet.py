"""The metric COMET over a stand-in for its package: no hub was in reach, so no published model was run."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.errors import ConfigError
from seq2seq.evaluation.comet import Comet
from seq2seq.evaluation.significance import Judge, Paired

SOURCES, REFERENCES = ["eins", "zwei", "drei"], ["one", "two", "three"]


class Model:
    """predict() has the arguments of unbabel-comet 2.2.7; a score is the share of the reference's letters."""

    calls = 0

    def eval(self) -> "Model":
        return self

    def predict(
        self,
        samples: list[dict[str, str]],
        batch_size: int = 16,
        gpus: int = 1,
        devices: Any = None,
        mc_dropout: int = 0,
        progress_bar: bool = True,
        accelerator: str = "auto",
        num_workers: int | None = None,
        length_batching: bool = True,
    ) -> Any:
        Model.calls += 1
        assert not progress_bar and (gpus, accelerator) == (0, "cpu")
        assert [sample["src"] for sample in samples] == SOURCES
        scores = [len(set(s["mt"]) & set(s["ref"])) / len(set(s["ref"])) for s in samples]
        return types.SimpleNamespace(scores=scores, system_score=sum(scores) / len(scores))


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was loaded."""
    loaded: list[str] = []
    comet: Any = types.ModuleType("comet")
    comet.__version__ = "2.2.7"

    def download_model(name: str) -> str:
        if name != "Unbabel/wmt22-comet-da":
            raise KeyError(f"Model '{name}' not supported by COMET.")
        return "hub/model.ckpt"

    def load_from_checkpoint(path: str) -> Model:
        loaded.append(path)
        return Model()

    comet.download_model, comet.load_from_checkpoint = download_model, load_from_checkpoint
    monkeypatch.setitem(sys.modules, "comet", comet)
    return loaded


def judge(name: str = "Unbabel/wmt22-comet-da") -> Judge:
    metric = Comet(name, sources=SOURCES, references=REFERENCES, device="cpu")
    return Judge([REFERENCES], ["comet", "chrf"], more={"comet": ("COMET", metric)})


def test_the_mean_of_the_sentences_with_interval_and_signature(package: list[str]) -> None:
    calls = Model.calls
    one = judge()
    score = one.scores(["one", "tw", "xyz"])["comet"]
    assert package == ["hub/model.ckpt"]
    assert score.value == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert score.confidence is not None and score.confidence > 0
    assert "version:comet-2.2.7" in score.signature and "model:Unbabel/wmt22-comet-da" in score.signature
    assert str(score).startswith("COMET 0.5556 ± ")
    one.differences(["one", "tw", "xyz"], [REFERENCES], test=Paired.bootstrap)
    assert Model.calls == calls + 2  # each text once


@pytest.mark.parametrize("test", Paired)
def test_sacrebleus_tests_hold_for_it(package: list[str], test: Paired) -> None:
    one = judge()
    (there,) = one.differences(["one", "tw", "xyz"], [REFERENCES], test=test)
    (back,) = one.differences(REFERENCES, [["one", "tw", "xyz"]], test=test)
    (itself,) = one.differences(REFERENCES, [list(REFERENCES)], test=test)
    assert there["comet"].difference == -back["comet"].difference == pytest.approx(5 / 9 - 1)
    assert there["comet"].p_value == back["comet"].p_value == 0.5  # two sentences differ, and prove nothing
    assert itself["comet"].p_value == 1
    assert there["comet"].verdict == "worse"


def test_a_path_is_loaded_as_it_is(package: list[str], tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"")
    judge(str(path))
    assert package == [str(path)]
    with pytest.raises(ConfigError, match="there is no such file"):
        judge(str(tmp_path / "other.ckpt"))
    with pytest.raises(ConfigError, match=r"--comet-model nonsense: it cannot be loaded \(Model 'nonsense' not supp"):
        judge("nonsense")


def test_a_device_that_is_not_there_is_refused(package: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("cuda", "gpu"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ConfigError, match=device):
            Comet("x", sources=SOURCES, references=REFERENCES, device=device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="--device cuda:1: the metric comet takes the first GPU; use --device cuda"):
        Comet("x", sources=SOURCES, references=REFERENCES, device="cuda:1")
    assert package == []


def test_without_the_package_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "comet", None)
    with pytest.raises(ConfigError, match=r"needs the package unbabel-comet; install it with pip install 'seq2seq\["):
        judge()

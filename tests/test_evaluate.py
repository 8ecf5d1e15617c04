"""`python -m seq2seq.evaluate` on a tiny trained checkpoint, by its real configuration."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch
from torch.nn import functional as F

import seq2seq
import seq2seq.train
from seq2seq.checkpoint import load_checkpoint
from seq2seq.configure import check, register_schemas
from seq2seq.data.tokenizer import BOS, EOS
from seq2seq.errors import DataError, Seq2SeqError
from seq2seq.evaluate import EvaluateConfig, run

PAIRS = [("1 2 3", "3 2 1"), ("4 4", "4 4"), ("7 8 9 7", "7 9 8 7"), ("5", "5")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    for split, times in (("train", 40), ("test", 1)):
        for side in (0, 1):
            lines = [pair[side] for pair in PAIRS] * times
            (folder / f"{split}.{('in', 'out')[side]}").write_text("".join(f"{line}\n" for line in lines))
    register_schemas()
    overrides = [
        "model=small", "model.encoder_layers=1", "model.decoder_layers=1", "model.dim=16", "model.num_heads=2",
        "model.feed_forward_dim=32", "tokenizer.kind=characters", "tokenizer.vocab_size=null",
        "data.source_language=in", "data.target_language=out", f"data.train={folder}/train",
        f"data.valid={folder}/test", f"data.test={folder}/test", f"data.cache_dir={folder}/cache",
        "training.steps=30", "training.warmup_steps=5", "training.validate_every=30", "training.threads=1",
        "training.tensorboard=false", f"run_dir={folder}/run", "device=cpu", "precision=float32",
    ]  # fmt: skip
    seq2seq.train.run(check("train", overrides))
    return folder


def evaluate(*overrides: str) -> dict[str, Any]:
    register_schemas(evaluate_schema=EvaluateConfig)
    return run(check("evaluate", ["device=cpu", "precision=float32", "threads=1", *overrides], EvaluateConfig))


def test_gives_what_the_run_gave(trained: Path) -> None:
    final = json.loads((trained / "run" / "metrics.json").read_text())["test"]
    scores = evaluate(f"ckpt={trained}/run", "data=test", "decoding=beam")
    assert {name: scores[name] for name in final} == final
    assert json.loads((trained / "run" / "evaluation" / "scores.json").read_text()) == scores
    assert len((trained / "run" / "evaluation" / "translations.txt").read_text().splitlines()) == len(PAIRS)


@pytest.mark.parametrize(("data", "split"), [("valid", "valid"), ("test", "test"), ("elsewhere", "test")])
def test_a_text_of_the_run_keeps_its_split(
    trained: Path, tmp_path: Path, data: str, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub dataset or the sample corpus that names no split is read as what it was to the run."""
    opened: list[str] = []

    def open_text(spec: str, *_: Any, key: str, split: str, **__: Any) -> Any:
        opened.extend([key, split])
        raise DataError(spec)

    monkeypatch.setattr("seq2seq.evaluate.open_text", open_text)
    with pytest.raises(DataError):
        evaluate(f"ckpt={trained}/run", f"data={data}", f"output_dir={tmp_path}")
    assert opened == ["data", split]


def test_loss_is_the_obvious_one(trained: Path, tmp_path: Path) -> None:
    scores = evaluate(f"ckpt={trained}/run/best", f"data={trained}/test", "decoding=greedy", f"output_dir={tmp_path}")
    checkpoint = load_checkpoint(trained / "run" / "best")
    encode = checkpoint.tokenizers.source.encode
    nats, tokens = 0.0, 0
    for source, target in PAIRS:
        ids = [*encode(target), EOS]
        with torch.no_grad():
            logits = checkpoint.model(torch.tensor([[*encode(source), EOS]]), torch.tensor([[BOS, *ids[:-1]]]))
        nats += float(F.cross_entropy(logits[0], torch.tensor(ids), reduction="sum"))
        tokens += len(ids)
    assert scores["loss"] == pytest.approx(nats / tokens, rel=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    characters = sum(len(target) + 1 for _, target in PAIRS)
    assert scores["loss_per_character"] == pytest.approx(nats / characters, rel=1e-5)


@pytest.mark.parametrize("decoding", ["greedy", "beam", "sample"])
def test_every_search_is_a_group(trained: Path, tmp_path: Path, decoding: str) -> None:
    scores = evaluate(f"ckpt={trained}/run/best", "data=test", f"decoding={decoding}", f"output_dir={tmp_path}")
    assert scores["decoding"]["search"] == decoding
    assert "nrefs:1|" in scores["bleu_signature"]


def test_a_seed_decides_a_sample(trained: Path, tmp_path: Path) -> None:
    texts = []
    for seed in (1, 1, 2):
        evaluate(f"ckpt={trained}/run/best", "data=test", "decoding=sample", "decoding.temperature=3", f"seed={seed}",
                 f"output_dir={tmp_path}")  # fmt: skip
        texts.append((tmp_path / "translations.txt").read_text())
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_what_is_wrong_is_said(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(Seq2SeqError, match="ckpt is not set"):
        evaluate("data=test")
    with pytest.raises(Seq2SeqError, match="data is not set"):
        evaluate(f"ckpt={trained}/run")
    with pytest.raises(Seq2SeqError, match="no such folder"):
        evaluate(f"ckpt={tmp_path}/nothing", "data=test")
    with pytest.raises(Seq2SeqError, match="the nearest key is decoding.beam_size"):
        evaluate(f"ckpt={trained}/run", "data=test", "decoding.beam_sise=3")
    (tmp_path / "file").write_text("")
    with pytest.raises(Seq2SeqError, match="output_dir="):
        evaluate(f"ckpt={trained}/run", "data=test", f"output_dir={tmp_path}/file/folder")


def test_perplexity_is_that_of_forced_scores(trained: Path, tmp_path: Path) -> None:
    scores = evaluate(f"ckpt={trained}/run/best", f"data={trained}/test", "decoding=greedy", f"output_dir={tmp_path}")
    forced = seq2seq.load(trained / "run", device="cpu").score([b for _, b in PAIRS], [a for a, _ in PAIRS])
    log_prob, tokens = sum(score.log_prob or 0 for score in forced), sum(score.tokens for score in forced)
    assert scores["perplexity"] == pytest.approx(math.exp(-log_prob / tokens), rel=1e-5)


@pytest.mark.parametrize("paired", ["bootstrap", "randomisation"])
def test_baselines_are_tested(trained: Path, tmp_path: Path, paired: str) -> None:
    command = [f"ckpt={trained}/run", "data=test", "decoding=greedy", "ter=true", f"paired={paired}"]
    (tmp_path / "other").write_text("3 2 1\n4 4\n7 9 8 7\n5\n")  # the references themselves
    scores = evaluate(*command, f"baseline={tmp_path}/other", f"output_dir={tmp_path}/one")
    outputs = (tmp_path / "one" / "translations.txt").read_text().splitlines()
    references = [target for _, target in PAIRS]
    found = scores["baseline"]
    assert found["paired"] == paired
    assert found["bleu"]["baseline"] == pytest.approx(100) and found["ter"]["baseline"] == 0
    assert found["bleu"]["score"] == sacrebleu.corpus_bleu(outputs, [references]).score
    assert found["bleu"]["difference"] == found["bleu"]["score"] - found["bleu"]["baseline"]
    assert 0 < found["chrf"]["p_value"] <= 1
    assert scores["ter"] == pytest.approx(sacrebleu.corpus_ter(outputs, [references]).score, abs=1e-4)
    assert scores["ter_signature"].startswith("nrefs:1|bs:1000|")
    # The same run beside itself, by the folder that its evaluation has just been written to.
    again = evaluate(*command, f"baseline={tmp_path}/one", f"output_dir={tmp_path}/two")["baseline"]
    assert all(again[name]["p_value"] == 1 and again[name]["difference"] == 0 for name in ("bleu", "chrf", "ter"))


def test_a_baseline_of_another_text_is_refused(trained: Path, tmp_path: Path) -> None:
    command = [f"ckpt={trained}/run", "data=test", "decoding=greedy", f"output_dir={tmp_path}/out"]
    with pytest.raises(Seq2SeqError, match="no translations are kept"):
        evaluate(*command, f"baseline={tmp_path}")
    (tmp_path / "short").write_text("one\n")
    with pytest.raises(Seq2SeqError, match="it has 1 lines, the text has 4"):
        evaluate(*command, f"baseline={tmp_path}/short")
    for side in ("in", "out"):
        (tmp_path / f"other.{side}").write_text("1\n2\n3\n4\n")
    evaluate(f"ckpt={trained}/run", f"data={tmp_path}/other", "decoding=greedy", f"output_dir={tmp_path}/other")
    with pytest.raises(Seq2SeqError, match="translations are of another text"):
        evaluate(*command, f"baseline={tmp_path}/other")
    with pytest.raises(Seq2SeqError, match="paired=randomisation has no effect without baseline"):
        evaluate(*command, "paired=randomisation")
    assert not (tmp_path / "out").exists()

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def tool(load_tool: Callable[[str], ModuleType]) -> ModuleType:
    return load_tool("profile_step")


TINY = [
    *("model.dim=16", "model.num_heads=2", "model.feed_forward_dim=32", "model.encoder_layers=1"),
    *("model.decoder_layers=1", "tokenizer.kind=characters", "tokenizer.vocab_size=null", "training.tensorboard=false"),
]


def test_profiles_the_real_command(
    tool: ModuleType,
    made_text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tool, "RESULTS", tmp_path / "results")
    words = ["--shape", "small", "--data", str(made_text), "--batch-tokens", "200", "--threads", "1", "--steps", "2"]
    words += ["--note", "prediction: none", *TINY, f"data.cache_dir={tmp_path / 'cache'}"]
    monkeypatch.setattr("sys.argv", ["profile_step.py", *words])
    assert tool.main() == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["tokens_per_second"] > 0 and 0 < figures["gemm_fraction"] <= figures["padded_gemm_fraction"]
    text = next((tmp_path / "results").glob("profile_small_*.txt")).read_text()
    assert "prediction: none" in text and figures["commit"] in text
    assert re.search(r"aten::addmm$", text, flags=re.MULTILINE)
    *shares, whole = [float(share) for share in re.findall(r"^ *(-?[\d.]+)% ", text, flags=re.MULTILINE)]
    assert whole == 100 and sum(shares) == pytest.approx(100, abs=0.05 * len(shares) + 0.1)


def test_a_recipe_is_profiled_too(tool: ModuleType, tmp_path: Path) -> None:
    words = ["+recipe=shakespeare_lm", *tool.ours.run_overrides(threads=1), "model.dim=16", "model.num_heads=2"]
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question\n" * 200)
    words += [f"data.train={text}", f"data.cache_dir={tmp_path / 'cache'}", "training.batch_tokens=512"]
    result = tool.measure(tool.run_config(words, "test"), warmup=1, timed=2, profiled=1)
    assert (result.timed.steps, result.profiled.steps) == (2, 1)
    assert result.timed.source_tokens == 0 and result.timed.target_tokens == 2 * 512


def test_text_that_is_not_there(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["profile_step.py", "--shape", "base", "--data", str(tmp_path)])
    assert tool.main() == 2
    assert "there is no train.en or train.en.gz here" in capsys.readouterr().err

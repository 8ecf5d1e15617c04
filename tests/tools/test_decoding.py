"""The measuring of decoding speed from end to end, on made text and tiny models."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from seq2seq.data.tokenizer import BOS, EOS, PAD, UNK, Tokenizers
from seq2seq.errors import ConfigError
from seq2seq.trained import FORBIDDEN
from speed import decoding, ours
from speed.contestant import Contestant
from speed.decoding import Decoded, DecodingJob, Order, until_end
from speed.decoding_workload import export, text_lines, untrained
from speed.environments import PEERS_DIR, PeerError, python_of
from speed.shapes import SHAPES

VOCAB_SIZE = 30
LINES = 12
HERE = Path(sys.executable)


@pytest.fixture(scope="module")
def tool(load_tool: Callable[[str], ModuleType]) -> ModuleType:
    return load_tool("decoding")


@pytest.fixture
def make(made_text: Path, tmp_path: Path) -> Callable[..., Path]:
    """Saves a tiny model with random weights, trained for nothing but its vocabulary."""

    def save(*changes: str) -> Path:
        words = [
            *ours.shape_overrides("small", made_text),
            *("model.encoder_layers=2", "model.decoder_layers=1", "model.dim=16", "model.feed_forward_dim=32"),
            *("model.num_heads=2", "model.norm_placement=post", f"tokenizer.vocab_size={VOCAB_SIZE}"),
            *("tokenizer.byte_fallback=false", f"data.cache_dir={tmp_path / 'cache'}", "device=cpu"),
            *changes,
        ]
        folder = tmp_path / "made"
        untrained(words, folder, "test")
        return folder

    return save


@pytest.fixture
def work(make: Callable[..., Path], made_text: Path, tmp_path: Path) -> tuple[DecodingJob, Tokenizers]:
    """What is exported of a tiny model and made text."""
    folder = tmp_path / "work"
    folder.mkdir()
    (made_text / "test_2016_flickr.en").write_text((made_text / "train.en").read_text())
    return DecodingJob(folder, 1), export(make(), folder, text_lines(made_text, LINES))


def options(tmp_path: Path, *peers: str, **changes: Any) -> argparse.Namespace:
    given = {"peers": list(peers), "peers_dir": tmp_path / "no peers", "beam": 3, "pairs": 2, "batch_size": 5}
    return argparse.Namespace(**{**given, "timeout": 120.0, **changes})


def test_ours_beside_hugging_face(
    tool: ModuleType, work: tuple[DecodingJob, Tokenizers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")

    def python(peer: str, folder: Path) -> Path:
        return HERE if peer == "hf" else python_of(peer, folder)

    monkeypatch.setattr(tool, "python_of", python)
    # One sentence a batch: its length limit is then the same for both.
    result = tool.measure(options(tmp_path, "hf", "joeynmt", batch_size=1), *work)
    hf = result["peers"]["hf"]
    assert hf["same_text"] == {"greedy": 1.0, "beam": 1.0} and hf["search_difference"] is None
    for kind in ("greedy", "beam"):
        assert result["ours"][kind]["output_tokens"] == hf[kind]["output_tokens"] > LINES
        ratio = result["ratios"]["hf"][kind]
        assert len(ratio["pairs"]) == 2 and 0 < ratio["spread"][0] <= ratio["median"] <= ratio["spread"][1]
    assert 0 < hf["single"]["median_ms"] <= hf["single"]["p95_ms"]
    assert "its environment is not in" in result["peers"]["joeynmt"]["unavailable"]
    assert list(result["ratios"]) == ["ours_int8", "hf"]
    json.dumps(result)


def test_our_contract_over_ctranslate2(
    tool: ModuleType, work: tuple[DecodingJob, Tokenizers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ctranslate2")
    monkeypatch.setenv("HOME", str(tmp_path))  # where the export goes
    result = tool.measure(options(tmp_path, "engine", pairs=1), *work)
    assert result["peers"]["ours_ctranslate2"]["same_text"] == {"greedy": 1.0, "beam": 1.0}
    assert list(result["ratios"]) == ["ours_int8", "ours_ctranslate2", "ours_ctranslate2_int8"]
    job, tokenizers = work
    result = tool.measure(options(tmp_path, "engine", pairs=1), replace(job, forced_length=3), tokenizers)
    assert "cannot be told how long outputs are" in result["peers"]["ours_ctranslate2"]["unavailable"]


def test_a_forced_length(work: tuple[DecodingJob, Tokenizers]) -> None:
    pytest.importorskip("transformers")
    job, _ = work
    order, outputs = Order(3, [[0, 1, 2], [3]], outputs=True), []
    for name, program in (("ours", "decoding.ours"), ("hf", "decoding.huggingface")):
        forced = replace(job, forced_length=7)
        with Contestant(name, HERE, forced, timeout=120, programs={name: program}) as contestant:
            done = Decoded(**contestant.ask(asdict(order)))
        assert done.tokens == 4 * 7 and len(done.seconds) == 2 and done.peak_mib > 50
        assert [len(ids) for ids in done.outputs] == [7] * 4
        outputs.append(done.outputs)
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("name", ["hf", "ctranslate2", "ctranslate2_int8", "joeynmt"])
def test_a_peer_decodes_as_ours_does(name: str, tool: ModuleType, work: tuple[DecodingJob, Tokenizers]) -> None:
    peer = name.partition("_")[0]
    try:
        python = python_of(peer, PEERS_DIR)
    except PeerError as error:
        pytest.skip(str(error))
    job, tokenizers = work
    # JoeyNMT's search has its own end, which comes to that of ours without patience.
    job = replace(job, compute_type=tool.COMPUTE_TYPES.get(name, "float32"), patience=int(peer != "joeynmt"))
    batches = [[line] for line in range(LINES)]
    texts = {}
    for contestant_name, interpreter in (("ours", HERE), (name, python)):
        with Contestant(contestant_name, interpreter, job, timeout=240, programs=tool.PROGRAMS) as contestant:
            greedy = tool.decoded(contestant, Order(1, batches, outputs=True))
            beam = tool.decoded(contestant, Order(3, [list(range(LINES))], outputs=True))
        texts[contestant_name] = tool.in_order(batches, greedy.outputs, tokenizers)
        assert len(beam.outputs) == LINES and beam.tokens > LINES
    if name != "ctranslate2_int8":
        assert texts[name] == texts["ours"]
    assert "version" in contestant.about and "search_difference" in contestant.about
    if peer == "ctranslate2":
        assert contestant.about["single_threads"] == {"package": 1, "mkl": 1}  # of the one thread there is


def test_a_peer_that_fails_is_left_out(
    tool: ModuleType, work: tuple[DecodingJob, Tokenizers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here one whose package is not there."""
    monkeypatch.setattr(tool, "python_of", lambda peer, folder: HERE)
    result = tool.measure(options(tmp_path, "joeynmt", pairs=1), *work)
    assert "ModuleNotFoundError: No module named 'joeynmt'" in result["peers"]["joeynmt"]["unavailable"]
    assert list(result["ratios"]) == ["ours_int8"] and result["ours"]["beam"]["output_tokens"] > 0


def test_special_tokens_are_ours() -> None:
    assert (decoding.PAD, decoding.BOS, decoding.EOS, decoding.UNK) == (PAD, BOS, EOS, UNK)
    assert decoding.FORBIDDEN == FORBIDDEN


def test_batches_hold_every_line_once_and_like_lengths(tool: ModuleType) -> None:
    sources = [[0] * length for length in (3, 9, 1, 4, 7)]
    assert tool.like_length(sources, 2) == [[1, 4], [3, 0], [2]]


def test_lines_that_are_decoded_alone(tool: ModuleType) -> None:
    rounds = [tool.singles(1000, number) for number in range(20)]
    assert all(len(lines) == 50 for lines in rounds)
    assert sorted(line for lines in rounds for (line,) in lines) == list(range(1000))
    assert tool.singles(3, 1) == [[0], [1], [2]]


def test_outputs_in_the_order_of_the_lines(tool: ModuleType) -> None:
    assert tool.in_order([[2, 0], [1]], ["c", "a", "b"], None) == ["a", "b", "c"]


def test_what_ends_an_output() -> None:
    assert until_end([5, 6, EOS, PAD]) == ([5, 6], 3)
    assert until_end([5, 6]) == ([5, 6], 2)


def test_most_output_tokens(tmp_path: Path) -> None:
    job = DecodingJob(tmp_path, 1)
    assert job.max_length([[4, EOS], [4, 5, 6, EOS]]) == 16
    assert replace(job, forced_length=32).max_length([[4, EOS]]) == 32
    assert DecodingJob.loads(job.dumps()) == job


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["model.positions=rotary"], "positions=rotary has no counterpart; only sinusoidal has"),
        (["model.norm_placement=pre"], "norm_placement=pre has no counterpart; only post has"),
        (["tokenizer.joint=false", "model.tied_embeddings=decoder"], "one unigram or BPE vocabulary"),
    ],
)
def test_a_model_that_not_all_can_hold(
    make: Callable[..., Path], tmp_path: Path, changes: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        export(make(*changes), tmp_path, ["a dog"])


def test_a_model_of_another_shape(make: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the model is Shape\(encoder_layers=2, .* but the measured shape is Shape"):
        export(make(), tmp_path, ["a dog"], SHAPES["small"])


def test_a_blank_line_is_refused(make: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 2 is blank or has more than data.max_length=128 tokens"):
        export(make(), tmp_path, ["a dog", " "])


def test_impossible_values_are_refused(
    tool: ModuleType, made_text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, sentence in (
        (["--peers", "fairseq"], "--peers fairseq: there are engine, hf, ctranslate2, joeynmt."),
        (["--beam", "1"], "--beam (1) must be at least 2."),
        (["--length-penalty", "nan"], "--length-penalty (nan) must be at least 0."),
        ([], "without --ckpt weights are random, whose output never ends; give --forced-length 32, say."),
        (["--forced-length", "8"], "there is no test_2016_flickr.en or test_2016_flickr.en.gz here"),
    ):
        monkeypatch.setattr("sys.argv", ["decoding.py", "--shape", "small", "--data", str(made_text), *words])
        assert tool.main() == 2
        captured = capsys.readouterr()
        assert sentence in captured.err and captured.out == ""

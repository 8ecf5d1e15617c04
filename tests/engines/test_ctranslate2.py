"""CTranslate2 beside our own search, with the same weights: same lines, same scores."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seq2seq
from seq2seq.config import DecodingConfig, FeedForward, Positions, Quantization, Search
from seq2seq.data.lines import Note
from seq2seq.data.pieces import Piece
from seq2seq.data.tokenizer import BOS, EOS
from seq2seq.decoding.suppression import token_ids
from seq2seq.engines import ctranslate2 as engine_module
from seq2seq.engines.ctranslate2 import asked_format, check_format, resolve_device
from seq2seq.errors import CheckpointError, ConfigError, DecodingError
from seq2seq.signals.bounds import Bounds
from seq2seq.trained import FORBIDDEN
from seq2seq.translator import Translator

pytest.importorskip("ctranslate2", reason="the engine is not installed: pip install 'seq2seq[ctranslate2]'")

Make = Callable[..., Path]


class StruckBefore:
    """A model whose forbidden tokens have no probability, as for CTranslate2: struck out before the softmax.

    What an untrained model gives to them would otherwise move every score. The same holds for the end token before
    min_length, and for tokens that a caller suppresses.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.start = model, model.start
        self.min_length, self.never = 0, list(FORBIDDEN)

    def step(self, tokens: Tensor, state: Any) -> Tensor:
        never = [*self.never, EOS] if state.length < self.min_length else self.never
        logits: Tensor = self.model.step(tokens, state)
        return logits.index_fill(1, torch.tensor(never), -1e30)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def folders(tiny_checkpoint: Make) -> dict[str, Path]:
    """Models that end their outputs at various lengths."""
    rotary = {"positions": Positions.rotary, "feed_forward": FeedForward.swiglu}
    return {
        "plain": tiny_checkpoint(seed=22),
        "rotary": tiny_checkpoint(seed=17, tokenizer="unigram", **rotary),
        "learned": tiny_checkpoint(seed=25, positions=Positions.learned, max_length=24),
    }


def pair(folder: Path) -> tuple[Translator, Translator]:
    ours = seq2seq.load(folder, device="cpu")
    ours.model = StruckBefore(ours.model)
    return ours, seq2seq.load(folder, device="cpu", engine="ctranslate2")


SETTINGS: list[dict[str, Any]] = [
    {"search": "greedy"},
    {"search": "greedy", "min_length": 5, "max_length_ratio": 0.5},
    {"beam_size": 1},
    {"beam_size": 5},
    {"beam_size": 5, "n_best": 5, "length_penalty": 0.4},
    {"beam_size": 4, "n_best": 2, "length_normalisation": "none"},
    {"beam_size": 4, "length_penalty": 0.0, "max_length_ratio": 3.0},
    {"beam_size": 3, "n_best": 3, "patience": 2.5, "max_length_ratio": 2.0},
    {"beam_size": 6, "patience": 0.4, "n_best": 2},
    {"beam_size": 4, "max_length_ratio": 0.3, "min_length": 4},
    {"beam_size": 2, "min_length": 30, "max_length_ratio": 0.5},
    {"beam_size": 5, "batch_tokens": 1},
    {"beam_size": 4, "mbr": "chrf", "n_best": 2},
    {"beam_size": 4, "max_length": 12, "suppress_tokens": ["a", "r"]},
]


@pytest.mark.parametrize("name", ["plain", "rotary", "learned"])
def test_the_same_as_our_search(folders: dict[str, Path], name: str, odd_lines: list[str]) -> None:
    ours, theirs = pair(folders[name])
    different = 0
    for settings in SETTINGS:
        ours.model.min_length = settings.get("min_length", 0)
        ours.model.never = [*FORBIDDEN, *token_ids(settings.get("suppress_tokens", []), ours.tokenizers.target)]
        expected, found = (list(model.translate_stream(odd_lines, **settings)) for model in (ours, theirs))
        assert len(found) == len(odd_lines)
        for ours_, theirs_ in zip(expected, found, strict=True):
            assert (theirs_.source, theirs_.notes) == (ours_.source, ours_.notes), settings
            assert len(theirs_.candidates) == len(ours_.candidates)
            for a, b in zip(ours_.candidates, theirs_.candidates, strict=True):
                # Where the texts differ, it was a tie: the scores tell.
                assert b.score == pytest.approx(a.score, abs=1e-5), (settings, a, b)
                different += a.text != b.text
                if a.text == b.text:
                    assert b.tokens == a.tokens and b.log_prob == pytest.approx(a.log_prob, abs=1e-3)
    assert different <= 2


def test_models_differ(folders: dict[str, Path], odd_lines: list[str]) -> None:
    """The settings above are no test if every line has the same output, or every output its greatest length."""
    model = seq2seq.load(folders["plain"], device="cpu", engine="ctranslate2")
    answers = list(model.translate_stream(odd_lines, beam_size=5))
    assert len({answer.text for answer in answers}) > 5
    unfinished = [Note.unfinished in answer.notes for answer in answers if answer.text]
    assert 0 < sum(unfinished) < len(unfinished)


def test_a_line_has_its_own_limit(folders: dict[str, Path], odd_lines: list[str]) -> None:
    """The greatest length of a batch there is one for all; what beams find depends on it before any line reaches it."""
    model = seq2seq.load(folders["plain"], device="cpu", engine="ctranslate2")
    for settings in ({"beam_size": 5, "max_length_ratio": 0.4}, {"search": "greedy", "max_length_ratio": 0.1}):
        together = model.translate(odd_lines, **settings)  # type: ignore[arg-type]
        alone = [model.translate([line], **settings)[0] for line in odd_lines]  # type: ignore[arg-type]
        assert together == alone


def test_sampling(folders: dict[str, Path], odd_lines: list[str]) -> None:
    ours, theirs = pair(folders["plain"])
    sampled = {"search": "sample", "n_best": 3, "temperature": 0.7, "top_p": 0.95}
    first = list(theirs.translate_stream(odd_lines, **sampled, seed=4))
    assert first == list(theirs.translate_stream(odd_lines, **sampled, seed=4))
    assert first != list(theirs.translate_stream(odd_lines, **sampled, seed=5))
    for answer in first:
        scores = [candidate.score for candidate in answer.candidates]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    # Whatever the temperature, the log-probability is the model's own.
    line = odd_lines[0]
    answer = next(theirs.translate_stream([line], **sampled))
    tokens = ours.tokenizers.target.encode(answer.text)
    source = torch.tensor([[*ours.tokenizers.source.encode(line), EOS]])
    state, read = ours.model.start(source), torch.tensor([[BOS]])
    total, written = 0.0, [*tokens, EOS][: answer.candidates[0].tokens]
    for token in written:
        total += float(ours.model.step(read, state).log_softmax(dim=1)[0, token])
        read = torch.tensor([[token]])
    assert answer.candidates[0].log_prob == pytest.approx(total, abs=1e-3)
    # Of one token there is nothing to draw.
    assert theirs.translate(odd_lines, search="sample", top_k=1) == theirs.translate(odd_lines, search="greedy")


def test_first_tokens_are_drawn_by_their_probability(folders: dict[str, Path]) -> None:
    ours, theirs = pair(folders["plain"])
    assert theirs.engine is not None
    ids, draws = [*ours.tokenizers.source.encode("the dog"), EOS], 2000
    probs = (ours.model.step(torch.tensor([[BOS]]), ours.model.start(torch.tensor([ids])))[0] / 0.8).softmax(dim=0)
    settings = DecodingConfig(search=Search.sample, n_best=draws, temperature=0.8, max_length_ratio=0.1)
    hypotheses = theirs.engine.solver(settings, seed=2)([Piece(0, 0, ids)])[0][0]
    first = torch.tensor([(*hypothesis.tokens, EOS)[0] for hypothesis in hypotheses])
    counts = first.bincount(minlength=len(probs))
    deviations = (counts - draws * probs) / (draws * probs * (1 - probs)).clamp(min=1e-6).sqrt()
    assert float(deviations[probs > 0.005].abs().max()) < 5


def test_lengths_and_repetition_of_each_line(folders: dict[str, Path]) -> None:
    """Struck out before the softmax, after it in ours: the rules hold, the scores differ."""
    model = seq2seq.load(folders["plain"], device="cpu", engine="ctranslate2")
    target = model.tokenizers.target
    lines = ["a man", "the dog runs over it", "word " * 4]
    for settings in ({"search": "greedy"}, {"beam_size": 4}):
        for line, text in zip(lines, model.translate(lines, no_repeat_ngram_size=2, **settings), strict=True):  # type: ignore[arg-type]
            ids = target.encode(text)
            assert len({*zip(ids, ids[1:], strict=False)}) == len(ids) - 1, line
        # tokens counts the end token too, in outputs that have one.
        answers = model.translate_stream(lines, min_length_ratio=0.9, max_length_ratio=3.0, **settings)  # type: ignore[arg-type]
        for line, answer in zip(lines, answers, strict=True):
            finished = Note.unfinished not in answer.notes
            assert answer.candidates[0].tokens - finished >= 0.9 * len(target.encode(line)), line
        assert model.translate(lines, min_length_ratio=0.9, **settings) == [  # type: ignore[arg-type]
            model.translate([line], min_length_ratio=0.9, **settings)[0]  # type: ignore[arg-type]
            for line in lines
        ]


@dataclass(slots=True)
class Later(DecodingConfig):
    """Settings with one that this engine has never heard of."""

    novelty: float = 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length_normalisation": "gnmt", "beam_size": 3}, "length_normalisation=gnmt has no equivalent"),
        ({"repetition_penalty": 1.2}, r"repetition_penalty \(1.2\) has no equivalent"),
        ({"suppress_text": ["a b"]}, "suppress_text"),
        ({"search": "sample", "min_p": 0.1}, r"min_p \(0.1\) has no equivalent"),
        ({"patience": 0.0}, "patience=0 has no equivalent"),
        ({"max_length_ratio": 50.0}, r"holds 1,024; use at most 44.0"),
        ({"search": "sample", "seed": 1 << 32}, "must be below 4294967296"),
        ({"decoding": Later(novelty=0.6)}, r"novelty \(0.6\) has no equivalent with engine=ctranslate2"),
    ],
)
def test_what_has_no_equivalent_is_refused(
    folders: dict[str, Path], settings: dict[str, Any], message: str, odd_lines: list[str]
) -> None:
    model = seq2seq.load(folders["plain"], device="cpu", engine="ctranslate2")
    with pytest.raises(DecodingError, match=message):
        model.translate(odd_lines, **settings)


def test_what_is_at_the_edge_is_not(folders: dict[str, Path], odd_lines: list[str]) -> None:
    model = seq2seq.load(folders["plain"], device="cpu", engine="ctranslate2")
    assert len(model.translate(["x" * 23], max_length_ratio=44.0, min_length=1000)) == 1
    assert len(model.translate(odd_lines, decoding=Later())) == len(odd_lines)
    assert model.translate([]) == []
    learned = seq2seq.load(folders["learned"], device="cpu", engine="ctranslate2")
    assert len(learned.translate(odd_lines, max_length_ratio=50.0)) == len(odd_lines)


def test_it_translates_only(folders: dict[str, Path]) -> None:
    model = seq2seq.load(folders["plain"], engine="ctranslate2", device="cpu")
    with pytest.raises(DecodingError, match="engine=ctranslate2 translates only"):
        model.score(["a"], ["b"])
    with pytest.raises(DecodingError, match="to begin with a given text or show alternatives use engine=torch"):
        model.translate(["a"], prefixes=["b"])
    with pytest.raises(DecodingError, match="to begin with a given text or show alternatives use engine=torch"):
        model.alternatives("a")
    with pytest.raises(DecodingError, match="to measure signals, try again or align words use engine=torch"):
        model.translate_stream(["a"], bounds=Bounds())
    with pytest.raises(DecodingError, match="to align words use engine=torch"):
        model.align(["a"], ["b"])
    with pytest.raises(DecodingError, match="This model translates"):
        next(model.generate("a"))
    with pytest.raises(DecodingError, match="This model translates"):
        model.predict(["a"])


def test_going_on_with_lines_that_are_done(folders: dict[str, Path], odd_lines: list[str]) -> None:
    model = seq2seq.load(folders["plain"], device="cpu", engine="ctranslate2")
    whole = model.translate(odd_lines)
    assert not model.exact
    assert [answer.text for answer in model.translate_stream(odd_lines, done=5)] == whole[5:]
    with pytest.raises(DecodingError, match="cannot go on where it was stopped"):
        model.translate_stream(odd_lines, done=5, search="sample")
    assert len(list(model.translate_stream(odd_lines, done=0, search="sample"))) == len(odd_lines)


def test_int8_translates(folders: dict[str, Path], odd_lines: list[str]) -> None:
    exact, coarse = (
        seq2seq.load(folders["rotary"], device="cpu", engine="ctranslate2", quantization=name)
        for name in ("float32", "int8")
    )
    scores = [[answer.candidates[0].score for answer in model.translate_stream(odd_lines)] for model in (exact, coarse)]
    assert len(scores[1]) == len(odd_lines) and scores[0] != scores[1]


def test_a_full_memory_cuts_the_batch(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, odd_lines: list[str]
) -> None:
    model = seq2seq.load(folders["plain"], device="cpu", engine="ctranslate2")
    expected = model.translate(odd_lines)
    engine = model.engine
    assert isinstance(engine, engine_module.CTranslate2Engine)

    class Small:
        def translate_batch(self, words: list[list[str]], **options: Any) -> Any:
            if len(words) > 1:
                raise RuntimeError("CUDA failed with error out of memory")
            return whole.translate_batch(words, **options)

    whole = engine._one
    monkeypatch.setattr(engine, "_one", Small())
    assert model.translate(odd_lines) == expected


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_batches_of_a_text_side_by_side(
    folders: dict[str, Path], odd_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, other = pair(folders["plain"])
    engine = other.engine
    assert isinstance(engine, engine_module.CTranslate2Engine)
    other.processes = True  # which its threads would not survive
    settings: dict[str, Any] = {"beam_size": 5, "batch_tokens": 60}
    expected = ours.translate(odd_lines, **settings)
    assert other.translate(odd_lines, **settings) == expected
    assert [answer.text for answer in other.translate_stream(odd_lines, done=5, **settings)] == expected[5:]
    assert other.translate(odd_lines[:1], **settings) == expected[:1]
    assert torch.get_num_threads() == 3
    for search, workers in ((Search.beam, 3), (Search.greedy, 3), (Search.sample, 1)):
        assert engine.workers(DecodingConfig(search=search)) == workers
    monkeypatch.setattr(engine, "_one", None)  # not for batches beside others
    assert other.translate(odd_lines, **settings) == expected
    with pytest.raises(AttributeError):
        other.translate(odd_lines[:1], **settings)


@pytest.mark.usefixtures("three_threads")
def test_threads_of_a_batch_by_number_format(
    folders: dict[str, Path], odd_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, int]] = []
    real = engine_module.package().Translator

    def translator(path: str, *, inter_threads: int, intra_threads: int, **others: Any) -> Any:
        made.append((inter_threads, intra_threads))
        return real(path, inter_threads=inter_threads, intra_threads=intra_threads, **others)

    monkeypatch.setattr(engine_module.package(), "Translator", translator)
    for quantization, expected in (("float32", [(3, 1), (1, 3)]), ("int8", [(3, 1)])):
        made.clear()
        model = seq2seq.load(folders["plain"], device="cpu", engine="ctranslate2", quantization=quantization)
        assert made == expected
        model.translate(odd_lines, batch_tokens=60)
        model.translate(odd_lines, search="sample")
        assert made == [*expected, (1, expected[-1][1])] and torch.get_num_threads() == 3


def test_a_model_of_no_numbers_is_one_sentence(folders: dict[str, Path]) -> None:
    model = seq2seq.load(folders["plain"], device="cpu", engine="ctranslate2")
    engine = model.engine
    assert isinstance(engine, engine_module.CTranslate2Engine)

    @dataclass
    class Result:
        hypotheses: list[list[str]]
        scores: list[float]

    with pytest.raises(DecodingError, match="not a number"):
        engine._hypotheses(Result([["a", "</s>"]], [math.nan]), DecodingConfig())


def test_devices_and_number_formats(tiny_checkpoint: Make) -> None:
    assert resolve_device("cpu") == ("cpu", 0)
    for name in ("mps", "cpu:1", "toaster", "cuda:x"):
        with pytest.raises(ConfigError, match=r"must be auto, cpu, cuda or cuda:N with engine=ctranslate2"):
            resolve_device(name)
    with pytest.raises(ConfigError, match="CUDA devices here; use device=cpu"):
        resolve_device("cuda:99")
    assert asked_format("auto", None) is None
    assert asked_format("bfloat16", None) is Quantization.bfloat16 and asked_format("auto", "int8") is Quantization.int8
    with pytest.raises(ConfigError, match="precision=float32 has no effect beside quantization=int8"):
        asked_format("float32", "int8")
    with pytest.raises(ConfigError, match="quantization .int7. must be one of int8"):
        asked_format("auto", "int7")
    with pytest.raises(ConfigError, match="precision=int8 is torch.s; .* quantization=int8"):
        asked_format("int8", None)
    with pytest.raises(ConfigError, match="cannot compute in float16 on this cpu device, only in int8"):
        check_format(Quantization.float16, "cpu")
    folder = tiny_checkpoint()
    with pytest.raises(ConfigError, match="engine .onnx. must be one of torch, ctranslate2"):
        seq2seq.load(folder, engine="onnx")
    with pytest.raises(ConfigError, match="engine=ctranslate2 runs one model by itself"):
        seq2seq.load([folder, folder], engine="ctranslate2", device="cpu")
    with pytest.raises(ConfigError, match="quantization .int8. has no effect with engine=torch"):
        seq2seq.load(folder, quantization="int8")
    with pytest.raises(ConfigError, match="task=translation"):
        seq2seq.load(tiny_checkpoint("language_modelling"), engine="ctranslate2", device="cpu")
    with pytest.raises(CheckpointError, match="no such folder"):
        seq2seq.load("nothing/here", engine="ctranslate2", device="cpu")

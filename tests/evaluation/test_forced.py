"""Forced scores beside a slow loop in float64, Hugging Face Marian with the same weights, and their own laws."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seq2seq
from seq2seq.checkpoint import load_checkpoint
from seq2seq.config import Config, Positions, Task
from seq2seq.data.lines import Note
from seq2seq.data.tokenizer import BOS, EOS, ByteTokenizer, Tokenizers
from seq2seq.errors import DataError, DecodingError
from seq2seq.evaluation.forced import TOLERANCE, ForcedScorer
from seq2seq.evaluation.token_log_probs import target_log_probs
from seq2seq.interop.huggingface import from_marian
from seq2seq.translator import Translator

Make = Callable[..., Path]
PAIRS = [
    ("the dog", "a cat is here."),
    ("a", "b"),
    ("", "over the lazy dog"),
    ("quick fox", ""),
    ("the slow grey cat", "the cat sleeps"),
    ("jumps", "ABC: a, b"),
    ("a\tb", "no ßuch letter"),
]
TARGETS, SOURCES = [target for _, target in PAIRS], [source for source, _ in PAIRS]


_MODELS: dict[str, Translator] = {}
"""One for each task: hypothesis runs a test many times."""


def in_float64(folder: Path) -> Translator:
    model = seq2seq.load(folder, device="cpu")
    model.model.double()
    return model


@torch.no_grad()
def slowly(model: Any, source: list[int] | None, prompt: list[int], target: list[int]) -> list[float]:
    """One forward pass a token, one line at a time."""
    found, read = [], list(prompt)
    for token in target:
        tokens = torch.tensor([read])
        logits = model(tokens) if source is None else model(torch.tensor([source]), tokens)
        found.append(float(logits[0, -1].log_softmax(0)[token]))
        read.append(token)
    return found


@pytest.mark.parametrize("tokenizer", ["characters", "unigram", "bpe", "bytes"])
@pytest.mark.parametrize("positions", Positions)
@pytest.mark.parametrize("layers", [1, 0], ids=["encoder-decoder", "decoder-only"])
def test_translation_models_against_a_slow_loop(
    tiny_checkpoint: Make, tokenizer: str, positions: Positions, layers: int
) -> None:
    folder = tiny_checkpoint(tokenizer=tokenizer, positions=positions, max_length=128, encoder_layers=layers)
    model = in_float64(folder)
    encode = model.tokenizers.target.encode
    for (source, target), score in zip(PAIRS, model.score(TARGETS, SOURCES, batch_tokens=40), strict=True):
        ids = [*encode(target), EOS]
        expected = slowly(model.model, [*encode(source), EOS], [BOS], ids)
        assert score.log_probs == pytest.approx(expected, abs=1e-9)
        assert score.log_prob == pytest.approx(math.fsum(expected), abs=1e-9)
        assert score.pieces == tuple(model.tokenizers.target.pieces(ids))
        assert (score.source, score.target, score.tokens) == (source, target, len(ids)) or "\t" in source


def test_language_models_against_a_slow_loop(tiny_checkpoint: Make) -> None:
    model = in_float64(tiny_checkpoint("language_modelling", max_length=32))
    encode = model.tokenizers.target.encode
    for target, score in zip(TARGETS, model.score(TARGETS), strict=True):
        assert score.log_probs == pytest.approx(slowly(model.model, None, [EOS], [*encode(target), EOS]), abs=1e-9)
        assert score.source is None


def test_models_of_whole_files_begin_and_end_lines_with_a_line_break(tiny_checkpoint: Make) -> None:
    model = in_float64(tiny_checkpoint("language_modelling", documents="file", max_length=32))
    tokenizer = model.tokenizers.target
    (score,) = model.score(["a cat"])
    ids = tokenizer.encode("a cat\n")
    assert score.log_probs == pytest.approx(slowly(model.model, None, tokenizer.encode("\n"), ids), abs=1e-9)
    assert score.pieces[-1] == "\n"


def test_where_a_line_break_has_no_token_the_first_is_only_read(tiny_checkpoint: Make) -> None:
    model = in_float64(tiny_checkpoint("language_modelling", documents="file", tokenizer="unigram", max_length=32))
    assert model.tokenizers.target.encode("\n") == []
    (score,) = model.score(["the cat"])
    ids = model.tokenizers.target.encode("the cat")
    assert score.log_probs[0] is None and score.tokens == len(ids) - 1
    assert score.log_probs[1:] == pytest.approx(slowly(model.model, None, ids[:1], ids[1:]), abs=1e-9)


@pytest.mark.parametrize("positions", [Positions.learned, Positions.rotary])
@pytest.mark.parametrize("length", [6, 7, 8, 13, 40])
def test_text_longer_than_the_context_is_scored_in_stretches(
    tiny_checkpoint: Make, positions: Positions, length: int
) -> None:
    context = 8
    model = in_float64(tiny_checkpoint("language_modelling", positions=positions, max_length=context))
    text = "".join(random.Random(length).choices("abcde ", k=length - 1)) + "."
    (score,) = model.score([text])
    tokens = [EOS, *model.tokenizers.target.encode(text), EOS]
    expected = []
    start, done = 0, 1
    while done < len(tokens):  # each stretch from half a context before its first new token
        end = min(start + context + 1, len(tokens))
        expected += slowly(model.model, None, tokens[start:done], tokens[done:end])
        start, done = end - context // 2, end
    assert score.log_probs == pytest.approx(expected, abs=1e-9)
    assert (Note.stretches in score.notes) == (length + 1 > context)


def test_the_same_as_hugging_face_marian() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(4)
    size = ByteTokenizer.vocab_size
    config = transformers.MarianConfig(
        vocab_size=size, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64,
        pad_token_id=0, eos_token_id=EOS, decoder_start_token_id=BOS, init_std=0.3,
    )  # fmt: skip
    theirs = transformers.MarianMTModel(config).double().eval()
    theirs.final_logits_bias.normal_(std=0.3)
    tokenizer = ByteTokenizer()
    scorer = ForcedScorer(Config(task=Task.translation), from_marian(theirs), Tokenizers(tokenizer, tokenizer))
    for (source, target), score in zip(PAIRS, scorer.stream(TARGETS, SOURCES), strict=True):
        labels = torch.tensor([[*tokenizer.encode(target), EOS]])
        inputs = torch.tensor([[*tokenizer.encode(source), EOS]])
        with torch.no_grad():
            logits = theirs(
                input_ids=inputs, decoder_input_ids=torch.cat([torch.tensor([[BOS]]), labels[:, :-1]], 1)
            ).logits
        expected = logits.log_softmax(-1)[0].gather(1, labels[0, :, None]).squeeze(1)
        assert score.log_probs == pytest.approx(expected.tolist(), abs=1e-9)
        assert score.log_prob == pytest.approx(float(expected.sum()), abs=1e-9)


@pytest.mark.parametrize("task", ["translation", "language_modelling"])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**16), budget=st.integers(1, 200))
def test_permuting_lines_permutes_scores(tiny_checkpoint: Make, task: str, seed: int, budget: int) -> None:
    if task not in _MODELS:
        _MODELS[task] = seq2seq.load(tiny_checkpoint(task, max_length=40), device="cpu")
    model = _MODELS[task]
    sources = SOURCES if task == "translation" else None
    plain = model.score(TARGETS, sources, batch_tokens=1)
    order = random.Random(seed).choices(range(len(PAIRS)), k=12)  # some twice, some not at all
    there = model.score([TARGETS[i] for i in order], sources and [sources[i] for i in order], batch_tokens=budget)
    for index, score in zip(order, there, strict=True):
        assert score.target == plain[index].target and score.pieces == plain[index].pieces
        assert score.notes == plain[index].notes
        assert score.log_prob == pytest.approx(plain[index].log_prob, abs=TOLERANCE * score.tokens)


@pytest.mark.parametrize("end", [0.0, 9.0])
def test_a_hypothesis_of_beam_search_has_its_log_probability(tiny_checkpoint: Make, end: float) -> None:
    model = seq2seq.load(tiny_checkpoint(max_length=40, seed=3), device="cpu")
    bias = torch.zeros(model.tokenizers.target.vocab_size)
    bias[EOS] = end  # an untrained model by itself never ends
    model.model.head.bias = torch.nn.Parameter(bias)
    lines = ["the dog", "a cat is here.", "over the lazy fox", "b", "quick", "sleeps, he said"]
    candidates = finished = 0
    for answer in model.translate_stream(lines, beam_size=4, n_best=4, max_length_ratio=1.0):
        for candidate in answer.candidates:
            (score,) = model.score([candidate.text], [answer.source])
            # A space at an end is not in the text of a translation; one by itself is, but in pieces of its own.
            if score.tokens < candidate.tokens or candidate.text == " ":
                continue
            # Of one that was cut at its limit, the end token is not counted.
            found = math.fsum(log_prob or 0 for log_prob in score.log_probs[: candidate.tokens])
            assert found == pytest.approx(candidate.log_prob, abs=TOLERANCE * score.tokens)
            candidates, finished = candidates + 1, finished + (score.tokens == candidate.tokens)
    assert candidates >= 20
    assert (finished >= 5) == (end > 0)


HOSTILE = ["", " ", "\x00\x01", "a\u2028b", "\ufeff", "x" * 100_000, "ß" * 30, "\ud800", "a\rb", "🐕" * 9, "dog"]


@pytest.mark.parametrize("task", ["translation", "language_modelling"])
@pytest.mark.parametrize("tokenizer", ["characters", "unigram", "bytes"])
def test_hostile_lines_keep_their_place(tiny_checkpoint: Make, task: str, tokenizer: str) -> None:
    model = seq2seq.load(tiny_checkpoint(task, tokenizer=tokenizer, max_length=24), device="cpu")
    if task == "translation":
        scores = model.score(HOSTILE * 2, [*HOSTILE, *reversed(HOSTILE)])
    else:
        scores = model.score(HOSTILE[:5] + HOSTILE[6:])
    assert len(scores) == (2 * len(HOSTILE) if task == "translation" else len(HOSTILE) - 1)
    for score in scores:
        if Note.too_long in score.notes:
            assert score.log_prob is None and score.tokens == 0 and "xxxx" in score.target + (score.source or "")
        else:
            assert score.log_prob is not None and score.log_prob < 0 and math.isfinite(score.log_prob)
            assert score.tokens == len(score.pieces) == len(score.log_probs)
    assert (sum(Note.too_long in score.notes for score in scores) > 0) == (task == "translation")
    assert Note.nothing in scores[0].notes


def test_lines_longer_than_any_in_training_are_scored_up_to_a_point(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint(max_length=10, positions=Positions.rotary), device="cpu")
    longest = 8 * 10 - 1  # and the end
    fits, long, most, beyond = model.score(["a" * n for n in (9, 10, longest, longest + 1)], ["a"] * 4)
    assert fits.notes == () and long.notes == most.notes == (Note.beyond_training,)
    assert most.tokens == longest + 1 and beyond.notes == (Note.too_long,) and beyond.log_prob is None
    model = seq2seq.load(tiny_checkpoint(max_length=10, positions=Positions.learned), device="cpu")
    fits, beyond = model.score(["a" * 9, "a" * 10], ["a"] * 2)
    assert fits.tokens == 10 and beyond.notes == (Note.too_long,)


def test_chunks_of_logits_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    head, features, targets = torch.nn.Linear(6, 11).double(), torch.randn(17, 6).double(), torch.randint(11, (17,))
    whole = target_log_probs(features, head, targets)
    monkeypatch.setattr("seq2seq.evaluation.token_log_probs.CHUNK", 30)
    torch.testing.assert_close(target_log_probs(features, head, targets), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(whole, -torch.nn.functional.cross_entropy(head(features), targets, reduction="none"))


def test_memory_that_does_not_suffice_is_halved_until_it_does(
    tiny_checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint(max_length=40))
    scorer = ForcedScorer(checkpoint.config, checkpoint.model, checkpoint.tokenizers)
    expected = [score.log_prob for score in scorer.stream(TARGETS, SOURCES)]
    forward, most = scorer._forward, 2

    def limited(rows: Any) -> Any:
        if len(rows) > most:
            raise torch.OutOfMemoryError("out of memory")
        return forward(rows)

    monkeypatch.setattr(scorer, "_forward", limited)
    assert [score.log_prob for score in scorer.stream(TARGETS, SOURCES)] == pytest.approx(expected, abs=1e-4)
    most = 0
    with pytest.raises(DecodingError, match="more memory than the device has"):
        list(scorer.stream(TARGETS, SOURCES))


def test_what_does_not_go_together_is_refused(tiny_checkpoint: Make) -> None:
    translator = seq2seq.load(tiny_checkpoint(), device="cpu")
    with pytest.raises(DecodingError, match="Name its source too"):
        translator.score(["a"])
    for targets, sources in ((["a"], ["a", "b"]), (["a", "b"], ["a"])):
        with pytest.raises(DataError, match="ends after 1 lines, but the .* goes on"):
            translator.score(targets, sources)
    with pytest.raises(TypeError, match="lists of lines"):
        translator.score("abc", "abc")
    with pytest.raises(DecodingError, match="language model, so a source has no effect"):
        seq2seq.load(tiny_checkpoint("language_modelling"), device="cpu").score(["a"], ["b"])
    with pytest.raises(DecodingError, match="gives labels"):
        seq2seq.load(tiny_checkpoint("tagging"), device="cpu").score(["a"], ["b"])
    assert translator.score([], []) == []

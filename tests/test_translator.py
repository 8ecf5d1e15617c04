import multiprocessing
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seq2seq
from seq2seq import loading, trained, writing
from seq2seq.answering import TOLERANCE
from seq2seq.config import Positions, Search, TiedEmbeddings
from seq2seq.data.lines import Line, Note
from seq2seq.data.pieces import Piece, cut_text
from seq2seq.data.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from seq2seq.errors import CheckpointError, ConfigError, DecodingError
from seq2seq.labelling import label_scores
from seq2seq.translator import Translator

Make = Callable[..., Path]


@pytest.fixture(scope="module", params=[1, 0], ids=["encoder-decoder", "decoder-only"])
def translator(request: pytest.FixtureRequest, tiny_checkpoint: Make) -> Translator:
    return seq2seq.load(tiny_checkpoint(encoder_layers=request.param), device="cpu")


@pytest.fixture(scope="module")
def writer(tiny_checkpoint: Make) -> Translator:
    return seq2seq.load(tiny_checkpoint("language_modelling", max_length=16), device="cpu")


# -------------------------------------------------------------------- loading


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, seq2seq, seq2seq.cli.main; assert 'torch' not in sys.modules; seq2seq.load"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_load_takes_a_run_folder(tiny_checkpoint: Make, tmp_path: Path) -> None:
    tiny_checkpoint(seed=1, folder=tmp_path / "last")
    last = seq2seq.load(tmp_path).translate(["the dog"])
    tiny_checkpoint(seed=2, folder=tmp_path / "best")
    best = seq2seq.load(tmp_path).translate(["the dog"])
    assert best == seq2seq.load(tmp_path / "best").translate(["the dog"]) != last


def test_load_says_what_is_wrong(tiny_checkpoint: Make, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        seq2seq.load(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="manifest.json"):
        seq2seq.load(tmp_path)
    folder = tiny_checkpoint()
    with pytest.raises(ConfigError, match="device"):
        seq2seq.load(folder, device="toaster")
    with pytest.raises(ConfigError, match="precision .int4. must be one of auto, float32, bfloat16, float16, int8"):
        seq2seq.load(folder, precision="int4")


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_shorter_formats_translate(tiny_checkpoint: Make, precision: str, odd_lines: list[str]) -> None:
    model = seq2seq.load(tiny_checkpoint(), device="cpu", precision=precision)
    assert not model.exact
    for search in ("greedy", "beam"):
        assert len(model.translate(odd_lines, search=search)) == len(odd_lines)


def test_int8_stays_near_float32(tiny_checkpoint: Make, odd_lines: list[str]) -> None:
    exact, quantized = (seq2seq.load(tiny_checkpoint(), device="cpu", precision=kind) for kind in ("float32", "int8"))
    for one, other in zip(exact.score(odd_lines, odd_lines), quantized.score(odd_lines, odd_lines), strict=True):
        assert other.log_prob == pytest.approx(one.log_prob, rel=0.02, abs=0.05)


def test_int8_is_for_cpus(tiny_checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "resolve_device", lambda name: torch.device("cuda"))
    with pytest.raises(ConfigError, match="precision=int8 is for CPUs; with device=cuda use precision=float16"):
        seq2seq.load(tiny_checkpoint(), precision="int8")


# ---------------------------------------------------------------- translation


@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_a_line_out_for_each_line_in(translator: Translator, search: str, odd_lines: list[str]) -> None:
    found = translator.translate(odd_lines, search=search)
    assert len(found) == len(odd_lines)
    for line, text in zip(odd_lines, found, strict=True):
        assert len((text + "x").splitlines()) == 1
        assert line.strip() or not text
    assert translator.translate([]) == []


def test_one_string_is_not_a_list_of_lines(translator: Translator) -> None:
    with pytest.raises(TypeError, match="one string"):
        translator.translate("the dog")


@settings(max_examples=15)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_neighbours_order_and_batches_change_nothing(
    translator: Translator, lines: list[str], shuffle: random.Random
) -> None:
    expected = [translator.translate([line])[0] for line in lines]
    order = list(range(len(lines)))
    shuffle.shuffle(order)
    found = translator.translate([lines[index] for index in order], batch_tokens=shuffle.choice([1, 100, 10_000]))
    assert found == [expected[index] for index in order]


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize("search", list(Search))
def test_workers_side_by_side_change_nothing(
    translator: Translator, search: Search, processes: bool, monkeypatch: pytest.MonkeyPatch, odd_lines: list[str]
) -> None:
    lines = odd_lines * 3
    expected = list(translator.translate_stream(lines, search=search, batch_tokens=100))
    monkeypatch.setattr(trained, "worker_count", lambda device, processes: 3)
    monkeypatch.setattr(translator, "processes", processes)
    found = list(translator.translate_stream(lines, search=search, batch_tokens=100))
    assert [(answer.text, answer.notes) for answer in found] == [(answer.text, answer.notes) for answer in expected]
    for one, other in zip(found, expected, strict=True):  # their batches are others, so scores are rounded otherwise
        assert one.candidates[0].score == pytest.approx(other.candidates[0].score, rel=1e-5)


def test_workers_that_learn_share_what_they_learnt(
    translator: Translator, monkeypatch: pytest.MonkeyPatch, odd_lines: list[str]
) -> None:
    monkeypatch.setattr(trained, "worker_count", lambda device, processes: 3)
    monkeypatch.setattr(translator, "processes", True)
    started = []
    real = multiprocessing.Process.start
    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", lambda self: (started.append(self), real(self)))
    translator.translate(odd_lines * 3, batch_tokens=100)
    assert len(started) == 3
    translator.translate(odd_lines * 3, batch_tokens=100, suppress_text=["dog"])
    assert len(started) == 3


def test_close_decisions_are_made_alone(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = translator.searcher.search, []

    def search(pieces: Any, *arguments: Any, **settings: Any) -> Any:
        sizes.append(len(pieces))
        hypotheses, margins = real(pieces, *arguments, **settings)
        return hypotheses, [TOLERANCE / 2, *margins[1:]]

    monkeypatch.setattr(translator.searcher, "search", search)
    translator.translate(["the dog", "the cat", "the cow"])
    assert sizes[:2] == [3, 1]


def test_sampling_does_not_depend_on_batches(translator: Translator, odd_lines: list[str]) -> None:
    def sampled(**changes: Any) -> list[str]:
        return translator.translate(odd_lines, search="sample", **changes)

    assert sampled(seed=3, batch_tokens=10) == sampled(seed=3, batch_tokens=10_000) != sampled(seed=4)
    assert sampled() == sampled(seed=1) != sampled(seed=0)
    twice = translator.translate(["the dog"] * 8, search="sample")
    assert len(set(twice)) > 1  # each line has a chance of its own


def test_the_pieces_of_a_long_line_are_joined(translator: Translator) -> None:
    parts = ["A dog is here.", "Cats are not here.", "Bees fly here"]
    (answer,) = translator.translate_stream([" ".join(parts)])
    assert answer.text == " ".join(text for text in translator.translate(parts) if text)
    assert Note.split in answer.notes
    singles = [found.candidates[0] for found in translator.translate_stream(parts)]
    assert answer.candidates[0].log_prob == pytest.approx(sum(single.log_prob for single in singles))
    assert answer.candidates[0].score == pytest.approx(sum(single.score for single in singles) / 3)


def test_hard_cut_pieces_draw_by_different_chance(translator: Translator) -> None:
    (text,) = translator.translate(["x" * 23 * 8], search="sample")
    assert len(set(text.split(" "))) > 2


def test_a_very_long_line(translator: Translator) -> None:
    (text,) = translator.translate(["is it so? " * 1_000], search="greedy")
    assert text


def test_n_best(translator: Translator, odd_lines: list[str]) -> None:
    for answer in translator.translate_stream(odd_lines, n_best=3):
        assert len(answer.candidates) == 3
        scores = [candidate.score for candidate in answer.candidates]
        assert scores == sorted(scores, reverse=True)
    (answer,) = translator.translate_stream(["the dog"], search="sample", n_best=4, top_k=2)
    assert len(answer.candidates) == 4


def test_notes(translator: Translator, odd_lines: list[str]) -> None:
    answers = list(translator.translate_stream([*odd_lines, Line("the dog", (Note.carriage_return,))]))
    by_line = dict(zip(odd_lines, answers, strict=False))
    assert Note.blank in by_line[""].notes and Note.blank in by_line[" \t"].notes
    assert {Note.control, Note.separator} <= set(by_line["\x00control\u2028separator"].notes)
    assert Note.split in by_line["x" * 100].notes
    assert Note.unread in by_line["ünknown 東京"].notes and Note.unread not in by_line["the dog"].notes
    assert Note.carriage_return in answers[-1].notes
    (cut,) = translator.translate_stream(["the dog and the cat"], max_length_ratio=0.01, min_length=10)
    assert Note.unfinished in cut.notes


def test_the_length_limit(translator: Translator) -> None:
    for answer in translator.translate_stream(["the dog and"], search="sample", n_best=20, max_length_ratio=0.5):
        assert max(candidate.tokens for candidate in answer.candidates) <= 5 + 10


def test_lengths_by_the_source_and_whatever_it_is(translator: Translator) -> None:
    lines = ["the dog and the fox", "a", "lazy brown dog"]
    source_lengths = [len(piece.ids) - 1 for piece in pieces_of(translator, lines)]
    for search in ("greedy", "beam", "sample"):
        for answer, length in zip(
            translator.translate_stream(lines, search=search, min_length_ratio=1.0, max_length=12),
            source_lengths,
            strict=True,
        ):
            assert min(length, 12) <= answer.candidates[0].tokens <= 12
        short = translator.translate_stream(lines, search=search, max_length=1)
        assert [answer.candidates[0].tokens for answer in short] == [1, 1, 1]


def pieces_of(translator: Translator, lines: list[str]) -> list[Piece]:
    cut = cut_text([Line(line) for line in lines], translator.tokenizers.source, max_length=24)
    return [piece for pieces, _ in cut for piece in pieces]


def test_special_tokens_are_never_written(tiny_checkpoint: Make, odd_lines: list[str]) -> None:
    model = seq2seq.load(tiny_checkpoint(tied_embeddings=TiedEmbeddings.none), device="cpu")
    with torch.no_grad():
        model.model.head.weight[[PAD, BOS, UNK]] *= 100
    for search in ("greedy", "beam", "sample"):
        found, _ = model.searcher.search(pieces_of(model, odd_lines), model.settings(search=search), seed=1)
        assert not {PAD, BOS, UNK} & {token for hypotheses in found for token in hypotheses[0].tokens}


def test_the_stream_answers_before_it_waits(translator: Translator) -> None:
    seen = []

    def lines() -> Iterator[str | None]:
        yield "the dog"
        yield "the cat"
        yield None
        assert len(seen) == 2
        yield "the cow"

    for answer in translator.translate_stream(lines()):
        seen.append(answer)
    assert [answer.source for answer in seen] == ["the dog", "the cat", "the cow"]


def test_the_stream_reads_no_more_than_a_window_ahead(translator: Translator) -> None:
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "the dog"

    stream = translator.translate_stream(lines(), search="greedy")
    next(stream)
    assert read <= 65


def test_a_batch_too_large_for_memory_is_halved(
    translator: Translator, monkeypatch: pytest.MonkeyPatch, odd_lines: list[str]
) -> None:
    expected = translator.translate(odd_lines)
    real = translator.model.start

    def start(source: torch.Tensor, **arguments: Any) -> Any:
        if source.shape[0] > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(source, **arguments)

    monkeypatch.setattr(translator.model, "start", start)
    assert translator.translate(odd_lines) == expected
    monkeypatch.setattr(translator.model, "start", lambda source, **_: start(source.expand(3, -1)))
    with pytest.raises(DecodingError, match="Line 1 needs more memory"):
        translator.translate(["the dog"])


def test_output_stays_within_a_learned_position_table(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint(positions=Positions.learned, max_length=24), device="cpu")
    (answer,) = model.translate_stream(["x" * 23], min_length=1000, max_length_ratio=50.0)
    assert answer.candidates[0].tokens == 24


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beam_sise": 3}, "beam_sise is no setting .* did you mean beam_size"),
        ({"max_new_tokens": 3}, "max_new_tokens is no setting for this model"),
        ({"search": "best"}, "search .best. must be one of greedy, beam, sample"),
        ({"search": "greedy", "beam_size": 5}, "beam_size has no effect with search=greedy"),
        ({"search": "greedy", "length_penalty": 0.5}, "length_penalty has no effect with search=greedy"),
        ({"search": "sample", "length_penalty": 0.5}, "no effect with search=sample and n_best=1"),
        ({"beam_size": 1, "length_penalty": 0.5}, "no effect with beam_size=1"),
        ({"length_normalisation": "none", "length_penalty": 0.5}, "no effect with length_normalisation=none"),
        ({"temperature": 0.5}, "temperature has no effect with search=beam; use it with search=sample"),
        ({"seed": 5}, "seed has no effect with search=beam"),
        ({"search": "sample", "seed": -1}, "seed .-1. must be 0 or more"),
        ({"search": "sample", "top_p": 1.5}, "top_p .1.5. must be above 0 and at most 1"),
        ({"n_best": 9}, "n_best .9."),
        ({"beam_size": 2.5}, "beam_size .2.5. must be a whole number"),
        ({"length_penalty": float("nan")}, "length_penalty .nan. must be a number"),
    ],
)
def test_settings_that_are_refused(translator: Translator, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodingError, match=message):
        translator.translate(["the dog"], **changes)


def test_another_search_takes_its_own_defaults(translator: Translator) -> None:
    translator.config.decoding.n_best = 2
    try:
        assert translator.settings(search="greedy").n_best == 1
        assert translator.settings(beam_size=1).n_best == 1
        assert translator.settings().n_best == 2
        assert translator.settings(n_best=None).n_best == 2
        given = translator.settings(search=Search.sample, top_k=3)
        assert translator.settings(given, search="beam").top_k == 0
        translator.config.decoding.length_penalty = (
            0.7  # of no use to one hypothesis, which is no mistake of the caller
        )
        assert translator.settings(beam_size=1).length_penalty == 1.0
        assert translator.settings(beam_size=2).length_penalty == 0.7
    finally:
        translator.config.decoding.n_best, translator.config.decoding.length_penalty = 1, 1.0


def test_each_model_has_its_use(translator: Translator, writer: Translator, tiny_checkpoint: Make) -> None:
    with pytest.raises(DecodingError, match="is a language model: use generate"):
        writer.translate(["the dog"])
    with pytest.raises(DecodingError, match="translates: use translate"):
        translator.generate("the dog")
    with pytest.raises(DecodingError, match="translates: use translate"):
        translator.predict(["the dog"])
    labeller = seq2seq.load(tiny_checkpoint("classification"), device="cpu")
    with pytest.raises(DecodingError, match="labels lines: use predict"):
        labeller.translate(["the dog"])


# --------------------------------------------------------------------- labels


@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_labels_do_not_depend_on_neighbours(tiny_checkpoint: Make, task: str, odd_lines: list[str]) -> None:
    model = seq2seq.load(tiny_checkpoint(task), device="cpu")
    found = model.predict(odd_lines)
    assert found == [model.predict([line])[0] for line in odd_lines] == model.predict(odd_lines, batch_tokens=1)
    assert found == model.predict(odd_lines[::-1])[::-1]
    assert len(set(found)) > 2
    for line, labels in zip(odd_lines, found, strict=True):
        assert bool(line.strip()) == bool(labels)


def test_one_label_for_each_word_however_long_the_line(tiny_checkpoint: Make, odd_lines: list[str]) -> None:
    model = seq2seq.load(tiny_checkpoint("tagging"), device="cpu")
    lines = [*odd_lines, "a " * 500, "x" * 500, f"short {'x' * 500} short"]
    answers = list(model.predict_stream(lines))
    assert [len(answer.text.split()) for answer in answers] == [len(answer.source.split()) for answer in answers]
    assert Note.split in answers[-3].notes
    assert answers[-2].notes == (Note.cut,)
    assert Note.cut in answers[-1].notes


def test_the_label_of_a_split_line_is_judged_by_all_pieces(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint("classification"), device="cpu")
    parts = ["A dog is here.", "Cats are not here.", "Bees fly here"]
    (answer,) = model.predict_stream([" ".join(parts)])
    total = sum(label_scores(model, [piece])[0][0] for piece in pieces_of(model, parts))
    assert answer.text == model.tokenizers.target.decode([int(total.argmax())])
    assert answer.candidates[0].score <= 0


# ----------------------------------------------------------------------- text


def whole(writer: Translator, prompt: str = "the ", **changes: Any) -> str:
    return "".join(writer.generate(prompt, **changes))


@pytest.mark.parametrize("tokenizer", ["characters", "bytes"])
@pytest.mark.parametrize("positions", list(Positions))
def test_text_may_outgrow_the_context(tiny_checkpoint: Make, tokenizer: str, positions: Positions) -> None:
    folder = tiny_checkpoint(
        "language_modelling", tokenizer=tokenizer, positions=positions, max_length=16, documents="file"
    )
    model = seq2seq.load(folder, device="cpu")
    for search in ("greedy", "sample", "beam"):
        text = whole(model, search=search, max_new_tokens=50)
        if tokenizer == "characters":
            assert len(text) == 50
        assert text == whole(model, search=search, max_new_tokens=50)


def test_when_the_context_is_full_its_last_half_is_read_again(tiny_checkpoint: Make) -> None:
    folder = tiny_checkpoint("language_modelling", max_length=16, positions=Positions.learned, documents="file")
    model = seq2seq.load(folder, device="cpu")
    tokenizer = model.tokenizers.target
    tokens, start = tokenizer.encode("the dog"), 0
    for _ in range(40):
        if len(tokens) - start > 16:
            start = len(tokens) - 8
        logits = model.model(torch.tensor([tokens[start:]]))[0, -1]
        logits[[PAD, BOS, EOS, UNK]] = float("-inf")
        tokens.append(int(logits.argmax()))
    assert whole(model, "the dog", search="greedy", max_new_tokens=40) == tokenizer.decode(tokens)[len("the dog") :]


def test_a_prompt_longer_than_the_context(writer: Translator) -> None:
    assert whole(writer, "the dog " * 100, search="greedy", max_new_tokens=5, min_length=5)


def test_text_comes_piece_by_piece(writer: Translator) -> None:
    pieces = list(writer.generate("the ", search="sample", max_new_tokens=30, min_length=30))
    assert len(pieces) == 30


def test_chance_follows_seed_and_sample(writer: Translator) -> None:
    def text(**changes: Any) -> str:
        return whole(writer, search="sample", temperature=9.0, max_new_tokens=40, min_length=40, **changes)

    assert text(seed=1) == text() == text(sample=0)
    assert len({text(seed=0), text(seed=1), text(seed=2), text(sample=1), text(sample=2)}) == 5
    stretches = text()[13:]
    assert stretches[:8] != stretches[8:16]  # no stretch repeats the chance of the one before


def test_text_of_every_tokenizer_is_that_of_its_tokens(
    tiny_checkpoint: Make, tiny_tokenizers: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, tokenizer in tiny_tokenizers.items():
        model = seq2seq.load(tiny_checkpoint("language_modelling", tokenizer=kind), device="cpu")
        prompt = "the quick brown"
        tokens, real = tokenizer.encode(prompt), writing.generate

        def generate(*arguments: Any, tokens: list[int] = tokens, real: Any = real, **settings: Any) -> Iterator[int]:
            for token in real(*arguments, **settings):
                tokens.append(token)
                yield token

        monkeypatch.setattr(writing, "generate", generate)
        text = whole(model, prompt, search="sample", temperature=9.0, max_new_tokens=100)
        monkeypatch.undo()
        assert prompt + text == tokenizer.decode(tokens)


def test_a_prompt_that_ends_in_a_space_gets_no_second_one(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint("language_modelling", tokenizer="unigram"), device="cpu")
    changes = {"search": "sample", "temperature": 9.0, "max_new_tokens": 2}
    without = [whole(model, "the quick", seed=seed, **changes) for seed in range(150)]
    assert any(text.startswith(" ") for text in without)
    assert [whole(model, "the quick ", seed=seed, **changes) for seed in range(150)] == [
        text.removeprefix(" ") for text in without
    ]


def test_an_empty_prompt_needs_a_token_to_begin_with(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint("language_modelling", tokenizer="unigram", documents="file"), device="cpu")
    with pytest.raises(DecodingError, match="give it a prompt"):
        whole(model, "")


def test_documents_of_lines_end_and_files_do_not(tiny_checkpoint: Make) -> None:
    lines = seq2seq.load(tiny_checkpoint("language_modelling", documents="line"), device="cpu")
    file = seq2seq.load(tiny_checkpoint("language_modelling", documents="file"), device="cpu")
    lengths = [
        len(whole(lines, "", search="sample", temperature=9.0, seed=seed, max_new_tokens=200)) for seed in range(8)
    ]
    assert min(lengths) < 200
    assert [len(whole(file, "", search="sample", seed=seed, max_new_tokens=200)) for seed in range(3)] == [200] * 3


def test_settings_of_a_language_model(writer: Translator, tiny_checkpoint: Make) -> None:
    file = seq2seq.load(tiny_checkpoint("language_modelling", documents="file"), device="cpu")
    with pytest.raises(DecodingError, match="min_length has no effect"):
        whole(file, min_length=2)
    with pytest.raises(DecodingError, match="n_best is no setting for this model"):
        whole(writer, n_best=2)
    with pytest.raises(DecodingError, match="top_k has no effect with search=greedy"):
        whole(writer, search="greedy", top_k=2)

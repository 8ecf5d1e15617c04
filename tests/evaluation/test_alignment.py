import itertools
import json
import math
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seq2seq
from seq2seq import trained
from seq2seq.answering import Answer, Candidate
from seq2seq.cli.main import main
from seq2seq.data.lines import Note, rejoined, repair
from seq2seq.data.pieces import cut_text, text_parts
from seq2seq.errors import DecodingError
from seq2seq.evaluation.alignment import Aligner, AlignmentSettings, TextPair, aligned, pharaoh
from seq2seq.line_constraints import LineConstraints

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return seq2seq.load(tiny_checkpoint(tokenizer="unigram", decoder_layers=3), device="cpu")


def aligner(model, **changes):
    return Aligner(model.config, model.model, model.tokenizers, AlignmentSettings(**changes))


def slow_links(source_words, target_words, weights, threshold):
    """The definition, one number at a time."""
    sources, targets = sorted(set(source_words) - {None}), sorted(set(target_words) - {None})

    def share(source, target):
        step = target_words.index(target)
        return sum(weights[step][place] for place, word in enumerate(source_words) if word == source)

    def score(source, target):
        of_target = sum(share(other, target) for other in sources)
        of_source = sum(share(source, other) for other in targets)
        return math.sqrt(share(source, target) / of_target * share(source, target) / of_source)

    if threshold is not None:
        return [(s, t) for s in sources for t in targets if score(s, t) >= threshold]
    return sorted((max(sources, key=lambda s: score(s, t)), t) for t in targets)


@given(
    source=st.lists(st.sampled_from([0, 1, 2, 4, None]), min_size=1, max_size=6),
    target=st.lists(st.sampled_from([0, 1, 3, None]), min_size=1, max_size=6),
    threshold=st.sampled_from([None, 0.3, 0.6]),
    seed=st.integers(0, 10**6),
)
def test_links_are_those_of_the_definition(model, source, target, threshold, seed):
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(source) + 1), size=len(target))
    tested = aligner(model, threshold=threshold)
    row = type("Row", (), {"source_words": source, "target_words": target})
    found, margin = tested._links(row, weights)
    if set(source) == {None} or set(target) == {None}:
        assert (found, margin) == ([], math.inf)
    else:
        assert found == slow_links(source, target, weights.tolist(), threshold)
        assert margin > 0


@settings(max_examples=15)
@given(data=st.data(), threshold=st.sampled_from([None, 0.4]))
def test_neighbours_change_nothing(model, data, threshold):
    text = st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join)
    pairs = data.draw(st.lists(st.builds(TextPair, text, text), min_size=1, max_size=8))
    tested = aligner(model, threshold=threshold)
    together = tested.align(pairs)
    assert together == [tested.align([pair])[0] for pair in pairs]
    for pair, links in zip(pairs, together, strict=True):
        assert links == sorted(links)
        linked = [target for _, target in links]
        if threshold is None and pair.source and pair.target:
            assert sorted(linked) == list(range(len(pair.target.split())))
        assert all(source < len(pair.source.split()) for source, _ in links)


def test_only_a_copy_over_the_same_weights_is_watched(model):
    tested = aligner(model, layers=(0, 2))
    assert tested._attentions == [tested._model.decoder.layers[number].cross_attention for number in (0, 2)]
    (weights,) = tested._weights([tested._encoded(0, TextPair("the quick fox", "a dog jumps"))])
    assert weights.sum(axis=1) == pytest.approx(np.ones(len(weights)))
    assert all(layer.cross_attention.watch is None for layer in model.model.decoder.layers)
    copied = {tensor.data_ptr() for tensor in tested._model.parameters()}
    assert copied == {tensor.data_ptr() for tensor in model.model.parameters()}


def test_searches_of_other_threads_go_on_meanwhile(model, monkeypatch):
    lines = [" ".join(random.Random(seed).choices(WORDS, k=seed % 7)) for seed in range(60)]

    def links():
        found = model.translate_stream(iter(lines), alignments=AlignmentSettings(), batch_tokens=60, beam_size=2)
        return [(answer.text, answer.candidates[0].alignment) for answer in found]

    alone = links()
    monkeypatch.setattr(trained, "worker_count", lambda device, processes: 3)
    assert links() == alone


def test_padding_and_layers_in_the_mean(model):
    """The batch's weights are the plain mean over layers and heads of each pair read by itself."""
    tested = aligner(model)
    rows = [
        tested._encoded(0, TextPair("the quick brown fox", "a dog")),
        tested._encoded(1, TextPair("dog", "the fox")),
    ]
    for row, found in zip(rows, tested._weights(rows), strict=True):
        alone = [aligner(model, layers=(layer,))._weights([row])[0] for layer in (1, 2)]
        assert found == pytest.approx(np.mean(alone, axis=0), abs=1e-6)


def test_parts_of_a_long_line_keep_their_places(model):
    lines = ["the dog", "the quick fox. " * 9, "x" * 300 + " the dog jumps", "", "a lazy dog, " * 12]
    answers = list(model.translate_stream(lines, alignments=AlignmentSettings(), n_best=2))
    split = 0
    for line, answer in zip(lines, answers, strict=True):
        for candidate in answer.candidates:
            assert candidate.alignment is not None
            # every word has one link but those without tokens, such as a character that normalisation removes
            spelled = [n for n, word in enumerate(candidate.text.split()) if model.tokenizers.target.encode(word)]
            assert sorted(target for _, target in candidate.alignment) == spelled
            if not candidate.parts:
                continue
            split += 1
            sources = text_parts(line, model.tokenizers.source, max_length=model.config.data.max_length)
            word_of = {}  # the words that each part's text may be linked with, from the characters
            target, place = 0, 0
            for part, text in zip(sources, candidate.parts, strict=True):
                place = line.index(part, place)
                first = len(line[: place + 1].split()) - 1
                allowed = range(first, first + len(part.split()))
                for _ in text.split():
                    word_of[target] = allowed
                    target += 1
                place += len(part)
            assert all(source in word_of[target] for source, target in candidate.alignment)
    assert split >= 4
    assert [len(answer.candidates[0].text) for answer in answers] == [
        len(text) for text in model.translate(lines, n_best=2)
    ]


def test_parts_of_a_long_line_whose_tags_are_kept(model):
    """Spaces about tags change when the line is put together; each part's words stay linked with the part's own."""
    line = repair("the quick <b>fox</b> jumps over <i> a lazy </i> dog. " * 40)
    required = LineConstraints(None, None, lambda pieces: [], placeholders=True)
    by = partial(cut_text, tokenizer=model.tokenizers.source, max_length=model.config.data.max_length)
    ((pieces, notes),) = required.cut([line], first=0, by=by)
    outputs = tuple(["a dog <b> jumps </b> over", "", "<i>the fox</i>"][number % 3] for number in range(len(pieces)))
    assert len(pieces) > 3
    before = Candidate(rejoined(outputs), 0.0, 0.0, 9, outputs)
    reported = required.reported([Answer(line.text, (before,), notes)])
    ((candidate,),) = (answer.candidates for answer in aligned(reported, aligner(model), together=1))
    assert candidate.text.startswith("a dog <b>jumps</b> over <i> the fox </i>")
    sources = text_parts(line.text, model.tokenizers.source, max_length=model.config.data.max_length)
    allowed, place, word = set(), 0, 0
    for part, output in zip(sources, outputs, strict=True):
        place = line.text.index(part, place)
        first = len(line.text[: place + 1].split()) - 1
        words = {"": 0, "a dog <b> jumps </b> over": 4, "<i>the fox</i>": 4}[output]
        allowed |= set(itertools.product(range(first, first + len(part.split())), range(word, word + words)))
        place, word = place + len(part), word + words
    assert set(candidate.alignment) <= allowed
    assert [target for _, target in sorted(candidate.alignment, key=lambda link: link[1])] == list(range(word))


def test_what_is_refused(model, tiny_checkpoint):
    for changes, message in [
        ({"layers": (3,)}, "alignment layer 3 is none of the decoder's, which are 0 to 2"),
        ({"layers": ()}, "no alignment layer is given"),
        ({"threshold": 0.0}, "alignment threshold .0.0. must be above 0 and at most 1"),
        ({"threshold": 1.5}, "must be above 0"),
    ]:
        with pytest.raises(DecodingError, match=message):
            model.align(["the dog"], ["a fox"], AlignmentSettings(**changes))
    labeller = seq2seq.load(tiny_checkpoint("classification"), device="cpu")
    with pytest.raises(DecodingError, match="Alignments need a model that translates"):
        labeller.align(["the dog"], ["a fox"])
    one_stack = seq2seq.load(tiny_checkpoint(encoder_layers=0), device="cpu")
    with pytest.raises(DecodingError, match="cross-attention, which this model does not have"):
        one_stack.align(["the dog"], ["a fox"])


def test_odd_pairs(model):
    pairs = [("the dog", ""), ("", "a fox"), ("the \u2028 dog", "a\tfox"), ("dog " * 500, "fox")]
    found = list(model.align_stream(*zip(*pairs, strict=True)))
    assert [links for _, links in found][:2] == [[], []] and len(found[2][1]) == 2
    assert found[3] == ((Note.too_long_to_align,), None)
    assert model.align(*zip(*pairs, strict=True))[3] == []


def test_the_command(tiny_checkpoint, tmp_path: Path, capfd) -> None:
    checkpoint = str(tiny_checkpoint(tokenizer="unigram"))
    source, target = tmp_path / "source.txt", tmp_path / "target.txt"
    source.write_text("the quick fox\n\nthe lazy dog\n" + "dog " * 500 + "\n")
    target.write_text("a dog\na fox\n\x00jumps over\nfox")
    assert main(["align", str(source), str(target), "--ckpt", checkpoint]) == 0
    out, errors = capfd.readouterr()
    lines = out.split("\n")
    assert len(lines) == 5 and [len(line.split()) for line in lines] == [2, 0, 2, 0, 0]
    assert "1  longer than the model takes, not aligned" in errors and "1  control characters" in errors
    model = seq2seq.load(checkpoint, device="cpu")
    assert lines[0] == pharaoh(model.align(["the quick fox"], ["a dog"])[0])
    target.write_text("a dog\n")
    assert main(["align", str(source), str(target), "--ckpt", checkpoint, "--output", str(tmp_path / "o")]) == 2
    assert "The target ends after 1 lines, but the source goes on" in capfd.readouterr().err
    assert not (tmp_path / "o").exists()
    assert main(["align", "-", "-", "--ckpt", checkpoint]) == 2


def test_beside_a_translation(tiny_checkpoint, tmp_path: Path, capfd) -> None:
    chance = random.Random(3)
    source, links = tmp_path / "in.txt", tmp_path / "links.txt"
    source.write_text("".join(" ".join(chance.choices(WORDS, k=chance.randint(0, 6))) + "\n" for _ in range(20)))
    good = ["translate", "--ckpt", str(tiny_checkpoint(tokenizer="unigram")), "--input", str(source), "--quiet"]
    assert main([*good, "--alignments", str(links)]) == 0
    texts = capfd.readouterr().out.split("\n")[:-1]
    rows = links.read_text().split("\n")[:-1]
    assert len(rows) == 20 and [len(row.split()) for row in rows] == [len(text.split()) for text in texts]
    assert main([*good, "--alignments", str(links), "--json"]) == 0
    objects = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [pharaoh(item["alignment"]) for item in objects] == rows == links.read_text().split("\n")[:-1]
    assert main([*good, "--alignments", str(links), "--n-best", "2"]) == 0
    assert links.read_text().split("\n")[:-1][::2] == rows
    capfd.readouterr()
    for more, message in [
        (["--alignment-threshold", "0.5"], "--alignment-threshold has no effect without --alignments"),
        (["--alignments", str(source)], "is also an input"),
        (["--alignments", "x", "--output", "x"], "--alignments and --output are both x"),
        (["--alignments", str(links), "--alignment-threshold", "2"], "threshold (2.0) must be above 0"),
    ]:
        assert main([*good, *more]) == 2
        assert message in capfd.readouterr().err

"""Lines of several sentences, translated in pieces."""

from collections.abc import Callable
from pathlib import Path

import pytest

import seq2seq
from seq2seq.config import DecodingConfig, LineSplit
from seq2seq.data.lines import Note
from seq2seq.errors import DecodingError
from seq2seq.evaluation.alignment import AlignmentSettings
from seq2seq.translator import Translator

SENTENCES = ["A dog is here.", "Cats are not!", "Bees fly over there"]
JOINED = " ".join(SENTENCES)
SINGLE = ["a dog is here", "the U.S. dog, no. 3", "", "   ", "A dog. . .", "..."]
LONG = "A dog and a cat and a bee and a fox and a cat and a dog sleep"


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> Translator:
    return seq2seq.load(tiny_checkpoint(max_length=56), device="cpu")


def test_several_sentences_are_translated_one_by_one(model: Translator) -> None:
    assert len(JOINED) < 55  # it fits
    singles = model.translate(SENTENCES)
    for split in ("auto", "sentences"):
        (answer,) = model.translate_stream([JOINED], split=split)
        assert answer.text == " ".join(filter(None, singles)) and answer.candidates[0].parts == tuple(singles)
        assert Note.sentences in answer.notes and Note.split not in answer.notes
        assert answer.report.parts == 3 and answer.report.notes == tuple(note.name for note in answer.notes)
    (whole,) = model.translate_stream([JOINED], split="long")
    assert (
        Note.sentences not in whole.notes and whole.report.parts == 1 and whole.text != " ".join(filter(None, singles))
    )


def test_single_sentences_stay_as_they_are(model: Translator) -> None:
    lines = [*SINGLE, *SENTENCES]
    assert list(model.translate_stream(lines)) == list(model.translate_stream(lines, split="long"))


def test_only_sentences_longer_than_the_model_takes_are_cut_further(model: Translator) -> None:
    (answer,) = model.translate_stream([f"{SENTENCES[0]} {LONG}. {SENTENCES[1]}"])
    first, *middle, last = answer.candidates[0].parts
    assert Note.split in answer.notes and len(middle) == 2
    assert [first, last] == model.translate(SENTENCES[:2])


def test_as_many_sentences_go_together_as_in_training(model: Translator) -> None:
    def parts(length: int) -> int:
        knowing = Translator(model.config, model.model, model.tokenizers, joined_length=length)
        (answer,) = knowing.translate_stream([JOINED])
        assert answer.report.parts == max(len(answer.candidates[0].parts), 1)
        return answer.report.parts

    first_two = len(" ".join(SENTENCES[:2])) + 1  # the space behind them counts
    assert [parts(length) for length in (0, first_two - 2, first_two, len(JOINED), 1000)] == [3, 3, 2, 1, 1]


def test_the_checkpoint_says_how_many_go_together(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_checkpoint(max_length=56)
    checkpoint = seq2seq.checkpoint.load_checkpoint(folder)
    seq2seq.checkpoint.save_checkpoint(
        tmp_path / "knowing", config=checkpoint.config, model=checkpoint.model, tokenizers=checkpoint.tokenizers,
        metrics={"joined_length": 55},
    )  # fmt: skip
    assert seq2seq.load(tmp_path / "knowing", device="cpu").translate([JOINED]) == seq2seq.load(
        folder, device="cpu"
    ).translate([JOINED], split="long")


def test_links_are_between_a_sentence_and_its_translation(model: Translator) -> None:
    settings = AlignmentSettings()
    (answer,) = model.translate_stream([JOINED], alignments=settings)
    expected, source_words, target_words = [], 0, 0
    for sentence, single in zip(SENTENCES, model.translate_stream(SENTENCES, alignments=settings), strict=True):
        found = single.candidates[0].alignment or ()
        expected += [(source + source_words, target + target_words) for source, target in found]
        source_words += len(sentence.split())
        target_words += len(single.text.split())
    assert expected and answer.candidates[0].alignment == tuple(expected)


def test_a_given_beginning_may_be_of_several_sentences(model: Translator) -> None:
    whole = [answer.candidates for answer in model.translate_stream([JOINED], prefixes=[""], split="long")]
    assert [answer.candidates for answer in model.translate_stream([JOINED], prefixes=[""])] == whole
    (text,) = model.translate([JOINED], prefixes=["ab. cd. e"])
    assert text.startswith("ab. cd. e") and text.count("ab. cd. e") == 1
    with pytest.raises(DecodingError, match="split=sentences does not go with prefixes or alternatives; use split=l"):
        model.translate([JOINED], prefixes=["ab"], split="sentences")
    with pytest.raises(DecodingError, match="split=sentences does not go with prefixes or alternatives; use split=l"):
        model.alternatives(JOINED, decoding=DecodingConfig(split=LineSplit.sentences))


def test_neighbours_change_nothing(model: Translator) -> None:
    lines = [JOINED, *SENTENCES, JOINED.replace("dog", "cat"), *SINGLE]
    assert model.translate(lines) == [model.translate([line])[0] for line in lines]

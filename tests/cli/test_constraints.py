"""`translate --glossary --constraints` on tiny untrained models, which say nothing of it unless they must."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import seq2seq
from seq2seq.cli.main import translate
from seq2seq.data.glossary import Glossary
from seq2seq.data.lines import Note
from seq2seq.errors import DataError, DecodingError

Make = Callable[..., Path]
LINES = ["the lazy dog", "", "a fox and a dog", "the slow grey cat sleeps. " * 12 + "the dog jumps.", "nothing here"]
SETTINGS = ["--max-length-ratio", "6", "--threads", "1"]


@pytest.fixture(scope="module", params=["unigram", "characters"])
def checkpoint(tiny_checkpoint: Make, request: pytest.FixtureRequest) -> Path:
    return tiny_checkpoint(tokenizer=request.param, max_length=40)


def test_glossary_and_constraints_from_the_command_line(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES))
    (tmp_path / "terms.tsv").write_text("dog\tquick fox\nlazy dog\tbrown cat\nfox\tBAC\n")
    (tmp_path / "phrases").write_text("over\n\tjumps\nover\tover\n\nthe cat\tdü\n")
    arguments = ["--ckpt", checkpoint, "--input", tmp_path / "in", "--glossary", tmp_path / "terms.tsv",
                 "--constraints", tmp_path / "phrases", "--json", "--output", tmp_path / "out",
                 "--report", tmp_path / "report", *SETTINGS]  # fmt: skip
    assert translate([str(argument) for argument in arguments]) == 0
    answers, records = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] for name in ("out", "report")
    )
    assert [record.get("constraints") for record in records] == [answer.get("constraints") for answer in answers]
    found = [{c["phrase"]: (c["count"], c["found"]) for c in answer.get("constraints", [])} for answer in answers]
    assert [sorted(line) for line in found] == [
        ["brown cat", "over"], ["jumps"], ["BAC", "over", "quick fox"], ["quick fox"], ["dü", "the cat"],
    ]  # fmt: skip
    assert found[2]["over"][0] == 2
    # Blank lines stay blank, and ü is outside the alphabet of characters; all else is there.
    writable = "ü" in seq2seq.load(checkpoint, device="cpu").tokenizers.target.decode(
        seq2seq.load(checkpoint, device="cpu").tokenizers.target.encode("ü")
    )
    missed = {phrase for line in found for phrase, (count, there) in line.items() if there < count}
    assert missed == {"jumps"} | (set() if writable else {"dü"})
    satisfied = 9 - len(missed)
    assert f"{satisfied} of 9 required phrases in 5 lines satisfied" in capsys.readouterr().err
    for answer, line in zip(answers, found, strict=True):
        assert all(phrase in answer["text"] or phrase.capitalize() in answer["text"] for phrase in line.keys() - missed)


def test_neighbours_and_batches_change_nothing(checkpoint: Path) -> None:
    model = seq2seq.load(checkpoint, device="cpu")
    glossary = Glossary([("dog", "quick fox")])
    phrases = [["over"], [], ["cat", "cat"], ["the"], []]
    together = model.translate(LINES, constraints=phrases, glossary=glossary)
    assert together == model.translate(LINES, constraints=phrases, glossary=glossary, batch_tokens=1)
    for line, own, text in zip(LINES, phrases, together, strict=True):
        assert model.translate([line], constraints=[own], glossary=glossary) == [text]
    plain = model.translate(LINES)
    assert model.translate(LINES, constraints=[[]] * len(LINES), glossary=Glossary([("zebra", "Zebra")])) == plain
    assert plain[4] == together[4] and plain[0] != together[0]
    assert list(model.translate_stream(LINES))[0].constraints == ()


def test_terms_of_several_sentences_are_those_of_the_text(checkpoint: Path) -> None:
    # Normalisation makes ½ 1⁄2, or there is no token for it.
    model = seq2seq.load(checkpoint, device="cpu")
    (answer,) = model.translate_stream(
        ["A dog. The ½ fox."], glossary=Glossary([("½", "over")]), keep_placeholders=True
    )
    assert Note.sentences in answer.notes
    assert "over" in answer.candidates[0].parts[1].lower() and [one.phrase for one in answer.constraints] == ["over"]


def test_phrases_that_the_tokenizer_normalises_are_found(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint(tokenizer="unigram", max_length=40), device="cpu")
    phrases = [["ｃａｔ", "ﬁ"], ["fox…"], ["a\u0308", "brown\u200bfox"], ["ä"]]
    answers = list(
        model.translate_stream(
            ["the lazy dog", "a fox", "nothing here", "the dog"],
            constraints=phrases,
            glossary=Glossary([("dog", "ｑｕｉｃｋ")]),
            max_length_ratio=9,
        )
    )
    assert [[one.phrase for one in answer.constraints] for answer in answers] == [
        [*phrases[0], "ｑｕｉｃｋ"], phrases[1], phrases[2], ["ä", "ｑｕｉｃｋ"],
    ]  # fmt: skip
    assert all(one.satisfied for answer in answers for one in answer.constraints)
    (answer,) = model.translate_stream(["a fox"], prefixes=["a\u0308 "], constraints=[["ä"]])
    assert answer.text.startswith("a\u0308 ") and answer.constraints[0].found


def test_answers_that_are_there_already_are_left_out_with_their_constraints(checkpoint: Path) -> None:
    model = seq2seq.load(checkpoint, device="cpu")
    phrases = [["over"], [], ["cat"], ["the"], ["fox"]]
    whole = list(model.translate_stream(LINES, constraints=phrases, done=0))
    rest = list(model.translate_stream(LINES, constraints=phrases, done=3))
    assert rest == whole[3:] and [one.phrase for one in rest[1].constraints] == ["fox"]
    assert list(model.translate_stream(LINES, constraints=phrases, done=len(LINES))) == []
    with pytest.raises(DataError, match="more lines than the 5 of the text"):
        list(model.translate_stream(LINES, constraints=[*phrases, []], done=len(LINES)))


def test_placeholders_survive(tiny_checkpoint: Make) -> None:
    lines = ["the <b>dog</b>", "{name} and {name} and %s", "no placeholder", "mail a@b.org"]
    settings: dict[str, float] = {"max_length_ratio": 6}
    for tokenizer, writable in (("unigram", True), ("characters", False)):
        model = seq2seq.load(tiny_checkpoint(tokenizer=tokenizer, max_length=80), device="cpu")
        answers = list(model.translate_stream(lines, keep_placeholders=True, **settings))
        wanted = [{"<b>": 1, "</b>": 1}, {"{name}": 2, "%s": 1}, {}, {"a@b.org": 1}]
        assert [{one.phrase: one.count for one in answer.constraints} for answer in answers] == wanted
        for answer in answers:
            assert all(one.satisfied == writable for one in answer.constraints)
            assert all(answer.text.count(one.phrase) == one.found for one in answer.constraints)
        assert answers[2].text == model.translate([lines[2]], **settings)[0]
        if writable:
            assert answers[0].text.index("<b>") < answers[0].text.index("</b>")
            assert [model.translate([line], keep_placeholders=True, **settings)[0] for line in lines] == [
                answer.text for answer in answers
            ]


def test_what_is_given_from_python_is_repaired_as_lines_are(checkpoint: Path) -> None:
    model = seq2seq.load(checkpoint, device="cpu")
    odd, plain = (
        list(
            model.translate_stream(
                ["the dog", "a fox"],
                constraints=[[f"quick{control}fox", f"a{half}"], [f"{control}over{half}"]],
                glossary=Glossary([(f"{control}dog", f"brown{control}cat")]),
                suppress_text=[f"lazy{half}", f"lazy{control}dog"],
                max_length_ratio=9,
            )
        )
        for control, half in (("\x00", "\ud800"), (" ", "?"))
    )
    assert odd == plain
    assert [[one.phrase for one in answer.constraints] for answer in odd] == [
        ["quick fox", "a?", "brown cat"],
        ["over?"],
    ]
    assert all(one.satisfied for answer in odd for one in answer.constraints if "?" not in one.phrase)
    with pytest.raises(DecodingError, match="suppress_text holds a blank text"):
        model.translate(["a"], suppress_text=["\x00"])


def test_what_is_inside_of_a_placeholder_is_no_term(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint(tokenizer="unigram", max_length=80), device="cpu")
    glossary = Glossary([("name", "fox"), ("b", "over"), ("org", "cat"), ("__dog__ sleeps", "the __dog__")])
    lines = ["the {name} dog", "a <b>dog</b>", "b name <b>dog</b>", "mail a@b.org", "the __dog__ sleeps"]
    required = []
    for keep in (True, False):
        answers = list(model.translate_stream(lines, keep_placeholders=keep, glossary=glossary, max_length_ratio=6))
        assert all(one.satisfied for answer in answers for one in answer.constraints)
        required.append([{one.phrase: one.count for one in answer.constraints} for answer in answers])
    assert required[0] == [
        {"{name}": 1}, {"<b>": 1, "</b>": 1}, {"over": 1, "fox": 1, "<b>": 1, "</b>": 1}, {"a@b.org": 1},
        {"the __dog__": 1, "__dog__": 1},
    ]  # fmt: skip
    assert required[1] == [{"fox": 1}, {"over": 2}, {"over": 3, "fox": 1}, {"over": 1, "cat": 1}, {"the __dog__": 1}]


@pytest.mark.parametrize(
    ("line", "sentences", "wanted"),
    [
        ("the <b c='c. D'>dog</b> runs.", 1, {"<b c='c. D'>": 1, "</b>": 1}),
        ("A {x} dog. A man ({x}).", 2, {"{x}": 2}),
        ("A dog {x}. A man -{x}.", 2, {"{x}": 2}),
        ("<b>A dog</b> runs. A man-<b>walks</b>.", 2, {"<b>": 2, "</b>": 2}),
        ("A dog {x}. A {{x}}.", 2, {"{x}": 2, "{{x}}": 1}),
        ("A <b>dog. A man</b> runs.", 2, {"<b>": 1, "</b>": 1}),
    ],
)
def test_placeholders_of_several_sentences_are_those_of_the_line(
    tiny_checkpoint: Make, line: str, sentences: int, wanted: dict[str, int]
) -> None:
    model = seq2seq.load(tiny_checkpoint(tokenizer="unigram", max_length=80), device="cpu")
    (answer,) = model.translate_stream([line], keep_placeholders=True, max_length_ratio=6)
    assert max(len(answer.candidates[0].parts), 1) == sentences
    assert {one.phrase: one.count for one in answer.constraints} == wanted
    assert len(answer.constraints) == len(wanted)
    assert all(one.satisfied and answer.text.count(one.phrase) == one.count for one in answer.constraints)


def test_a_placeholder_too_long_for_the_model_is_missed(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint(tokenizer="unigram", max_length=40), device="cpu")
    tag = f"<b {'the dog jumps ' * 12}>"
    (answer,) = model.translate_stream([f"A fox {tag} and {{x}}."], keep_placeholders=True, max_length_ratio=6)
    assert Note.split in answer.notes
    assert [(one.phrase, one.satisfied) for one in answer.constraints] == [(tag, False), ("{x}", True)]


def test_mistakes_are_named(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = seq2seq.load(checkpoint, device="cpu")
    with pytest.raises(DataError, match="constraints for 1 lines, but the text has more"):
        model.translate(["a", "b"], constraints=[["a"]])
    with pytest.raises(DataError, match="more lines than the 1 of the text"):
        model.translate(["a"], constraints=[["a"], []])
    with pytest.raises(TypeError, match="one string"):
        model.translate(["a"], constraints=["a"])
    for given, shown in ((None, "None"), ([None], r"\[None\]"), (7, "7"), ([b"a"], r"\[b'a'\]")):
        with pytest.raises(TypeError, match=f"constraints of line 2 are {shown}; give a list of phrases, an empty one"):
            model.translate(["b", "c"], constraints=[["a"], given])
    with pytest.raises(DataError, match="more lines than the 1 of the text"):
        model.translate(["a"], constraints=[["a"], None])
    for given, kind in (({"dog": "Hund"}, "dict"), ([("dog", "Hund")], "list"), ([], "list"), ("terms.tsv", "str")):
        with pytest.raises(TypeError, match=f"glossary is a {kind}; give a seq2seq.data.glossary.Glossary"):
            model.translate(["a"], glossary=given)
    with pytest.raises(DecodingError, match="keep_placeholders does not go with prefixes"):
        model.translate(["a {name}"], prefixes=["{name} {name}"], keep_placeholders=True)
    with pytest.raises(DecodingError, match="suppress_text has no effect on how alternatives begin"):
        list(model.translate_stream(["a"], alternatives=2, suppress_text=["b"]))
    for settings in ({"search": "greedy"}, {"beam_size": 1}):
        with pytest.raises(DecodingError, match="keep_placeholders need search=beam with a beam_size of at least 2"):
            model.translate(["a"], constraints=[["a"]], **settings)
    (tmp_path / "in").write_text("a\n")
    (tmp_path / "terms.tsv").write_text("a b\n")
    start = ["--ckpt", str(checkpoint), "--input", str(tmp_path / "in"), *SETTINGS]
    for arguments, message in [
        (["--glossary", str(tmp_path / "terms.tsv")], "terms.tsv, line 1: 0 tabs"),
        (["--constraints", str(tmp_path / "none")], "cannot be read"),
        (["--constraints", str(tmp_path / "in"), "--search", "sample"], "need --search beam"),
        (["--constraints", str(tmp_path / "in"), "--output", str(tmp_path / "in")], "also an input"),
        (["--constraints", "-", "--input", "-"], "cannot both be stdin"),
    ]:
        assert translate([*start, *arguments]) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "in").read_text() == "a\n"

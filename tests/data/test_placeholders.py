import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.lines import rejoined
from seq2seq.data.phrases import Constraint, Kept, kept, required_phrase
from seq2seq.data.placeholder_patterns import placeholders
from seq2seq.data.placeholders import expected, placeholder_constraints, recut, respaced
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.data.words import places


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>bold</b> and <br/> <a href='x y'>z</a>", ["<b>", "</b>", "<br/>", "<a href='x y'>", "</a>"]),
        ("a < b and c > d, <3", []),
        ("{name}, {0} ${x} {{y z}} {} {a.b[0]:,d}", ["{name}", "{0}", "${x}", "{{y z}}", "{}", "{a.b[0]:,d}"]),
        ("%s %d %1$s %(user)s %05.2f %lld %@", ["%s", "%d", "%1$s", "%(user)s", "%05.2f", "%lld", "%@"]),
        ("100% sure, 5%d, 50 % e, {not a name}", []),
        ("__PH1__ __A_B__ __init and _x_", ["__PH1__", "__A_B__"]),
        ("see https://a.b/c?d={e}#f. (www.x.org), http://x", ["https://a.b/c?d={e}#f", "www.x.org", "http://x"]),
        ("http://a.b/{id}, http://a.b/%s/{x}. (http://a.b/c_(d)).", ["http://a.b/{id}", "http://a.b/%s/{x}",
                                                                     "http://a.b/c_(d)"]),
        ("http://a.b/{{id}}/([x])? http://[::1]:80/ http://a.b/(c.)", ["http://a.b/{{id}}/([x])", "http://[::1]:80/",
                                                                      "http://a.b/(c.)"]),
        ("http://a.b/c) http://a.b/(c http://a.b/{ {http://a.b}", ["http://a.b/c", "http://a.b/", "http://a.b/",
                                                                  "http://a.b"]),
        ("[x](http://a.b/c)[y](http://d.e/{{f g}})", ["http://a.b/c", "http://d.e/", "{{f g}}"]),
        ("“http://a.b/c…” http://a.b。これは http:// www.", ["http://a.b/c", "http://a.b"]),
        ("mail a.b+c@d-e.org.", ["a.b+c@d-e.org"]),
    ],
)  # fmt: skip
def test_what_is_found(text: str, expected: list[str]) -> None:
    assert placeholders(text) == expected


@pytest.mark.parametrize(
    "pattern", ["a", "a@", "0", "%0", "%(a", "<a ", "{{a", "__a_", "www.", "http://x({}", "http://a.b/([{a"]
)
def test_finding_takes_linear_time(pattern: str) -> None:
    start = time.process_time()
    for beginning in ("", "%", "http://("):
        placeholders(beginning + pattern * (500_000 // len(pattern)))
    assert time.process_time() - start < 10


def test_each_is_required_exactly_as_often_and_tags_in_order() -> None:
    def wanted(text: str) -> dict[str, tuple[int, bool, tuple[str, ...]]]:
        return {one.phrase: (one.count, one.exact, one.after) for one in placeholder_constraints(text)}

    assert wanted("<b>x</b> %s %s") == {"<b>": (1, True, ()), "</b>": (1, True, ("<b>",)), "%s": (2, True, ())}
    assert wanted("<a h=1>x</a> <a h=2>y</a><i/>")["</a>"] == (2, True, ("<a h=1>", "<a h=2>"))
    assert wanted("x</b>y<b>") == {"</b>": (1, True, ()), "<b>": (1, True, ())}
    assert wanted("<a>x</a> y</b><b> </a>") == {
        "<a>": (1, True, ()), "</a>": (2, True, ()), "</b>": (1, True, ()), "<b>": (1, True, ()),
    }  # fmt: skip
    assert wanted("{x} ${x}") == {"{x}": (2, False, ()), "${x}": (1, True, ())}
    assert wanted("no placeholder") == {}


def test_what_became_of_them() -> None:
    constraints = placeholder_constraints("<b>x</b> {n}")
    assert kept(constraints, "a{n}s <b>y</b>") == (
        Kept("<b>", 1, 1, True), Kept("</b>", 1, 1, True), Kept("{n}", 1, 1, True),
    )  # fmt: skip
    for text, satisfied in [
        ("</b> <b> {n}", [True, False, True]),
        ("<b><b>x</b>", [False, True, False]),
        ("{n} {n}", [False, False, False]),
    ]:
        assert [one.satisfied for one in kept(constraints, text)] == satisfied


def test_one_inside_of_another_does_not_stand_for_itself() -> None:
    constraints = expected("{x} and ${x}, 5%d %d")
    assert [(one.phrase, one.count) for one in constraints] == [("{x}", 2), ("${x}", 1), ("%d", 1)]
    for text, satisfied in [
        ("%d {x} ${x}", [True, True, True]),
        ("%d ${x}", [False, True, True]),
        ("%d {x} {x} ${x}", [False, True, True]),
    ]:
        assert [one.satisfied for one in kept(constraints, text)] == satisfied


def test_space_inside_tags_is_as_in_the_source() -> None:
    source = "a <b>dog</b> and <i> cat </i>."
    assert respaced(source, "ein <b> Hund </b> und <i>Katze</i> .") == "ein <b>Hund</b> und <i> Katze </i> ."
    assert respaced(source, "<b>") == "<b>"
    assert respaced("no tag", "x  < y") == "x  < y"


TEXTS = st.lists(st.sampled_from(["<b>", "</b>", "<i>", "</i>", " ", " ", "dog", "犬", ".", "\t"]), max_size=9).map(
    "".join
)


@given(source=TEXTS, outputs=st.lists(TEXTS, min_size=1, max_size=4))
def test_parts_of_a_text_whose_spaces_changed(source: str, outputs: list[str]) -> None:
    text = respaced(source, rejoined(outputs))
    parts = recut(text, outputs)
    assert [part.replace(" ", "") for part in parts] == [output.replace(" ", "") for output in outputs]
    assert all(part == part.strip(" ") for part in parts)
    ends = [0, *(start + len(part) for start, part in zip(places(text, parts), parts, strict=True))]
    between = [text[end:start] for end, start in zip(ends, [*places(text, parts), len(text)], strict=True)]
    assert not "".join(between).strip(" ")  # in order, nothing left out


def test_a_part_may_begin_within_a_word() -> None:
    assert recut("ein<b>Hund</b>", ["ein", "", "<b>", "Hund </b>"]) == ("ein", "", "<b>", "Hund</b>")
    assert recut(" a ", ["a", " "]) == ("a", "")
    assert recut("a", ()) == ()


@pytest.mark.parametrize("kind", ["unigram", "bpe", "bytes"])
def test_they_are_spelled_as_apart_from_words_as_in_the_source(
    tiny_tokenizers: dict[str, Tokenizer], kind: str
) -> None:
    tokenizer = tiny_tokenizers[kind]
    for text in ("<b>", "{name}", "https://x.org/a_b?c=%20", "a@b.org"):
        for line, before, behind in (
            (text, True, True), (f"(x {text}) {text}.", True, True), (f"x ({text})", False, True),
            (f"x{text}b", False, False),
        ):  # fmt: skip
            if not behind and text[0] != "<":
                continue  # it would be another one
            constraints = placeholder_constraints(line)
            assert [one.apart for one in constraints] == [(before, behind)]
            phrase = required_phrase(constraints[0], tokenizer)
            assert phrase is not None and phrase.exact
            for spelling in phrase.spellings:
                assert tokenizer.decode(spelling.tokens).strip() == text
                assert (spelling.boundary_before, spelling.boundary_after) == (False, behind)
                if before and kind != "bytes":
                    assert tokenizer.pieces(spelling.tokens[:1])[0].startswith("▁")
    closing = required_phrase(Constraint("</b>", verbatim=True, after=("<b>",)), tokenizer)
    assert closing is not None and closing.after


def test_what_a_tokenizer_changes_cannot_be_kept(tiny_tokenizers: dict[str, Tokenizer]) -> None:
    assert required_phrase(Constraint("{ﬁ}", verbatim=True), tiny_tokenizers["unigram"]) is None
    assert required_phrase(Constraint("{ﬁ}", verbatim=True), tiny_tokenizers["bytes"]) is not None
    assert required_phrase(Constraint("<b>", verbatim=True), tiny_tokenizers["characters"]) is None

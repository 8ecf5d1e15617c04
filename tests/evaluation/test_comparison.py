"""Two translations sentence by sentence, as text and as a page."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.evaluation.comparison import Comparison, compare, page
from seq2seq.evaluation.comparison_page import MOST_WORDS, html_page, marked
from seq2seq.evaluation.significance import Judge

REFERENCES = ["the cat sat on the mat", "a dog sleeps", "he read the book", "nothing", "it is late now"]
A = ["the cat sat on the mat", "a dog barks", "he read a book", "nothing", ""]
B = ["the cat is on a mat", "a dog sleeps", "he reads books", "nothing", "it is"]
SOURCES = ["s1", "s2", "s3", "s4", "s5"]
EVIL = '<script>alert("1")</script>&amp;<img src=x onerror=y> \' "'


def comparison(a: list[str] = A, b: list[str] = B, *, references: list[list[str]] | None = None) -> Comparison:
    texts = [REFERENCES] if references is None else references
    judge = Judge(texts, ["bleu", "chrf"])
    return compare(judge, ("first", "second"), a, b, texts, sources=SOURCES[: len(a)], samples=30)


def test_sentences_are_scored_and_counted() -> None:
    found = comparison()
    for sentence, a, b, reference in zip(found.sentences, A, B, REFERENCES, strict=True):
        assert sentence.chrf_a == sacrebleu.sentence_chrf(a, [reference]).score
        assert sentence.chrf_b == sacrebleu.sentence_chrf(b, [reference]).score
    assert found.counts == (2, 2, 1)
    assert {sentence.number for sentence in found.won} == {1, 3}
    assert {sentence.number for sentence in found.lost} == {2, 5}
    assert [s.difference for s in found.won] == sorted((s.difference for s in found.won), reverse=True)
    assert [s.difference for s in found.lost] == sorted(s.difference for s in found.lost)


def test_the_other_way_round_everything_is_negated() -> None:
    there, back = comparison(), comparison(B, A)
    assert back.counts == (there.counts[1], there.counts[0], there.counts[2])
    assert [s.number for s in back.won] == [s.number for s in there.lost]
    for test, differences in there.tests.items():
        for name, difference in differences.items():
            assert difference.difference == -back.tests[test][name].difference
            assert difference.p_value == back.tests[test][name].p_value


def test_several_references() -> None:
    other = ["the cat is on a mat", *REFERENCES[1:]]
    first = comparison(references=[REFERENCES, other]).sentences[0]
    assert first.chrf_a == first.chrf_b == pytest.approx(100)
    assert first.references == ("the cat sat on the mat", "the cat is on a mat")


def test_the_page_of_text() -> None:
    found = comparison()
    text = "\n".join(page(found, show=1))
    assert "sentences by chrF: A is better in 2, worse in 2, the same in 1" in text
    assert text.count("sentence ") == 2  # one won and one lost
    assert f"{found.won[0].difference:+.2f}  sentence {found.won[0].number}" in text
    assert "paired bootstrap" in text and "paired randomisation" in text
    assert text.count("nrefs:1|") == 2 * 2 + 2 * 2
    assert "   source     s" in text
    longer = list(page(found, show=99))
    assert sum(line.startswith("   reference") for line in longer) == 4


SAFE = set(
    "html head meta title style body h1 p b span table tr th td code thead tbody button ins del script".split()  # noqa: SIM905
)


class Reader(HTMLParser):
    """Open elements, what they hold, and what could reach out of the page."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[dict[str, str | None]] = []
        self.words: dict[str, list[str]] = {"ins": [], "del": []}
        self.text = ""
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name in ("src", "href", "style") or name.startswith("on") for name, _ in attrs)
        if tag == "tr" and attrs:
            self.rows.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.words:
            self.words[self.open[-1]].append(data)
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data


def test_the_html_page_holds_every_sentence_in_order_of_the_difference() -> None:
    found = comparison()
    text = html_page(found)
    reader = Reader(text)
    assert reader.open == []
    assert reader.tags <= SAFE
    differences = [float(str(row["data-difference"])) for row in reader.rows]
    assert differences == sorted(differences, reverse=True)
    assert sorted(int(str(row["data-number"])) for row in reader.rows) == [1, 2, 3, 4, 5]
    keys = re.findall(r'data-key="(\w+)"', text)
    assert keys == ["number", "difference", "a", "b"]
    assert all(f"data-{key}" in reader.rows[0] for key in keys)
    assert "default-src 'none'" in text and "http:" not in text and "https:" not in text
    for score in found.scores[0].values():
        assert score.signature in reader.text


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node to run JavaScript with")
def test_a_click_sorts_by_a_column_and_another_the_other_way_round() -> None:
    text = html_page(comparison())
    rows = [{key.removeprefix("data-"): value for key, value in row.items()} for row in Reader(text).rows]
    page_of_browser = f"""
        let rows = {json.dumps(rows)}.map(dataset => ({{dataset}}));
        const table = {{get rows() {{ return rows }}, append(...sorted) {{ rows = sorted }}}}, buttons = [];
        for (const key of {json.dumps(re.findall(r'data-key="(.+?)"', text))})
          buttons.push({{dataset: {{key}}, addEventListener(kind, action) {{ this[kind] = action }}}});
        const document = {{querySelector: () => table, querySelectorAll: () => buttons}};
        {text.split("<script>")[1].split("</script>")[0]}
        for (const button of buttons) for (const _ of [1, 2]) {{
          button.click();
          console.log(button.dataset.key, rows.map(row => row.dataset[button.dataset.key]).join(" "));
        }}"""
    printed = subprocess.run(["node", "-e", page_of_browser], capture_output=True, check=True, text=True).stdout
    orders = [line.split() for line in printed.splitlines()]
    assert [order[0] for order in orders] == ["number", "number", "difference", "difference", "a", "a", "b", "b"]
    for place, (_, *values) in enumerate(orders):
        numbers = [float(value) for value in values]
        assert len(numbers) == len(A) and numbers == sorted(numbers, reverse=place % 2 == 0)


def test_everything_on_the_html_page_is_escaped() -> None:
    judge = Judge([[EVIL, "a"]], ["chrf"])
    found = compare(
        judge, (EVIL, "b"), [EVIL + " x", EVIL], [EVIL, "a"], [[EVIL, "a"]], sources=[EVIL, EVIL], samples=9
    )
    text = html_page(found)
    reader = Reader(text)
    assert reader.text.count(EVIL.split()[0]) >= 6  # it is there, as text
    assert text.count("<script>") == text.count("</script>") == 1
    assert "<img" not in text


def test_words_are_marked_by_what_the_other_and_the_reference_have() -> None:
    reader = Reader(marked("the black cat sat here", "the cat sat there", ["the cat sat here"]))
    assert reader.words == {"ins": ["here"], "del": ["black"]}
    assert marked("a < b", "a < b", ["c"]) == "a &lt; b"
    assert marked("", "a", ["b"]) == ""
    long = "w " * (MOST_WORDS + 1)
    assert marked(long, "", [""]) == long


TEXT = st.text(st.sampled_from(list("ab <>&\"'\t\u2028é🐕")), max_size=20)


@given(text=TEXT, other=TEXT, reference=TEXT)
def test_marks_leave_the_words_alone(text: str, other: str, reference: str) -> None:
    reader = Reader(marked(text, other, [reference]))
    assert reader.text.split() == text.split()
    assert reader.tags <= {"ins", "del"} and reader.open == []

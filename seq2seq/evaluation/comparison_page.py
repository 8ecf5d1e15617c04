"""A comparison of two translations as one HTML file that needs nothing else: no network, no framework.

Everything that comes from a text is escaped, and the file forbids itself to load anything. Without JavaScript the
sentences stand in order of the difference; with it a click on a column sorts by that.
"""

import difflib
import html
from collections.abc import Iterator, Sequence

from seq2seq.evaluation.comparison import Comparison, Sentence

MOST_WORDS = 400
"""Sentences with more words are shown without marks: matching takes time in the square of their number."""

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5em auto; max-width: 75em; padding: 0 1em;
  color: #222; background: #fff }
table { border-collapse: collapse; margin: .7em 0 }
th, td { border: 1px solid #ccc; padding: .25em .6em; text-align: left; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
code { font-size: 85%; overflow-wrap: anywhere }
#sentences { width: 100% }
#sentences th button { font: inherit; background: none; border: 0; cursor: pointer; padding: 0;
  text-decoration: underline }
p { margin: .1em 0; overflow-wrap: anywhere }
p b { display: inline-block; min-width: 5.5em; font-weight: normal; color: #666 }
ins { background: #c9f0cd; text-decoration: none } del { background: #ffd3cf; text-decoration: none }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 } th, td { border-color: #444 } p b { color: #999 }
  ins { background: #1f5a2a } del { background: #6e2a25 } #sentences th button { color: inherit }
}
"""

_SCRIPT = """
const body = document.querySelector("#sentences tbody");
for (const button of document.querySelectorAll("#sentences th button")) {
  let sign = -1;
  button.addEventListener("click", () => {
    const key = button.dataset.key, value = row => parseFloat(row.dataset[key]);
    const rows = [...body.rows].sort((x, y) => sign * (value(x) - value(y)));
    sign = -sign;
    body.append(...rows);
  });
}
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def html_page(comparison: Comparison) -> str:
    """The whole file."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(comparison: Comparison) -> Iterator[str]:
    a, b = (html.escape(name) for name in comparison.names)
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>{a} and {b}</title>\n<style>{_STYLE}</style>\n</head>\n<body>"
    yield f"<h1>Two translations</h1>\n<p>A: {a}</p>\n<p>B: {b}</p>"
    yield from _scores(comparison)
    yield from _tests(comparison)
    won, lost, tied = comparison.counts
    yield f"<p>Sentences by chrF: A is better in {won:,}, worse in {lost:,}, the same in {tied:,}.</p>"
    yield (
        "<p>Words in which A and B differ are marked: <ins>as in the reference</ins>, <del>not as in the reference"
        "</del>.</p>"
    )
    yield from _sentences([*comparison.won, *_tied(comparison), *reversed(comparison.lost)])
    yield f"<script>{_SCRIPT}</script>\n</body>\n</html>"


def _tied(comparison: Comparison) -> list[Sentence]:
    decided = {sentence.number for sentence in (*comparison.won, *comparison.lost)}
    return [sentence for sentence in comparison.sentences if sentence.number not in decided]


def _scores(comparison: Comparison) -> Iterator[str]:
    yield "<table><tr><th>metric</th><th>A</th><th>B</th><th>signature</th></tr>"
    ours, theirs = comparison.scores
    for name, score in ours.items():
        cells = "".join(
            f'<td class="n">{one.value:.{one.digits}f} ± {one.confidence:.{one.digits}f}</td>'
            for one in (score, theirs[name])
        )
        yield f"<tr><td>{score.name}</td>{cells}<td><code>{html.escape(score.signature)}</code></td></tr>"
    yield "</table>\n<p>± half of the 95 % interval, by bootstrap resampling of sentences.</p>"


def _tests(comparison: Comparison) -> Iterator[str]:
    yield "<table><tr><th>A less B</th><th>metric</th><th>difference</th><th>p</th><th>signature</th></tr>"
    for test, differences in comparison.tests.items():
        for name, difference in differences.items():
            score = comparison.scores[0][name]
            yield (
                f"<tr><td>paired {test.value}</td><td>{score.name}</td>"
                f'<td class="n">{difference.difference:+.{score.digits}f} ({difference.verdict})</td>'
                f'<td class="n">{difference.p_value:.4f}</td>'
                f"<td><code>{html.escape(difference.signature)}</code></td></tr>"
            )
    yield "</table>"


def _sentences(sentences: Sequence[Sentence]) -> Iterator[str]:
    columns = (("number", "sentence"), ("difference", "A less B"), ("a", "chrF of A"), ("b", "chrF of B"))
    heads = "".join(f'<th><button data-key="{key}">{title}</button></th>' for key, title in columns)
    yield f'<table id="sentences"><thead><tr>{heads}<th>text</th></tr></thead><tbody>'
    for sentence in sentences:
        yield (
            f'<tr data-number="{sentence.number}" data-difference="{sentence.difference:.6f}" '
            f'data-a="{sentence.chrf_a:.6f}" data-b="{sentence.chrf_b:.6f}">'
            f'<td class="n">{sentence.number}</td><td class="n">{sentence.difference:+.2f}</td>'
            f'<td class="n">{sentence.chrf_a:.2f}</td><td class="n">{sentence.chrf_b:.2f}</td>'
            f"<td>{''.join(_texts(sentence))}</td></tr>"
        )
    yield "</tbody></table>"


def _texts(sentence: Sentence) -> Iterator[str]:
    if sentence.source is not None:
        yield _text("source", html.escape(sentence.source))
    for reference in sentence.references:
        yield _text("reference", html.escape(reference))
    yield _text("A", marked(sentence.a, sentence.b, sentence.references))
    yield _text("B", marked(sentence.b, sentence.a, sentence.references))


def _text(label: str, markup: str) -> str:
    return f'<p><b>{label}</b><span dir="auto">{markup}</span></p>'


def marked(text: str, other: str, references: Sequence[str]) -> str:
    """Escaped words of a text; those that the other text has not in their place stand in ins or del.

    Args:
        text: what is shown.
        other: what it is compared with.
        references: ins if one of them has the word in its place too, else del.
    """
    words, others = text.split(), other.split()
    if max(len(words), len(others), *(len(reference.split()) for reference in references)) > MOST_WORDS:
        return html.escape(text)
    same = _in_place(words, others)
    right: set[int] = set()
    for reference in references:
        right |= _in_place(words, reference.split())
    shown = []
    for index, word in enumerate(words):
        escaped = html.escape(word)
        tag = "ins" if index in right else "del"
        shown.append(escaped if index in same else f"<{tag}>{escaped}</{tag}>")
    return " ".join(shown)


def _in_place(words: list[str], others: list[str]) -> set[int]:
    """Numbers of the words that are matched when the two are aligned."""
    blocks = difflib.SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    return {index for block in blocks for index in range(block.a, block.a + block.size)}

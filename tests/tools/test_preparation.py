"""The measurement of preparation measures, and what it measures stays small however long the text is."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from make_corpus import make, spliced
from preparation import Watch

ROOT = Path(__file__).resolve().parents[2]
PAIRS = [("a b c", "x y"), ("d e", "u v w"), ("f", "z")]


def test_spliced_pairs_begin_with_the_text_and_are_the_same_each_time() -> None:
    made = list(spliced(PAIRS, 50))
    assert made[:3] == PAIRS
    assert len(made) == 50 and made == list(spliced(PAIRS, 50))
    assert len(set(made)) > 10
    words = [{word for pair in PAIRS for word in pair[side].split()} for side in (0, 1)]
    assert all(set(pair[side].split()) <= words[side] for pair in made for side in (0, 1))
    assert list(spliced(PAIRS, 2)) == PAIRS[:2]


def test_a_corpus_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    for side, language in enumerate(("aa", "bb")):
        (tmp_path / f"text.{language}").write_text("".join(pair[side] + "\n" for pair in PAIRS))
    texts = [str(tmp_path / "text")]
    make(tmp_path / "made", pairs=9, languages=("aa", "bb"), texts=texts)
    assert len((tmp_path / "made.bb").read_text().splitlines()) == 9
    make(tmp_path / "made", pairs=9, languages=("aa", "bb"), texts=["nothing"])
    make(tmp_path / "made", pairs=8, languages=("aa", "bb"), texts=texts)
    assert len((tmp_path / "made.aa").read_text().splitlines()) == 8


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_the_benchmark_runs(tmp_path: Path) -> None:
    made = random.Random(1)
    words = ["".join(made.choices("abcdefgh", k=made.randint(2, 6))) for _ in range(200)]
    for language in ("aa", "bb"):
        lines = [" ".join(made.choices(words, k=made.randint(3, 12))) for _ in range(500)]
        (tmp_path / f"text.{language}").write_text("\n".join(lines) + "\n")
    command = [
        sys.executable, ROOT / "tools/benchmarks/preparation.py", "--pairs", "2000", "--workers", "1", "--batch-tokens",
        "500", "--vocab-size", "320", "--folder", tmp_path / "work", "--languages", "aa", "bb",
        "--texts", tmp_path / "text",
    ]  # fmt: skip
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert figures["pairs"] == 2000 >= figures["kept"] > 1500
    assert 0 < figures["peak_anonymous"] <= figures["peak"] < 2048
    assert figures["cache"] > 0 and figures["from_cache"]["batches"] > 10
    assert not (tmp_path / "work" / "cache").exists()


ENCODE = """
import sys, itertools
from pathlib import Path
from seq2seq.config import Documents, Task
from seq2seq.data.token_cache import token_dataset, token_stream
from seq2seq.data.tokenizer import ByteTokenizer, Tokenizers

class Text:
    name = "text"
    def __init__(self, pairs):
        self.pairs, self.fingerprint = pairs, str(pairs)
    def __iter__(self):
        return (("some text to encode " * 3, f"some more of it {index:08} " * 3) for index in range(self.pairs))
    def fraction(self):
        return None

folder, pairs, task = Path(sys.argv[1]), int(sys.argv[2]), Task(sys.argv[3])
both = Tokenizers(ByteTokenizer(), ByteTokenizer())
if task is Task.translation:
    token_dataset(Text(pairs), both, task=task, folder=folder, workers=2)
else:
    token_stream([Text(pairs)], both, documents=Documents.line, folder=folder, workers=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("task", ["translation", "language_modelling"])
def test_memory_of_all_processes_does_not_grow_with_the_text(task: str, tmp_path: Path) -> None:
    def peaks() -> Iterator[float]:
        for pairs in (300_000, 900_000):
            process = subprocess.Popen([sys.executable, "-c", ENCODE, str(tmp_path), str(pairs), task], cwd=ROOT)
            with Watch(process.pid) as watch:
                assert process.wait() == 0
            yield watch.peak["RssAnon"]

    few, many = peaks()
    # MiB. The ids of 600,000 more pairs are 80 to 170, their text twice that; what may grow is 8 bytes a pair.
    assert many - few < 40
    assert many < 1024

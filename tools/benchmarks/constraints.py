"""What required phrases cost, and how many get in: translation with and without them, in turns.

    python tools/benchmarks/constraints.py --ckpt FOLDER [--data FOLDER] [--phrases 3] [--lines 1000] [--rounds 5]

The model translates the English lines of Multi30k's test_2016_flickr into German (--source and --target name other
languages) with a beam of 5: as they are, and with phrases of one or two words required that are drawn from the
reference, so that some are what the model would have said and some are not. Times are from text to text through the
Python API, in turns A B A B, after one round that does not count.

The last line of stdout is one JSON object: `plain` and `constrained` with the medians over the rounds of `seconds` and
`cpu_seconds` (the figure to compare where others use the machine), `satisfied` (the share of the phrases that the
output has; of `plain` by chance), BLEU, and how long the output is beside the reference; `ratio`, how many times as
long the constrained takes, the median of the rounds' ratios, and its spread.
"""

import argparse
import json
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]
from sacrebleu import corpus_bleu  # noqa: E402

import seq2seq  # noqa: E402
from seq2seq.cli.streams import Inputs  # noqa: E402
from seq2seq.configure import fail  # noqa: E402
from seq2seq.data.phrases import kept, of_phrases  # noqa: E402
from seq2seq.device import set_threads  # noqa: E402
from seq2seq.errors import Seq2SeqError  # noqa: E402
from speed.machine import DATA, commit, cpu_name, data_problem  # noqa: E402

PROGRAM = "python tools/benchmarks/constraints.py"
TEST = "test_2016_flickr"


def text_lines(data: Path, language: str) -> list[str]:
    """One side of the test set."""
    path = data / f"{TEST}.{language}"
    name = path if path.is_file() else path.with_name(f"{path.name}.gz")
    return [line.text for line in Inputs([str(name)]).lines() if line is not None]


def joined(lines: Sequence[str], count: int) -> list[str]:
    """Lines of so many; what is left over is left out."""
    return [" ".join(lines[start : start + count]) for start in range(0, len(lines) // count * count, count)]


def drawn_phrases(reference: str, count: int, chance: random.Random) -> list[str]:
    """Phrases of one or two words from a reference, without punctuation at their ends and without overlap."""
    words = reference.split()
    order = chance.sample(range(len(words)), len(words))
    taken: set[int] = set()
    phrases: list[str] = []
    for start in order:
        places = range(start, min(start + chance.choice([1, 1, 2]), len(words)))
        phrase = re.sub(r"^\W+|\W+$", "", " ".join(words[place] for place in places))
        if phrase and taken.isdisjoint(places) and len(phrases) < count:
            taken.update(places)
            phrases.append(phrase)
    return phrases


def figures(
    name: str,
    texts: Sequence[str],
    references: Sequence[str],
    phrases: Sequence[Sequence[str]],
    normalise: Callable[[str], str],
) -> dict[str, Any]:
    """How good one output is."""
    report = [
        one
        for text, own in zip(texts, phrases, strict=True)
        for one in kept(of_phrases(own, normalise), text, normalise)
    ]
    return {
        "name": name,
        "satisfied": sum(one.satisfied for one in report) / max(len(report), 1),
        "bleu": corpus_bleu(list(texts), [list(references)]).score,
        "length": sum(len(text.split()) for text in texts) / sum(len(line.split()) for line in references),
    }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", required=True, metavar="FOLDER")
    parser.add_argument("--data", default=DATA / "multi30k", type=Path, metavar="FOLDER")
    parser.add_argument("--source", default="en", metavar="LANGUAGE")
    parser.add_argument("--target", default="de", metavar="LANGUAGE")
    parser.add_argument("--lines", default=1000, type=int, metavar="N")
    parser.add_argument("--sentences", default=1, type=int, metavar="N", help="lines of the test set to a line")
    parser.add_argument("--phrases", default=3, type=int, metavar="N", help="required of each line")
    parser.add_argument("--rounds", default=5, type=int, metavar="N")
    parser.add_argument("--beam", default=5, type=int, metavar="N")
    parser.add_argument("--seed", default=1, type=int, metavar="N", help="of drawing phrases")
    parser.add_argument("--threads", default=1, type=int, metavar="N")
    arguments = parser.parse_args()
    if problem := data_problem(arguments.data, [TEST]):
        return fail(PROGRAM, problem)
    set_threads(arguments.threads)
    try:
        model = seq2seq.load(arguments.ckpt, device="cpu")
    except Seq2SeqError as error:
        return fail(PROGRAM, error)
    sources, references = (
        joined(text_lines(arguments.data, language), arguments.sentences)[: arguments.lines]
        for language in (arguments.source, arguments.target)
    )
    chance = random.Random(arguments.seed)
    phrases = [drawn_phrases(line, arguments.phrases, chance) for line in references]
    outputs: dict[str, list[str]] = {}
    times: dict[str, list[tuple[float, float]]] = {"plain": [], "constrained": []}
    for turn in range(arguments.rounds + 1):
        for name, own in (("plain", None), ("constrained", phrases)):
            start = time.monotonic(), time.process_time()
            outputs[name] = model.translate(sources, beam_size=arguments.beam, constraints=own)
            taken = time.monotonic() - start[0], time.process_time() - start[1]
            print(f"round {turn} {name}: {taken[0]:.2f} s, {taken[1]:.2f} s of the CPU", file=sys.stderr)
            if turn:
                times[name].append(taken)
    result: dict[str, Any] = {
        "lines": len(sources), "sentences": arguments.sentences, "phrases": sum(map(len, phrases)),
        "beam": arguments.beam, "commit": commit(), "cpu": cpu_name(), "threads": arguments.threads,
    }  # fmt: skip
    for name, texts in outputs.items():
        seconds, cpu_seconds = (statistics.median(values) for values in zip(*times[name], strict=True))
        result[name] = {
            **figures(name, texts, references, phrases, model.tokenizers.target.normalise),
            "seconds": seconds, "cpu_seconds": cpu_seconds,
        }  # fmt: skip
    for place, kind in ((0, "ratio"), (1, "cpu_ratio")):
        rounds = [b[place] / a[place] for a, b in zip(times["plain"], times["constrained"], strict=True)]
        result[kind] = {"median": statistics.median(rounds), "least": min(rounds), "most": max(rounds)}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

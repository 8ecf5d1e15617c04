"""How fast do we decode, beside other packages, with the same weights?

    python tools/benchmarks/decoding.py --shape small|base [--peers engine,hf,ctranslate2,joeynmt] [--beam 5]
        [--pairs 5] [--ckpt FOLDER | --forced-length 32] [--data FOLDER]

Every contestant holds the same weights of the plain Transformer and translates the 1,000 English lines of Multi30k's
test_2016_flickr: greedily and with a beam as one text, and sentence by sentence with that beam. Ours and CTranslate2
take the text whole and share it out among the threads; the others are given batches of 64 sentences of like length.
Each is a process of its own that stands still while another has its turn; A B C D A B C D, so that a busy moment of the
machine strikes all. Ours is the Python API, from text to text, and so has tokenizing and the second look at narrow
decisions in its time; the others are given ids and give ids. First build the peers' environments:
tools/benchmarks/peers.py. Ours and `ctranslate2` are measured twice, in float32 and, as `ours_int8` and
`ctranslate2_int8`, in int8. The peer `engine` is CTranslate2 by our own command (`--engine ctranslate2`), twice too.

--ckpt is a trained run of the shape. One of `small`, in 12 minutes:

    python -m seq2seq.train +recipe=multi30k data.dir=DATA run_dir=runs/plain_small model.norm_placement=post
        model.positions=sinusoidal model.feed_forward=relu model.feed_forward_dim=1024 tokenizer.vocab_size=8000
        training.minutes=12

Without it weights are random, whose output never ends, and --forced-length gives every output that many tokens.

All searches write the same tokens or none: no padding, start or unknown token, no least length, at most twice the
source tokens plus 10 (of the longest line of a batch, where a package has one limit for a batch), and a score of
log-probability / length ** --length-penalty, the end token counted. A sentence is done when as many hypotheses have
ended as the beam is wide; with --patience 0 when no live one can win any more. Where a peer's search is another one by
design, `search_difference` says how; with --length-penalty 0 --patience 0 every peer in float32 writes our text.

The last line of stdout is one JSON object. Of each contestant it has medians over the rounds, and their spread:
  greedy, beam  sentences and output tokens (end tokens counted) a second, in batches
  single        milliseconds for a sentence by itself: median and 95th percentile of 50 sentences a round; CTranslate2
                has as many threads for that, and MKL in it, as are fastest in a trial: `single_threads`
  same_text     share of the lines with exactly our text, greedy and beam; the first that differ go to stderr
  bleu          of the text, greedy and beam, where the folder of the data has the German lines too
`ratios` has for each peer how many times as fast ours is: the median of the rounds' ratios, and their spread.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sacrebleu import corpus_bleu

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]
from seq2seq.checkpoint import versions  # noqa: E402
from seq2seq.data.lines import one_line  # noqa: E402
from seq2seq.data.tokenizer import Tokenizers  # noqa: E402
from seq2seq.errors import ConfigError  # noqa: E402
from speed.command_line import check_common, common_parser, exit_code  # noqa: E402  (works from a mere checkout)
from speed.contestant import OURS, Contestant  # noqa: E402
from speed.decoding import Decoded, DecodingJob, Order  # noqa: E402
from speed.decoding_summary import latency_figures, ratios, same_share, throughput_figures  # noqa: E402
from speed.decoding_workload import TEST, export, plain_overrides, text_lines, untrained  # noqa: E402
from speed.environments import PeerError, python_of, say  # noqa: E402
from speed.machine import commit, cpu_name, data_problem  # noqa: E402
from speed.shapes import SHAPES  # noqa: E402

PROGRAM = "python tools/benchmarks/decoding.py"
OURS_INT8 = "ours_int8"
PEERS: dict[str, tuple[str, ...]] = {
    "engine": ("ours_ctranslate2", "ours_ctranslate2_int8"),
    "hf": ("hf",),
    "ctranslate2": ("ctranslate2", "ctranslate2_int8"),
    "joeynmt": ("joeynmt",),
}
"""The contestants of each environment."""
PROGRAMS = {
    OURS: "decoding.ours",
    OURS_INT8: "decoding.ours",
    "ours_ctranslate2": "decoding.engine",
    "ours_ctranslate2_int8": "decoding.engine",
    "hf": "decoding.huggingface",
    "ctranslate2": "decoding.ctranslate2",
    "ctranslate2_int8": "decoding.ctranslate2",
    "joeynmt": "decoding.joeynmt",
}
"""The program of each contestant, in speed/contestants."""
COMPUTE_TYPES = {OURS_INT8: "int8", "ours_ctranslate2_int8": "int8", "ctranslate2_int8": "int8"}
"""Number formats other than float32."""
SINGLES = 50
"""Sentences of a round that are decoded by themselves."""
SHOWN = 3
"""Differing lines that are shown of each peer and search."""
Turns = dict[str, list[Decoded]]
"""What a contestant did in each round, by kind: greedy, beam, single."""


def measure(options: argparse.Namespace, job: DecodingJob, tokenizers: Tokenizers) -> dict[str, Any]:
    """All rounds of all contestants that can be started.

    Raises:
        PeerError: ours failed.
    """
    sources = job.sources()
    every = like_length(sources, options.batch_size)
    texts: dict[str, dict[str, list[str]]] = {}
    turns: dict[str, Turns] = {}
    unavailable: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        running: dict[str, Contestant] = {}

        def leave_out(name: str, error: PeerError) -> None:
            if name == OURS:
                raise error
            say(str(error))
            unavailable[name] = str(error)
            running.pop(name, None)
            turns.pop(name, None)

        for name, python in contestants(options, leave_out).items():
            own = replace(job, compute_type=COMPUTE_TYPES.get(name, "float32"))
            try:
                running[name] = Contestant(name, python, own, timeout=options.timeout, programs=PROGRAMS)
                stack.enter_context(running[name])
                texts[name] = {}
                for kind, beam_size in (("greedy", 1), ("beam", options.beam)):  # this warms up, too
                    done = decoded(running[name], Order(beam_size, every, outputs=True))
                    texts[name][kind] = in_order(every, done.outputs, tokenizers)
                decoded(running[name], Order(options.beam, singles(len(sources), 0)))
                say(f"{name}: {running[name].about['version']}, ready")
            except PeerError as error:
                leave_out(name, error)
                continue
            turns[name] = {"greedy": [], "beam": [], "single": []}
        for number in range(options.pairs):
            orders = {
                "greedy": Order(1, every),
                "beam": Order(options.beam, every),
                "single": Order(options.beam, singles(len(sources), number)),
            }
            for kind, order in orders.items():
                for name, contestant in list(running.items()):
                    try:
                        turns[name][kind].append(decoded(contestant, order))
                    except PeerError as error:
                        leave_out(name, error)
            rates = "  ".join(
                f"{name} {len(sources) / sum(done['greedy'][-1].seconds):.1f} / "
                f"{len(sources) / sum(done['beam'][-1].seconds):.1f}"
                for name, done in turns.items()
            )
            say(f"round {number + 1}: {rates} sentences/s, greedy / beam {options.beam}")
        about = {name: contestant.about for name, contestant in running.items()}
    for name in turns:
        if name != OURS:
            show_differences(name, texts[OURS], texts[name])
    return result(turns, texts, about, unavailable, len(sources), getattr(options, "references", []))


def contestants(options: argparse.Namespace, leave_out: Any) -> dict[str, Path]:
    """The interpreter of each contestant whose environment is there; ours first."""
    pythons = {OURS: Path(sys.executable), OURS_INT8: Path(sys.executable)}
    for peer in options.peers:
        for name in PEERS[peer]:
            try:
                own = name.startswith(OURS)
                pythons[name] = Path(sys.executable) if own else python_of(peer, options.peers_dir)
            except PeerError as error:
                leave_out(name, error)
    return pythons


def decoded(contestant: Contestant, order: Order) -> Decoded:
    """What a contestant makes of an order.

    Raises:
        PeerError: it failed, or did not answer in time.
    """
    return Decoded(**contestant.ask(asdict(order)))


def like_length(sources: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Numbers of all lines in batches of this many sentences, the longest first."""
    order = sorted(range(len(sources)), key=lambda line: -len(sources[line]))
    return [order[start : start + size] for start in range(0, len(order), size)]


def singles(count: int, number: int) -> list[list[int]]:
    """SINGLES lines from all over the text, others in each round."""
    step = max(1, count // SINGLES)
    return [[line] for line in range(number % step, count, step)][:SINGLES]


def in_order(batches: list[list[int]], outputs: list[Any], tokenizers: Tokenizers) -> list[str]:
    """Outputs as text, in the order of the lines."""
    lines = [line for batch in batches for line in batch]
    texts = [""] * len(lines)
    for line, output in zip(lines, outputs, strict=True):
        texts[line] = output if isinstance(output, str) else one_line(tokenizers.target.decode(output))
    return texts


def show_differences(name: str, ours: dict[str, list[str]], theirs: dict[str, list[str]]) -> None:
    """The first lines that a peer translates otherwise, for people."""
    for kind, texts in theirs.items():
        differing = [line for line, text in enumerate(texts) if text != ours[kind][line]]
        for line in differing[:SHOWN]:
            say(f"{name}, {kind}, line {line + 1}:\n  {OURS:>17}  {ours[kind][line]}\n  {name:>17}  {texts[line]}")


def result(
    turns: dict[str, Turns],
    texts: dict[str, dict[str, list[str]]],
    about: dict[str, Any],
    unavailable: dict[str, str],
    sentences: int,
    references: list[str],
) -> dict[str, Any]:
    """The figures of all contestants."""

    def figures(name: str) -> dict[str, Any]:
        done = turns[name]
        return {
            **about[name],
            "greedy": throughput_figures(done["greedy"], sentences),
            "beam": throughput_figures(done["beam"], sentences),
            "single": latency_figures(done["single"]),
            "bleu": {
                kind: round(corpus_bleu(text, [references]).score, 2)
                for kind, text in texts[name].items()
                if len(references) == sentences
            },
            "peak_mib": round(max(turn.peak_mib for kind in done.values() for turn in kind), 1),
        }

    peers: dict[str, Any] = {name: {"unavailable": reason} for name, reason in unavailable.items()}
    for name in turns:
        if name != OURS:
            same = {kind: same_share(texts[OURS][kind], texts[name][kind]) for kind in ("greedy", "beam")}
            peers[name] = {**figures(name), "same_text": same}
    compared = {name: ratios(turns[OURS], done, sentences) for name, done in turns.items() if name != OURS}
    return {"ours": figures(OURS), "peers": peers, "ratios": compared}


def parsed() -> argparse.Namespace:
    """The command line.

    Raises:
        ConfigError: an impossible value.
    """
    parser = common_parser(__doc__, PEERS, timeout=3600)
    parser.add_argument("--beam", type=int, default=5, help="beam size, at least 2")
    parser.add_argument("--ckpt", type=Path, help="a trained run of the shape")
    parser.add_argument("--forced-length", type=int, default=0, help="tokens of every output")
    parser.add_argument("--length-penalty", type=float, default=1.0, help="alpha; 0 ranks by log-probability alone")
    parser.add_argument("--patience", type=int, choices=(0, 1), default=1, help="0: until no live hypothesis can win")
    parser.add_argument("--lines", type=int, default=1000, help=f"how many of {TEST}, its first ones")
    parser.add_argument("--batch-size", type=int, default=64, help="sentences of a batch")
    options = parser.parse_args()
    least = {"beam": 2, "lines": 1, "batch_size": 1, "forced_length": 0, "length_penalty": 0}
    check_common(options, PEERS, least=least)
    if options.ckpt is None and not options.forced_length:
        raise ConfigError("without --ckpt weights are random, whose output never ends; give --forced-length 32, say.")
    if problem := data_problem(options.data, (*(("train", "val") if options.ckpt is None else ()), TEST)):
        raise ConfigError(problem)
    return options


def report() -> None:
    """Measure what the command line says, and print it.

    Raises:
        Seq2SeqError: a value is impossible, or the checkpoint or the text does not do.
        PeerError: ours failed.
    """
    options = parsed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = options.ckpt
        if checkpoint is None:
            checkpoint = folder / "untrained"
            untrained(plain_overrides(options.shape, options.data.resolve()), checkpoint, PROGRAM)
        tokenizers = export(checkpoint, folder, text_lines(options.data, options.lines), SHAPES[options.shape])
        job = DecodingJob(
            folder,
            options.threads,
            length_penalty=options.length_penalty,
            forced_length=options.forced_length,
            patience=options.patience,
            batch_size=options.batch_size,
        )
        options.references = text_lines(options.data, options.lines, side="de")
        outcome = measure(options, job, tokenizers)
    names = ("shape", "beam", "pairs", "batch_size", "threads", "lines", "length_penalty", "forced_length", "patience")
    conditions = {name: getattr(options, name) for name in names}
    machine = {"cpu": cpu_name(), "commit": commit(), "versions": versions(), "trained": options.ckpt is not None}
    print(json.dumps({**conditions, **machine, **outcome}))


def main() -> int:
    """Measure, and say how it went."""
    return exit_code(PROGRAM, report)


if __name__ == "__main__":
    sys.exit(main())

"""How fast do we train, beside other packages and beside the machine's own matrix products?

    python tools/benchmarks/training.py --shape small|base [--peers hf,torch,joeynmt,eole] [--pairs 5] [key=value ...]

Every contestant trains the plain Transformer of the same size on Multi30k English-German, with the same vocabulary, in
a process of its own that stands still while another has its turn; A B C D A B C D, so that a busy moment of the machine
strikes all. Ours is the real training command. First build the peers' environments: tools/benchmarks/peers.py.

The last line of stdout is one JSON object. Of each contestant it has medians over the rounds:
  tokens_per_second     target tokens a second; padding is not counted, end tokens are
  padding_share         of source and target positions together
  peak_mib              most resident memory of the process
  gemm_fraction         multiply-adds of the model's products for real tokens, forward and backward, over what the
                        machine does when it does nothing but products of these sizes, in the same round
  padded_gemm_fraction  the same as if padding were text
Of ours to each peer, and to the fastest of them as `ratio`: the median of the rounds' ratios, and their spread.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]
from seq2seq.checkpoint import versions  # noqa: E402
from seq2seq.configure import run_config  # noqa: E402
from seq2seq.errors import ConfigError  # noqa: E402
from speed import ours  # noqa: E402  (works from a checkout that is not installed)
from speed.channel import Job  # noqa: E402
from speed.command_line import check_common, common_parser, exit_code  # noqa: E402
from speed.contestant import Contestant  # noqa: E402
from speed.environments import ENVIRONMENTS, PeerError, python_of, say  # noqa: E402
from speed.machine import commit, cpu_name, data_problem  # noqa: E402
from speed.shapes import SHAPES  # noqa: E402
from speed.summary import contestant_figures, fastest, ratio_figures, tokens_per_second  # noqa: E402
from speed.turns import Work  # noqa: E402
from speed.workload import export  # noqa: E402

PROGRAM = "python tools/benchmarks/training.py"
PEERS = ("hf", "torch", "joeynmt", "eole")
STEPS = {"small": 8, "base": 3}
"""Steps of a turn: ten seconds or so on two cores."""
GEMM_REPEATS = 3


def measure(options: argparse.Namespace, job: Job) -> dict[str, Any]:
    """All rounds of all contestants that can be started.

    Raises:
        PeerError: ours, or the products alone, failed.
    """
    turns: dict[str, list[Work]] = {}
    unavailable: dict[str, str] = {}
    gemm: list[float] = []
    with contextlib.ExitStack() as stack:
        running: dict[str, Contestant] = {}
        for name in ("ours", *options.peers):
            try:
                python = python_of(name, options.peers_dir) if name in ENVIRONMENTS else Path(sys.executable)
                running[name] = stack.enter_context(Contestant(name, python, job, timeout=options.timeout))
                warmup = running[name].turn(options.warmup)
                say(f"{name}: {running[name].about['version']}, ready")
            except PeerError as error:
                _leave_out(name, error, running, unavailable)
                continue
            turns[name] = []
            if name == "ours":
                job = _with_rows(job, warmup)
                products = stack.enter_context(Contestant("gemm", Path(sys.executable), job, timeout=options.timeout))
                products.turn(1)
        for number in range(options.pairs):
            gemm.append(products.turn(GEMM_REPEATS).multiply_adds)
            for name in list(running):
                try:
                    turns[name].append(running[name].turn(options.steps))
                except PeerError as error:
                    _leave_out(name, error, running, unavailable)
                    del turns[name]
            rates = "  ".join(f"{name} {tokens_per_second(done)[-1]:,.0f}" for name, done in turns.items())
            say(f"round {number + 1}: {rates} tokens/s; products alone {gemm[-1] / 1e9:,.0f} G multiply-adds/s")
        about = {name: contestant.about for name, contestant in running.items()}
    return _result(turns, gemm, about, unavailable)


def _leave_out(name: str, error: PeerError, running: dict[str, Contestant], unavailable: dict[str, str]) -> None:
    """Go on without a peer that failed; not without ours."""
    if name == "ours":
        raise error
    say(str(error))
    unavailable[name] = str(error)
    running.pop(name, None)


def _with_rows(job: Job, warmup: Work) -> Job:
    """The job with the rows of the products of an average batch of ours."""
    rows = ours.typical_rows(warmup, batches=warmup.steps)
    return Job(job.shape, job.batch_tokens, job.threads, job.folder, job.overrides, tuple(rows.items()))


def _result(
    turns: dict[str, list[Work]], gemm: list[float], about: dict[str, Any], unavailable: dict[str, str]
) -> dict[str, Any]:
    def figures(name: str) -> dict[str, Any]:
        return {**about[name], **contestant_figures(turns[name], gemm)}

    peers: dict[str, Any] = {name: {"unavailable": reason} for name, reason in unavailable.items()}
    others = {name: done for name, done in turns.items() if name != "ours"}
    for name, done in others.items():
        peers[name] = {**figures(name), "ratio": ratio_figures(turns["ours"], done)}
    best = fastest(others)
    return {
        "gemm_gmacs": [round(speed / 1e9, 2) for speed in gemm],
        "ours": figures("ours"),
        "peers": peers,
        "ratio": None if best is None else {"to": best, **peers[best]["ratio"]},
    }


def parsed() -> argparse.Namespace:
    """The command line.

    Raises:
        ConfigError: an impossible value.
    """
    parser = common_parser(__doc__, PEERS, timeout=900)
    parser.add_argument("--steps", type=int, help=f"of a turn ({', '.join(f'{k}: {v}' for k, v in STEPS.items())})")
    parser.add_argument("--warmup", type=int, default=3, help="steps of each contestant before the first round")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="further settings of our run")
    options = parser.parse_intermixed_args()
    options.steps = STEPS[options.shape] if options.steps is None else options.steps
    check_common(options, PEERS, least={"steps": 1, "warmup": 1, "batch_tokens": 1})
    if problem := data_problem(options.data):
        raise ConfigError(problem)
    return options


def report() -> None:
    """Measure what the command line says, and print it.

    Raises:
        Seq2SeqError: a value is impossible.
        PeerError: ours, or the products alone, failed.
    """
    options = parsed()
    words = ours.shape_overrides(options.shape, options.data.resolve())
    words += [f"training.batch_tokens={options.batch_tokens}", *ours.run_overrides(threads=options.threads)]
    words += options.overrides
    config = run_config(words, PROGRAM)
    with tempfile.TemporaryDirectory() as folder:
        export(config, Path(folder), batches=options.warmup + options.pairs * options.steps)
        job = Job(SHAPES[options.shape], options.batch_tokens, options.threads, Path(folder), tuple(words))
        result = measure(options, job)
    names = ("shape", "batch_tokens", "threads", "pairs", "steps", "warmup")
    conditions = {name: getattr(options, name) for name in names}
    machine = {"cpu": cpu_name(), "commit": commit(), "versions": versions(), "overrides": options.overrides}
    print(json.dumps({**conditions, **machine, **result}))


def main() -> int:
    """Measure, and say how it went."""
    return exit_code(PROGRAM, report)


if __name__ == "__main__":
    sys.exit(main())

"""Where does the time of one of our training steps go, operation by operation?

    python tools/benchmarks/profile_step.py --shape small|base [--note "prediction: ..."] [key=value ...]
    python tools/benchmarks/profile_step.py --recipe wmt_small [key=value ...]

Runs the real training command, held between two steps: some to warm up, some that are timed, some under
torch.profiler. Writes a table into tools/benchmarks/results/ and names it in the JSON object that is the last line of
stdout. Run it on an otherwise idle machine.
"""

import argparse
import datetime
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]
from seq2seq.checkpoint import versions  # noqa: E402  (works from a checkout that is not installed)
from seq2seq.config import Config  # noqa: E402
from seq2seq.configure import fail, run_config  # noqa: E402
from seq2seq.data.prepare import Prepared  # noqa: E402
from seq2seq.errors import ConfigError, Seq2SeqError  # noqa: E402
from seq2seq.files import write_bytes  # noqa: E402
from speed import ours  # noqa: E402
from speed.gemm import gemm_speed  # noqa: E402
from speed.machine import DATA, commit, cpu_name, data_problem  # noqa: E402
from speed.shapes import SHAPES, Shape  # noqa: E402
from speed.turns import Turns, Work  # noqa: E402

PROGRAM = "python tools/benchmarks/profile_step.py"
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass
class Profile:
    """What was measured.

    Attributes:
        timed: steps without the profiler.
        profiled: steps with it.
        gemm: multiply-adds a second of the model's products alone, before and after the timed steps.
        operations: (name, microseconds of its own, calls) over all profiled steps, the longest first.
    """

    timed: Work = field(default_factory=Work)
    profiled: Work = field(default_factory=Work)
    gemm: list[float] = field(default_factory=list)
    operations: list[tuple[str, float, int]] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, float]:
        """The figures of the header."""
        timed = self.timed
        speed = sum(self.gemm) / len(self.gemm)
        return {
            "step_ms": round(1e3 * timed.seconds / timed.steps, 2),
            "tokens_per_second": round(timed.target_tokens / timed.seconds, 1),
            "gemm_gmacs": round(speed / 1e9, 2),
            "gemm_fraction": round(timed.multiply_adds / timed.seconds / speed, 4),
            "padded_gemm_fraction": round(timed.padded_multiply_adds / timed.seconds / speed, 4),
            "peak_mib": round(timed.peak_mib, 1),
        }


def measure(config: Config, *, warmup: int, timed: int, profiled: int) -> Profile:
    """Warm up, time and profile steps of a run."""
    result = Profile()
    done: list[Work] = []

    def start(shape: Shape, config: Config, prepared: Prepared) -> Turns:
        return Turns(shape, orders=orders(shape), report=done.append, batches_per_step=config.training.accumulation)

    def orders(shape: Shape) -> Iterator[int]:
        yield warmup
        rows = ours.typical_rows(done[0], batches=warmup * config.training.accumulation)
        result.gemm.append(gemm_speed(shape, rows))
        yield timed
        result.timed = done[1]
        result.gemm.append(gemm_speed(shape, rows))
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            yield profiled
        result.profiled = done[2]
        averages = [(str(row.key), float(row.self_cpu_time_total), int(row.count)) for row in profiler.key_averages()]
        result.operations = sorted(averages, key=lambda row: -row[1])

    ours.train(config, start)
    return result


def table(result: Profile, header: dict[str, Any], *, rows: int) -> str:
    """Header and operations as text."""
    steps, wall = result.profiled.steps, 1e6 * result.profiled.seconds
    lines = [f"{name:24s}{value}" for name, value in {**header, **result.figures}.items()]
    lines += ["", f"{'share':>7s}{'ms/step':>10s}{'calls/step':>12s}  operation (its own time on the CPU)"]

    def line(name: str, microseconds: float, calls: int) -> str:
        return f"{microseconds / wall:7.1%}{microseconds / 1e3 / steps:10.2f}{calls / steps:12.1f}  {name}"

    shown, others = result.operations[:rows], result.operations[rows:]
    lines += [line(*operation) for operation in shown]
    lines.append(line("others", sum(time for _, time, _ in others), sum(calls for _, _, calls in others)))
    outside = wall - sum(time for _, time, _ in result.operations)
    lines.append(line("outside torch's operations (Python, batches)", outside, 0))
    lines.append(
        line(f"all, under the profiler ({steps} steps)", wall, sum(calls for _, _, calls in result.operations))
    )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Profile what the command line says and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--shape", choices=sorted(SHAPES), help="the plain model of this size on Multi30k")
    what.add_argument("--recipe", help="a recipe of the project instead")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of Multi30k")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="of a shape's batches")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=3, help="steps before anything is measured")
    parser.add_argument(
        "--steps", type=int, default=10, help="steps that are timed, and then as many under the profiler"
    )
    parser.add_argument("--rows", type=int, default=40, help="operations listed")
    parser.add_argument("--note", default="", help="goes into the header: what the change should do, or has done")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="further settings of the run")
    options = parser.parse_intermixed_args()
    try:
        config = run_config(words(options), PROGRAM)
        result = measure(config, warmup=options.warmup, timed=options.steps, profiled=options.steps)
    except Seq2SeqError as error:
        return fail(PROGRAM, error)
    now = datetime.datetime.now(datetime.UTC)
    name = options.shape or options.recipe
    header = {
        "profile of": f"{name} {' '.join(options.overrides)}".strip(),
        "note": options.note,
        "date": f"{now:%Y-%m-%d %H:%M} UTC",
        "commit": commit(),
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "versions": " ".join(f"{key} {value}" for key, value in versions().items()),
        "batch_tokens": config.training.batch_tokens,
    }
    text = table(result, header, rows=options.rows)
    print(text, file=sys.stderr)
    path = RESULTS / f"profile_{name}_{now:%Y-%m-%d_%H%M%S}.txt"
    RESULTS.mkdir(exist_ok=True)
    write_bytes(path, text.encode())
    print(json.dumps({**header, **result.figures, "table": os.path.relpath(path)}))
    return 0


def words(options: argparse.Namespace) -> list[str]:
    """The words of the training command that is profiled.

    Raises:
        ConfigError: a shape's text is not there, or a number of steps is impossible.
    """
    if min(options.warmup, options.steps, options.threads, options.batch_tokens) < 1:
        raise ConfigError("--warmup, --steps, --threads and --batch-tokens must each be at least 1.")
    if options.recipe:
        chosen = [f"+recipe={options.recipe}"]
    else:
        if problem := data_problem(options.data):
            raise ConfigError(problem)
        chosen = ours.shape_overrides(options.shape, options.data.resolve())
        chosen.append(f"training.batch_tokens={options.batch_tokens}")
    return [*chosen, *ours.run_overrides(threads=options.threads), *options.overrides]


if __name__ == "__main__":
    sys.exit(main())

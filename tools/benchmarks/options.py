"""What each training option does to the score in equal time: every option with several seeds, mean and spread.

    python tools/benchmarks/options.py --data ../shared/data/multi30k --output runs/options --speeds
    python tools/benchmarks/options.py --data ../shared/data/multi30k --output runs/options [--minutes 15]
        [--seeds 1 2 3] [--options recipe adamw ...] [--jobs 2] [-- key=value ...]

Equal time is counted in steps. The first command, on a machine that does nothing else, measures how long a step of each
option takes, in turn with the others. The second trains each option for the steps that fit into the minutes, however
busy the machine is meanwhile, `--jobs` runs at a time with as many parts of the cores; scoring on the way is not
counted. It keeps what is finished: the same command goes on where it was stopped. The words after -- go to every run.
`--table` only prints the table of what is there. Options with their settings: OPTIONS below.
The table goes to stdout, one line an option: mean of test BLEU over the seeds, smallest to largest, and steps done.
"""

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

OPTIONS: dict[str, list[str]] = {
    "recipe": [],
    "adamw": [
        "training.optimizer=adamw", "training.muon_steps=4", "training.muon_update_size=0.6",
        "training.batch_tokens=1024", "training.learning_rate=2.5e-3",
    ],
    "two steps of muon": ["training.muon_steps=2"],
    "wsd": ["training.schedule=wsd"],
    "cosine": ["training.schedule=cosine"],
    "ema": ["training.ema_decay=0.99"],
    "averaging": ["training.average_checkpoints=4", "training.keep_checkpoints=3", "training.save_every=20"],
    "r-drop": ["training.r_drop=1.0"],
    "subword sampling": ["data.subword_sampling=both"],
    "bpe": ["tokenizer.kind=bpe"],
    "bpe dropout": ["tokenizer.kind=bpe", "data.subword_sampling=both"],
    "untied": ["model.tied_embeddings=none"],
    "deep encoder": ["model=deep_encoder", "model.dropout=0.15"],
    "dropout 0.1": ["model.dropout=0.1"],
    "dropout 0.2": ["model.dropout=0.2"],
    "vaswani": ["model.positions=sinusoidal", "model.feed_forward=relu", "model.feed_forward_dim=1024"],
}  # fmt: skip
"""What an option changes in the recipe."""

AS_FAST_AS_THE_RECIPE = {"wsd", "cosine", "dropout 0.1", "dropout 0.2"}
"""Options that change numbers, not what is computed, take its speed: noise shall not tell them apart."""

PROBE_STEPS = 40
"""Steps of a turn of --speeds; the first half is not counted."""
PROBE_ROUNDS = 2
"""Turns of each option; each step counts as it was quickest, since a machine's other work only ever adds time."""


def parse() -> tuple[argparse.Namespace, list[str]]:
    """The command line, and the words for every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "multi30k")
    parser.add_argument("--output", type=Path, default=Path("runs/options"), help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--speeds", action="store_true", help="measure how long a step of each option takes and stop")
    parser.add_argument("--table", action="store_true", help="print the table of what is there and stop")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:end])
    if not options.table and not any((options.data / name).exists() for name in ("train.en", "train.en.gz")):
        parser.error(f"--data ({options.data}) has no train.en; name the folder of Multi30k.")
    missing = {timed(name) for name in options.options} - speeds(options.output).keys()
    if not (options.table or options.speeds) and missing:
        parser.error(
            f"--output ({options.output}) has no speed of {', '.join(sorted(missing))}; run with --speeds before."
        )
    return options, words[end + 1 :]


def timed(name: str) -> str:
    """The option whose speed is this one's."""
    return "recipe" if name in AS_FAST_AS_THE_RECIPE else name


def speeds(output: Path) -> dict[str, float]:
    """Seconds a step of each option, as --speeds measured them."""
    path = output / "speeds.json"
    found: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    return found


def train(options: argparse.Namespace, folder: Path, *words: str) -> None:
    """One run, or the rest of it.

    Raises:
        SystemExit: it failed; its own words say why.
    """
    command = [
        *(sys.executable, "-m", "seq2seq.train", "+recipe=multi30k", f"data.dir={options.data.resolve()}"),
        *(f"run_dir={folder.resolve()}", "training.minutes=null", *words),
    ]
    print(" ".join(command), file=sys.stderr, flush=True)
    quiet = subprocess.DEVNULL if options.jobs > 1 else None
    code = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=quiet).returncode
    if code:
        sys.exit(f"{folder}: exit code {code}")


def measure(options: argparse.Namespace, words: list[str]) -> None:
    """Each option's seconds a step, into a file."""
    seconds: dict[str, list[list[float]]] = {timed(name): [] for name in options.options}
    settings = [f"training.steps={PROBE_STEPS}", f"training.validate_every={PROBE_STEPS}", "training.log_every=1"]
    for turn in range(PROBE_ROUNDS):
        for name in seconds:
            folder = options.output / "speeds" / f"{name.replace(' ', '_')}-{turn}"
            train(options, folder, *settings, "data.test=null", *OPTIONS[name], *words)
            lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            times = [line["seconds"] for line in lines if line["kind"] == "train"]
            seconds[name].append([end - start for start, end in pairwise(times)][PROBE_STEPS // 2 :])
    quickest = {name: [min(step) for step in zip(*turns, strict=True)] for name, turns in seconds.items()}
    found = speeds(options.output) | {name: statistics.mean(steps) for name, steps in quickest.items()}
    (options.output / "speeds.json").write_text(json.dumps(found, indent=2) + "\n")


def steps_of(options: argparse.Namespace, name: str) -> int:
    """How many steps of an option fit into the time."""
    return round(options.minutes * 60 / speeds(options.output)[timed(name)])


def folder_of(options: argparse.Namespace, name: str, seed: int) -> Path:
    """Where a run lives."""
    folder: Path = options.output / f"{options.minutes:g}" / f"{name.replace(' ', '_')}-{seed}"
    return folder


def train_all(options: argparse.Namespace, words: list[str]) -> None:
    """All options with one seed, then with the next: a table can be read early."""
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = []
        for seed in options.seeds:
            for name in options.options:
                folder, steps = folder_of(options, name, seed), steps_of(options, name)
                if not (folder / "metrics.json").exists():
                    settings = [f"seed={seed}", f"training.threads={threads}", f"training.steps={steps}"]
                    settings += [f"training.warmup_steps={steps // 10}", f"training.validate_every={-(-steps // 5)}"]
                    settings += [*OPTIONS[name], *words]
                    runs.append(pool.submit(train, options, folder, *settings))
        for run in runs:
            run.result()


def scores(options: argparse.Namespace, name: str) -> list[dict[str, float]]:
    """Of each finished run of an option: test BLEU, chrF and steps."""
    found = []
    for seed in options.seeds:
        path = folder_of(options, name, seed) / "metrics.json"
        if path.exists():
            figures = json.loads(path.read_text())
            found.append({**{key: figures["test"][key] for key in ("bleu", "chrf")}, "steps": figures["steps"]})
    return found


def table(options: argparse.Namespace) -> str:
    """Markdown; options without a finished run are left out."""
    lines = [
        "| option | settings | runs | BLEU | smallest to largest | chrF | steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in options.options:
        found = scores(options, name)
        if found:
            bleu = [run["bleu"] for run in found]
            settings = " ".join(OPTIONS[name]) or "the recipe's"
            lines.append(
                f"| {name} | {settings} | {len(found)} | {statistics.mean(bleu):.2f} | {min(bleu):.2f} to "
                f"{max(bleu):.2f} | {statistics.mean(run['chrf'] for run in found):.2f} | "
                f"{statistics.mean(run['steps'] for run in found):,.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """The speeds, the runs or only the table."""
    options, words = parse()
    if options.speeds:
        measure(options, words)
        return
    if not options.table:
        train_all(options, words)
    print(table(options))


if __name__ == "__main__":
    main()

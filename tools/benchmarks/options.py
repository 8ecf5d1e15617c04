"""What each training option does to the score in equal time: every option with several seeds, mean and spread.

    python tools/benchmarks/options.py --data ../shared/data/multi30k --output runs/options [--minutes 15]
        [--seeds 1 2 3] [--options plain muon ...] [-- key=value ...]

Runs one training after another and keeps what is finished: the same command goes on where it was stopped. The words
after -- go to every run. `--table` only prints the table of what is there. Options with their settings: OPTIONS below.
The table goes to stdout, one line an option: mean of test BLEU over the seeds, smallest to largest, and steps done.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

OPTIONS: dict[str, list[str]] = {
    "plain": [],
    "vaswani": ["model.positions=sinusoidal", "model.feed_forward=relu", "model.feed_forward_dim=1024"],
    "dropout 0.2": ["model.dropout=0.2"],
    "embedding dropout": ["model.embedding_dropout=0.2"],
    "muon": ["training.optimizer=muon"],
    "muon, 3 steps": ["training.optimizer=muon", "training.muon_steps=3"],
    "wsd": ["training.schedule=wsd"],
    "cosine": ["training.schedule=cosine"],
    "ema": ["training.ema_decay=0.998"],
    "averaging": ["training.average_checkpoints=5", "training.keep_checkpoints=4", "training.save_every=100"],
    "r-drop": ["training.r_drop=1.0"],
    "subword sampling": ["data.subword_sampling=both"],
    "untied": ["model.tied_embeddings=none"],
    "deep encoder": ["model=deep_encoder"],
    "bpe": ["tokenizer.kind=bpe"],
    "bpe dropout": ["tokenizer.kind=bpe", "data.subword_sampling=both"],
}
"""What an option changes in the recipe."""


def parse() -> tuple[argparse.Namespace, list[str]]:
    """The command line, and the words for every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "multi30k")
    parser.add_argument("--output", type=Path, default=Path("runs/options"), help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS), metavar="NAME")
    parser.add_argument("--table", action="store_true", help="print the table of what is there and stop")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:end])
    if not options.table and not any((options.data / name).exists() for name in ("train.en", "train.en.gz")):
        parser.error(f"--data ({options.data}) has no train.en; name the folder of Multi30k.")
    return options, words[end + 1 :]


def folder_of(options: argparse.Namespace, name: str, seed: int) -> Path:
    """Where a run lives."""
    folder: Path = options.output / f"{name.replace(' ', '_')}-{seed}"
    return folder


def train(options: argparse.Namespace, name: str, seed: int, words: list[str]) -> None:
    """One run, or the rest of it.

    Raises:
        SystemExit: it failed; its own words say why.
    """
    folder = folder_of(options, name, seed)
    command = [
        *(sys.executable, "-m", "seq2seq.train", "+recipe=multi30k"),
        *(f"data.dir={options.data.resolve()}", f"run_dir={folder.resolve()}", f"seed={seed}"),
        *(f"training.minutes={options.minutes}", *OPTIONS[name], *words),
    ]
    print(" ".join(command), file=sys.stderr, flush=True)
    code = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode
    if code:
        sys.exit(code)


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
    """All options with one seed, then with the next: a table can be read early."""
    options, words = parse()
    if not options.table:
        for seed in options.seeds:
            for name in options.options:
                if not (folder_of(options, name, seed) / "metrics.json").exists():
                    train(options, name, seed, words)
    print(table(options))


if __name__ == "__main__":
    main()

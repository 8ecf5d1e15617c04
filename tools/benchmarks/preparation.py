"""What preparing a corpus costs, and starting to train on it: pairs a second, memory, seconds to the first batch.

    python tools/benchmarks/preparation.py --pairs 3000000 [--workers 2] --folder WORK --languages it en \
        --texts FOLDER/train [FOLDER/train ...]

The corpus is made by make_corpus.py in WORK, where it stays; the cache is made anew and removed at the end. Prepares in
one process and starts from the cache in another, both watched from here. The last line of stdout is one JSON object;
memory is in MiB: `peak` sums the resident memory of all processes, pages of mapped files included, which the system
takes back when it needs them; `peak_anonymous` leaves those out. `cpu_seconds` is of all processes of a phase, imports
included, and is the figure to compare where others use the machine. Linux only, since it reads /proc.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]
from make_corpus import make  # noqa: E402

SAMPLE_SECONDS = 0.1
"""Time between two looks at memory."""


def prepare_all(settings: dict[str, Any]) -> dict[str, Any]:
    """Learn the vocabulary and encode; both timed."""
    config = config_of(settings)
    from seq2seq.data.cache import cache_folder
    from seq2seq.data.corpus import open_corpus
    from seq2seq.data.prepare import prepare
    from seq2seq.data.tokenizer_training import train_tokenizers

    start = time.monotonic()
    corpus = open_corpus(config.data, task=config.task)
    train_tokenizers(config.tokenizer, corpus, task=config.task, cache_dir=cache_folder(config.data))
    learned = time.monotonic()
    prepared = prepare(config)
    encoded = time.monotonic()
    assert prepared.drop_counts is not None
    return {
        "vocabulary_seconds": learned - start,
        "encoding_seconds": encoded - learned,
        "pairs_per_second": settings["pairs"] / (encoded - start),
        "encoded_pairs_per_second": settings["pairs"] / (encoded - learned),
        "kept": prepared.drop_counts.kept,
    }


def start_training(settings: dict[str, Any]) -> dict[str, Any]:
    """From the cache to the first batch, the batches of an epoch, and the first of another epoch."""
    started = time.monotonic()
    config = config_of(settings)
    from seq2seq.data.prepare import prepare
    from seq2seq.scoring import training_batches

    imported, before = time.monotonic(), memory(Path("/proc/self"))
    batches = training_batches(config, prepare(config))
    opened = time.monotonic()
    with Watch(settings["pid"]) as watch:
        plan = batches.epoch(0)
    planned = time.monotonic()
    plan[0]
    first = time.monotonic()
    many = range(0, len(plan), max(1, len(plan) // 500))
    sizes = [plan[position].target_out.numel() for position in many]
    made = time.monotonic()
    return {
        "import_seconds": imported - started,
        "open_cache_seconds": opened - imported,
        "epoch_seconds": planned - opened,
        "cache_to_first_batch_seconds": first - imported,
        "milliseconds_a_batch": 1000 * (made - first) / len(sizes),
        "target_cells_a_batch": sum(sizes) / len(sizes),
        "batches": len(plan),
        "anonymous_after": memory(Path("/proc/self"))["RssAnon"] - before["RssAnon"],
        "epoch_peak_anonymous": watch.growth["RssAnon"],
    }


def config_of(settings: dict[str, Any]) -> Any:
    """The configuration of the run that is measured."""
    from seq2seq.config import Config, DataConfig

    source, target = settings["languages"]
    data = DataConfig(
        train=settings["corpus"],
        valid=settings["valid"],
        source_language=source,
        target_language=target,
        cache_dir=settings["cache"],
        workers=settings["workers"],
    )
    config = Config(data=data)
    config.training.batch_tokens = settings["batch_tokens"]
    config.tokenizer.vocab_size = settings["vocab_size"]
    return config


PHASES = {"prepare": prepare_all, "start": start_training}


def memory(process: Path) -> dict[str, float]:
    """Resident memory of a process in MiB by kind: VmRSS all of it, RssAnon what belongs to no file."""
    try:
        fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return {kind: int(fields.get(kind, "0 kB").split()[0]) / 1024 for kind in ("VmRSS", "RssAnon")}
    except (OSError, ValueError):  # it has ended
        return {"VmRSS": 0.0, "RssAnon": 0.0}


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:
            continue
        found += [descendant for child in children for descendant in family(int(child))]
    return found


class Watch:
    """While entered, looks at the memory of a process and its descendants; `peak` and `growth` in MiB by kind."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak: dict[str, float] = {"VmRSS": 0.0, "RssAnon": 0.0}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _now(self) -> dict[str, float]:
        each = [memory(Path(f"/proc/{pid}")) for pid in family(self.pid)]
        return {kind: sum(one[kind] for one in each) for kind in self.peak}

    def _look(self) -> None:
        while not self._over.is_set():
            for kind, size in self._now().items():
                self.peak[kind] = max(self.peak[kind], size)
            self._over.wait(SAMPLE_SECONDS)

    @property
    def growth(self) -> dict[str, float]:
        """How far the peak was above what there was at the start."""
        return {kind: self.peak[kind] - self._before[kind] for kind in self.peak}

    def __enter__(self) -> "Watch":
        self._before = self._now()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def measured(phase: str, settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """The figures of a phase, run in a process of its own, and its peak memory."""
    command = [sys.executable, __file__, "--phase", phase, "--settings", json.dumps(settings)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with Watch(process.pid) as watch:
        figures = process.stdout.read()
    if process.wait():
        sys.exit(process.returncode)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(figures), "cpu_seconds": cpu}, watch.peak


def main() -> None:
    """Read the command line, make the corpus, measure both phases and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=300_000)
    parser.add_argument("--workers", type=int, help="processes that encode; by default one for each core")
    parser.add_argument("--batch-tokens", type=int, default=25_000)
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--languages", nargs=2)
    parser.add_argument("--texts", nargs="+")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        print(json.dumps(PHASES[options.phase]({**options.settings, "pid": os.getpid()})))
        return
    corpus, cache = options.folder / f"{options.pairs}", options.folder / "cache"
    languages = tuple(options.languages)
    make(corpus, pairs=options.pairs, languages=languages, texts=options.texts)
    valid = options.folder / "valid"
    make(valid, pairs=1000, languages=languages, texts=options.texts)
    settings = {
        "pairs": options.pairs,
        "workers": options.workers,
        "batch_tokens": options.batch_tokens,
        "vocab_size": options.vocab_size,
        "languages": languages,
        "corpus": str(corpus),
        "valid": str(valid),
        "cache": str(cache),
    }
    shutil.rmtree(cache, ignore_errors=True)
    try:
        preparation, peak = measured("prepare", settings)
        size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        start, start_peak = measured("start", settings)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    figures = {
        **{name: settings[name] for name in ("pairs", "workers", "batch_tokens")},
        **preparation,
        "peak": peak["VmRSS"],
        "peak_anonymous": peak["RssAnon"],
        "cache": size / 2**20,
        "from_cache": {**start, "peak": start_peak["VmRSS"], "peak_anonymous": start_peak["RssAnon"]},
    }
    print(json.dumps(_rounded(figures)))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()

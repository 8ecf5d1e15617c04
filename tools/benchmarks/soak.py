"""Many lines through a command's pipe: as many out as in, exit code 0, and memory that stays where it was.

    python tools/benchmarks/soak.py --ckpt runs/tiny/best --lines 100000 --kind hostile
    python tools/benchmarks/soak.py --ckpt runs/tiny/best --lines 1000000 --kind short --most-growth 20 -- --quiet

Lines of kind short are a few words each; sparse has one such line in --every and blank ones between, which tests all
but the model; hostile lines hold anything that a file may: random bytes, NULs, every separator and control character
of Unicode, carriage returns, blanks, very long words, emoji, text from right to left, towers of combining marks.

Prints one JSON object: lines in and out, the exit code, seconds, and the memory of the process (resident now, and at
most so far, in MiB) whenever as many lines were out as --marks names. Ends with exit code 1 where something is wrong.
"""

import argparse
import json
import random
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

WORDS = ["a", "man", "dog", "is", "here.", "the", "two", "red", "runs", "blue"]
ODD = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zl", "Zp", "Zs")]
"""Every control and format character, separator and space."""
STRANGE = [
    "\U0001f600",
    "\U0001f469\u200d\U0001f4bb",
    "שלום",
    "مرحبا",
    "東京。",
    "e" + "\u0301" * 40,
    "</s>",
    "|||",
    "ﷺ",
]


def hostile_lines(count: int, *, seed: int) -> Iterator[bytes]:
    """Lines of everything that a file may hold, without their newlines."""
    chance = random.Random(seed)
    kinds: list[Callable[[], bytes]] = [
        lambda: chance.randbytes(chance.randint(0, 40)).replace(b"\n", b"\r"),
        lambda: chance.choice([b"", b" ", b"\t \r", b"\0", b"\xef\xbb\xbf", "\u2028\u3000".encode()]),
        lambda: "".join(chance.choices([*WORDS, *chance.choices(ODD, k=4)], k=8)).replace("\n", "\r").encode(),
        lambda: " ".join(chance.choices([*WORDS, *STRANGE], k=chance.randint(1, 6))).encode(),
        lambda: " ".join(chance.choices(WORDS, k=3)).encode() + b"\r",
        lambda: b"\xed\xa0\x80\xc0\xaf\xf5 cut \xe6\x9d",
    ]
    for number in range(count):
        if number % 5000 == 4999:
            yield chance.choice([b"x", "é".encode(), b"\xff", b"\0"]) * 3000  # a very long word
        else:
            yield chance.choice(kinds)()


def short_lines(count: int, *, seed: int, every: int = 1) -> Iterator[bytes]:
    """A few words in one line of `every`, nothing in the others."""
    chance = random.Random(seed)
    for number in range(count):
        yield b"" if number % every else " ".join(chance.choices(WORDS, k=chance.randint(1, 4))).encode()


def memory_of(process: int) -> dict[str, float]:
    """Resident memory of a process, now and at most so far, in MiB; nothing of one that has ended."""
    found = {}
    for row in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        name, _, value = row.partition(":")
        if name in ("VmRSS", "VmHWM"):
            found["resident" if name == "VmRSS" else "most"] = round(int(value.split()[0]) / 1024, 1)
    return found


def feed(lines: Iterator[bytes], pipe: IO[bytes]) -> None:
    """Write lines until they end or nobody reads any more."""
    try:
        for line in lines:
            pipe.write(line + b"\n")
        pipe.close()
    except BrokenPipeError:
        pass


def soak(lines: Iterator[bytes], command: Sequence[str], *, marks: Sequence[int]) -> dict[str, Any]:
    """Put lines through a command.

    Args:
        lines: without newlines.
        command: reads stdin, writes a line to stdout for each.
        marks: numbers of lines out at which memory is looked at.

    Returns:
        what came out; `torn` counts lines of output that some readers would take for several.
    """
    start, count, torn, memory = time.monotonic(), 0, 0, []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        feeder = threading.Thread(target=feed, args=(lines, process.stdin))
        feeder.start()
        for line in process.stdout:
            count += 1
            torn += len(line.decode(errors="surrogateescape").splitlines()) != 1
            if count in marks and (figures := memory_of(process.pid)):
                memory.append({"lines": count, **figures})
        feeder.join()
        code = process.wait()
    return {
        "lines_out": count,
        "torn": torn,
        "exit_code": code,
        "seconds": round(time.monotonic() - start, 1),
        "memory": memory,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, soak, report; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", required=True, metavar="FOLDER", help="a checkpoint folder; a tiny model is best")
    parser.add_argument("--lines", type=int, default=100_000, metavar="N", help="(default: 100,000)")
    parser.add_argument("--kind", choices=("hostile", "short", "sparse"), default="hostile")
    parser.add_argument("--every", type=int, default=50, metavar="N", help="of kind sparse (default: 50)")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--marks", type=int, nargs="+", metavar="N", help="(default: a twentieth, and a tenth each)")
    parser.add_argument(
        "--most-growth",
        type=float,
        metavar="MIB",
        help="resident memory may grow so much from the first mark to the last",
    )
    parser.add_argument("options", nargs="*", help="of seq2seq translate, after --")
    given = parser.parse_args(arguments)
    marks = given.marks or [given.lines // 20, *(given.lines * tenth // 10 for tenth in range(1, 11))]
    kinds = {
        "hostile": lambda: hostile_lines(given.lines, seed=given.seed),
        "short": lambda: short_lines(given.lines, seed=given.seed),
        "sparse": lambda: short_lines(given.lines, seed=given.seed, every=given.every),
    }
    command = [sys.executable, "-m", "seq2seq.cli.main", "translate", "--ckpt", given.ckpt, *given.options]
    result = {"kind": given.kind, "lines_in": given.lines, **soak(kinds[given.kind](), command, marks=marks)}
    print(json.dumps(result))
    memory = result["memory"]
    growth = memory[-1]["resident"] - memory[0]["resident"] if memory else 0.0
    too_much = given.most_growth is not None and growth > given.most_growth
    wrong = result["exit_code"] or result["torn"] or result["lines_out"] != given.lines or too_much
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""What the measurements beside other packages have in common on their command lines."""

import argparse
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from seq2seq.configure import fail
from seq2seq.errors import ConfigError, Seq2SeqError
from speed.environments import PEERS_DIR, PeerError, say
from speed.machine import DATA
from speed.shapes import SHAPES


def common_parser(description: str | None, peers: Collection[str], *, timeout: float) -> argparse.ArgumentParser:
    """The options of each measurement.

    Args:
        description: of the program.
        peers: that there are.
        timeout: seconds that a contestant may take to answer, unless it is given.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), required=True)
    parser.add_argument("--peers", default=",".join(peers), help="which, separated by commas; '' for none")
    parser.add_argument("--pairs", type=int, default=5, help="rounds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of Multi30k")
    parser.add_argument("--peers-dir", type=Path, default=PEERS_DIR, help="where peers.py builds environments")
    parser.add_argument("--timeout", type=float, default=timeout, help="seconds that a contestant may take to answer")
    return parser


def check_common(options: argparse.Namespace, peers: Collection[str], *, least: Mapping[str, float]) -> None:
    """Make a list of options.peers and a whole path of options.peers_dir.

    Args:
        options: as parsed.
        peers: that there are.
        least: the least value of options beside pairs and threads, by name.

    Raises:
        ConfigError: there is no such peer, or a value is below its least.
    """
    options.peers = [name for name in options.peers.split(",") if name]
    options.peers_dir = options.peers_dir.resolve()
    if unknown := [name for name in options.peers if name not in peers]:
        raise ConfigError(f"--peers {unknown[0]}: there are {', '.join(peers)}.")
    for name, lowest in {"pairs": 1, "threads": 1, **least}.items():
        if not getattr(options, name) >= lowest:  # NaN is not
            raise ConfigError(f"--{name.replace('_', '-')} ({getattr(options, name)}) must be at least {lowest}.")


def exit_code(program: str, measure: Callable[[], None]) -> int:
    """Of a measurement that may fail, which stderr then says in a sentence."""
    try:
        measure()
    except Seq2SeqError as error:
        return fail(program, error)
    except PeerError as error:
        say(f"{program}: error: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    return 0

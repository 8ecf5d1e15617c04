"""Build the environments of the packages that `training.py` and `decoding.py` compare our speed with.

    python tools/benchmarks/peers.py [--peers hf,joeynmt,eole,ctranslate2] [--peers-dir ~/.cache/seq2seq/peers]

Each gets a virtual environment with the torch version that runs this script. The last line of stdout is one JSON
object: true for each that is ready, else a sentence on why it is not.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from speed.environments import ENVIRONMENTS, PEERS_DIR, PeerError, build, python_of, say  # noqa: E402


def main() -> int:
    """Build what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=",".join(ENVIRONMENTS), help="which, separated by commas")
    parser.add_argument("--peers-dir", type=Path, default=PEERS_DIR)
    parser.add_argument("--again", action="store_true", help="build anew what is there already")
    options = parser.parse_args()
    chosen = [name for name in options.peers.split(",") if name]
    if unknown := [name for name in chosen if name not in ENVIRONMENTS]:
        say(f"--peers {unknown[0]}: there are {', '.join(ENVIRONMENTS)} (torch needs no environment of its own).")
        return 2
    outcome: dict[str, bool | str] = {}
    for name in chosen:
        try:
            if options.again or not _ready(name, options.peers_dir):
                say(f"{name}: building")
                build(name, options.peers_dir)
            outcome[name] = True
            say(f"{name}: ready")
        except PeerError as error:
            outcome[name] = str(error)
            say(str(error))
    print(json.dumps(outcome))
    return 0 if all(value is True for value in outcome.values()) else 1


def _ready(name: str, folder: Path) -> bool:
    try:
        python_of(name, folder)
    except PeerError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())

"""`seq2seq export`: a checkpoint as a folder for another program that decodes."""

import argparse
import sys
from pathlib import Path

from seq2seq.config import EngineKind, Quantization
from seq2seq.errors import CheckpointError

DESCRIPTION = """\
Write a trained translator as a folder for CTranslate2, a library that decodes fast on CPUs and GPUs, also in int8.

  seq2seq export --ckpt runs/multi30k/best --output exported/multi30k --quantization int8
  seq2seq-translate --ckpt exported/multi30k --engine ctranslate2 < input.txt > output.txt

Configuration and tokenizers go along: nothing outside the folder is needed. Its subfolder ctranslate2/ is a model of
that library by itself; sources go in and outputs come out as the tokenizers' pieces."""

FORMATS = [EngineKind.ctranslate2.value]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--ckpt",
        required=True,
        metavar="FOLDER",
        help="a checkpoint folder, or a run folder: its best/ is used, or last/ where there is no best/",
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder to write; must not exist yet")
    parser.add_argument("--format", default=FORMATS[0], choices=FORMATS, help="the program (default: ctranslate2)")
    parser.add_argument(
        "--quantization",
        default=Quantization.float32.value,
        choices=[kind.value for kind in Quantization],
        help="number format of the weights; int8 takes a quarter of the space (default: float32)",
    )


def run(arguments: argparse.Namespace, program: str) -> int:
    """Export; returns the exit code."""
    from seq2seq.checkpoint import load_checkpoint
    from seq2seq.engines.exported import WEIGHTS, export_checkpoint, package

    output = Path(arguments.output)
    if output.exists():
        raise CheckpointError(f"{output}: exists already; name a folder that does not.")
    package()
    checkpoint = load_checkpoint(arguments.ckpt)
    export = export_checkpoint(checkpoint, output, quantization=Quantization(arguments.quantization))
    size = (output / WEIGHTS).stat().st_size / 2**20
    print(f"{program}: {output} holds the model in {export.quantization.value}, {size:.1f} MiB.", file=sys.stderr)
    return 0

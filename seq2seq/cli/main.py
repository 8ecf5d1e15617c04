"""`seq2seq COMMAND`, and `seq2seq-translate` for the command that scripts use most."""

import sys
from collections.abc import Sequence

from seq2seq import __version__
from seq2seq.cli import (
    align,
    average,
    back_translate,
    compare,
    distil,
    export,
    generate,
    plan,
    predict,
    score,
    verify_resume,
)
from seq2seq.cli import translate as translation
from seq2seq.cli.options import Parser
from seq2seq.cli.streams import guarded
from seq2seq.cli.wording import as_options

COMMANDS = {
    "translate": (translation, "text in, its translation out, line by line"),
    "generate": (generate, "a language model goes on with a text"),
    "predict": (predict, "label lines or words"),
    "score": (score, "BLEU, chrF, TER of translations; or how probable a model finds given text"),
    "compare": (compare, "two translations of one text: scores, significance, sentences won and lost"),
    "align": (align, "which words of two texts belong together"),
    "plan": (plan, "what a training run will take: memory, time, cost; before it starts"),
    "distil": (distil, "a corpus of a model's own translations, to train a smaller one on"),
    "back-translate": (back_translate, "training pairs from text of the target language alone"),
    "verify-resume": (verify_resume, "whether a stopped run goes on exactly, on your settings and machine"),
    "average": (average, "the mean of several checkpoints' weights"),
    "export": (export, "a translator as a folder for CTranslate2, which decodes faster"),
}

DESCRIPTION = """\
Plan a run, use a trained model, and score what it gives. (python -m seq2seq.train trains; python -m seq2seq.evaluate
translates a test set and scores it.)

plan and verify-resume take the words of a training run, score and compare take files of translations; every other
command, and score --ckpt, takes its configuration from the checkpoint folder, and nothing outside that is needed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """`seq2seq`: the exit code."""
    summaries = "\n".join(f"  {name:<14} {summary}" for name, (_, summary) in COMMANDS.items())
    parser = Parser(prog="seq2seq", description=f"{DESCRIPTION}\n\n{summaries}")
    parser.add_argument("--version", action="version", version=f"seq2seq {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", help="seq2seq COMMAND --help says more"
    )
    for name, (command, _) in COMMANDS.items():
        late_epilog = getattr(command, "epilog", None)
        command.add_arguments(commands.add_parser(name, description=command.DESCRIPTION, late_epilog=late_epilog))
    parsed = parser.parse_args(arguments)
    command, _ = COMMANDS[parsed.command]
    program = f"seq2seq {parsed.command}"
    takes_options = command not in (plan, verify_resume)  # not the KEY=VALUE of a training run
    return guarded(program, lambda: command.run(parsed, program), say=as_options if takes_options else str)


def translate(arguments: Sequence[str] | None = None) -> int:
    """`seq2seq-translate`: the exit code."""
    parser = Parser(prog="seq2seq-translate", description=translation.DESCRIPTION, late_epilog=translation.epilog)
    parser.add_argument("--version", action="version", version=f"seq2seq {__version__}")
    translation.add_arguments(parser)
    parsed = parser.parse_args(arguments)
    return guarded("seq2seq-translate", lambda: translation.run(parsed, "seq2seq-translate"), say=as_options)


if __name__ == "__main__":
    sys.exit(main())

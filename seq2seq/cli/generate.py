"""`seq2seq generate`: a language model goes on with a text."""

import argparse
import sys
import time

from seq2seq.cli.answers import load_model
from seq2seq.cli.combining import add_combination_options
from seq2seq.cli.formulas import length_formulas
from seq2seq.cli.options import add_model_options, add_search_options, at_least_one, given_settings
from seq2seq.cli.streams import Output
from seq2seq.data.lines import Note
from seq2seq.data.tokenizer import UNK
from seq2seq.errors import ConfigError

DESCRIPTION = """\
Go on with a text, written as it is made.

  seq2seq generate --ckpt runs/shakespeare_lm/best --prompt "ROMEO:"

The text may grow longer than the context the model was trained with (model.max_length): whenever that is full, the
last half of it is read again and the text goes on from there. Beam search writes each such stretch at its end.

--samples N draws N texts side by side, each the same as if it were drawn alone; they come a stretch at a time.

--draft names a smaller language model with the same tokenizer. It proposes --draft-tokens tokens, which the large one
checks in one step: with --search greedy exactly the text that comes without it (in float32), with --search sample
another text of the same distribution, faster where the small model is fast and often right."""

SETTINGS = [
    "max_new_tokens",
    "min_length",
    "search",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "epsilon_cutoff",
    "beam_size",
    "length_normalisation",
    "length_penalty",
    "patience",
    "no_repeat_ngram_size",
    "repetition_penalty",
    "suppress_tokens",
    "suppress_text",
]
SEPARATOR = "---"

epilog = length_formulas


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model_options(parser, several=True)
    add_combination_options(parser, lm=False)
    group = parser.add_argument_group("text")
    group.add_argument(
        "--prompt", default="", metavar="TEXT", help="how the text begins (default: empty, a new document)"
    )
    group.add_argument("--no-prompt", action="store_true", help="write the new text only, not the prompt before it")
    group.add_argument(
        "--samples",
        "--num-samples",
        type=at_least_one,
        default=1,
        metavar="N",
        help=f"texts to draw side by side and to write one after another, with a line of {SEPARATOR} between; needs "
        "sampling (default: 1)",
    )
    group.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help=r"end where this text would be written, and leave it out; \n is a line break; may be given several times",
    )
    group = parser.add_argument_group("draft")
    group.add_argument(
        "--draft", metavar="FOLDER", help="a checkpoint or run folder of a smaller model (default: none)"
    )
    group.add_argument(
        "--draft-tokens", type=at_least_one, metavar="N", help="tokens it proposes at a time (default: 4)"
    )
    add_search_options(parser, SETTINGS)


def run(arguments: argparse.Namespace, program: str) -> int:
    """Write; returns the exit code."""
    settings = given_settings(arguments, SETTINGS)
    prompt = _utf8(arguments.prompt)
    if arguments.no_prompt and not prompt:
        raise ConfigError("--no-prompt has no effect without --prompt; leave it out.")
    if arguments.draft_tokens and not arguments.draft:
        raise ConfigError("--draft-tokens has no effect without --draft; leave it out.")
    with Output("-") as output:
        model = load_model(arguments)
        draft = (
            load_model(arguments, arguments.draft).as_draft(arguments.draft_tokens or 4) if arguments.draft else None
        )
        if arguments.samples > 1 and model.settings(**settings).search.value != "sample":
            raise ConfigError("--samples has no effect without --search sample: every text would be the same.")
        stop = [_utf8(text).replace(r"\n", "\n") for text in arguments.stop]
        start, characters = time.monotonic(), 0
        texts = model.generate_samples(prompt, samples=arguments.samples, stop=stop, draft=draft, **settings)
        if UNK in model.tokenizers.target.encode(prompt) and not arguments.quiet:
            print(f"{program}: prompt with {Note.unread.value}", file=sys.stderr)
        for sample, pieces in enumerate(texts):
            if sample:
                output.write(f"{SEPARATOR}\n")
            last = "" if arguments.no_prompt else prompt
            output.write(last, lines=0)
            for piece in pieces:
                output.write(piece, lines=0)
                characters += len(piece)
                last = piece
            if not last.endswith("\n"):
                output.write("\n")
    if not arguments.quiet:
        seconds = max(time.monotonic() - start, 1e-9)
        print(f"{program}: {characters:,} characters, {characters / seconds:,.0f} a second", file=sys.stderr)
        if draft is not None and draft.acceptance is not None:
            share = f"{draft.acceptance:.1%} of {draft.proposed:,} proposed tokens"
            print(f"{program}: the model kept {share} of the draft", file=sys.stderr)
    return 0


def _utf8(text: str) -> str:
    """What the shell passes need not be UTF-8."""
    return text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")

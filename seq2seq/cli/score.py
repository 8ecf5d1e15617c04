"""`seq2seq score`: translations by metrics with proof, or given text by a model's probabilities."""

import argparse
import collections
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from seq2seq.cli.answers import how_to_go_on, load_model, odd_lines
from seq2seq.cli.combining import COMBINING, add_combination_options
from seq2seq.cli.judging import Texts, add_metric_options, judge_of, refuse
from seq2seq.cli.options import add_model_options, at_least_one
from seq2seq.cli.resuming import add_resume_option, begin, check_resume
from seq2seq.cli.stops import terminable
from seq2seq.cli.streams import Inputs, Output
from seq2seq.cli.wording import some_lines
from seq2seq.data.lines import Line, Note
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.evaluation.forced import ForcedScore
    from seq2seq.evaluation.scores import Score
    from seq2seq.evaluation.significance import Difference

DESCRIPTION = """\
Score translations:

  seq2seq score --reference test.de --hypothesis out.de --baseline other.de --metrics bleu chrf ter

prints BLEU, chrF and TER by sacreBLEU with signature and 95 % interval (bootstrap over sentences), and beside each
baseline the difference with its p-value (paired bootstrap, or approximate randomisation). Or score text under a model:

  seq2seq score --ckpt runs/multi30k/best --source test.en --target test.de > scores.tsv

writes for each line log-probability (in nats), tokens, and what was odd about it, with tabs between; --per-token adds
the tokens, each PIECE=LOG_PROBABILITY. The perplexity of the text is told on stderr. A language model takes no
--source."""

FILES_ONLY = ("reference", "hypothesis", "metrics", "baseline", "paired", "samples", "comet_model")
MODEL_ONLY = ("target", "per_token", "batch_tokens", "precision", "threads", "resume", *COMBINING)
"""Options that only one of the two uses reads; --source, --device, --json, --output and --quiet serve both."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_file_options(parser)
    add_metric_options(parser)
    add_model_options(parser, required=False, several=True)
    add_combination_options(parser)
    group = parser.add_argument_group("text under a model (with --ckpt)")
    group.add_argument("--source", metavar="FILE", help="what --target translates; with the metric comet, --hypothesis")
    group.add_argument("--target", metavar="FILE", help="text to score, a line at a time, - for stdin")
    group.add_argument("--per-token", action="store_true", help="the tokens of each line with their log-probabilities")
    group.add_argument(
        "--batch-tokens",
        type=at_least_one,
        metavar="N",
        help="padded tokens of a batch, of the longer side; changes speed and memory only (default: the checkpoint's)",
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output",
        default="-",
        metavar="FILE",
        help="file to write, gzip where the name ends in .gz, - for stdout (default: stdout); it has its name when it "
        "is whole",
    )
    add_resume_option(group)
    group.add_argument(
        "--json", action="store_true", help="one JSON object; with --ckpt one for each line, tokens by --per-token"
    )


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """What is scored against what, and beside what."""
    group = parser.add_argument_group("translations")
    group.add_argument(
        "--reference", action="append", metavar="FILE", help="the right translation; again for further ones"
    )
    group.add_argument(
        "--hypothesis",
        metavar="FILE",
        help="translation to score, or the folder of a run, for what seq2seq.evaluate kept there; - for stdin",
    )
    group.add_argument(
        "--baseline", nargs="+", metavar="FILE", help="translations, or folders of runs, to test the difference from"
    )
    group.add_argument(
        "--paired",
        choices=("bootstrap", "randomisation"),
        help="the paired test beside --baseline: bootstrap resampling (default) or approximate randomisation",
    )


def run(arguments: argparse.Namespace, program: str) -> int:
    """Score; returns the exit code."""
    if arguments.ckpt is None:
        refuse(arguments, MODEL_ONLY, "without --ckpt")
        return _score_files(arguments, program)
    refuse(arguments, FILES_ONLY, "with --ckpt, which scores --target under a model")
    return _score_lines(arguments, program)


# ----------------------------------------------------------------- translations


def _score_files(arguments: argparse.Namespace, program: str) -> int:
    from seq2seq.evaluation.significance import Paired

    for name in ("reference", "hypothesis"):
        if not getattr(arguments, name):
            raise ConfigError(
                f"--{name} is missing; name a file (or --ckpt and --target, to score text under a model)."
            )
    if not arguments.baseline:
        refuse(arguments, ("paired", "samples"), "without --baseline")
    names = list(dict.fromkeys(arguments.metrics or ["bleu", "chrf"]))
    if "comet" not in names:
        refuse(arguments, ("comet_model", "source", "device"), "without --metrics comet")
    texts = Texts(program, quiet=arguments.quiet)
    hypothesis = texts.add(arguments.hypothesis)
    references = [texts.add(name, folders=False) for name in arguments.reference]
    baselines = [texts.add(name) for name in arguments.baseline or ()]
    sources = texts.add(arguments.source, folders=False) if arguments.source else None
    texts.keep(arguments.output)
    texts.report()
    judge = judge_of(names, references, sources=sources, comet_model=arguments.comet_model, device=arguments.device)
    with Output(arguments.output) as output:
        scores = judge.scores(hypothesis)
        test = Paired(arguments.paired or "bootstrap")
        differences = (
            judge.differences(hypothesis, baselines, test=test, samples=arguments.samples) if baselines else []
        )
        if arguments.json:
            output.write(_as_json(arguments, hypothesis, scores, differences, test))
        else:
            for line in _as_text(arguments, scores, differences, test):
                output.write(f"{line}\n")
    return 0


def _as_text(
    arguments: argparse.Namespace,
    scores: "dict[str, Score]",
    differences: "list[dict[str, Difference]]",
    test: Any,
) -> Iterator[str]:
    yield arguments.hypothesis
    for score in scores.values():
        yield f"  {score}"
    for name, metrics in zip(arguments.baseline or (), differences, strict=True):
        yield f"beside {name} (paired {test.value})"
        for metric, difference in metrics.items():
            yield f"  {difference.line(scores[metric])}"


def _as_json(
    arguments: argparse.Namespace,
    hypothesis: Sequence[str],
    scores: "dict[str, Score]",
    differences: "list[dict[str, Difference]]",
    test: Any,
) -> str:
    value: dict[str, Any] = {
        "hypothesis": arguments.hypothesis,
        "references": arguments.reference,
        "lines": len(hypothesis),
        "scores": {
            name: {
                "score": score.value,
                "confidence": score.confidence,
                "mean": score.mean,
                "signature": score.signature,
            }
            for name, score in scores.items()
        },
    }
    if arguments.baseline:
        value["paired"] = test.value
        value["baselines"] = [
            {"baseline": name, "metrics": {metric: difference.as_dict() for metric, difference in metrics.items()}}
            for name, metrics in zip(arguments.baseline, differences, strict=True)
        ]
    return json.dumps(value, ensure_ascii=False) + "\n"


# ----------------------------------------------------------- text under a model


def _score_lines(arguments: argparse.Namespace, program: str) -> int:
    if not arguments.target:
        raise ConfigError("--target is missing; name the text to score, or - for stdin.")
    if arguments.source == "-" and arguments.target == "-":
        raise ConfigError("--source and --target cannot both be stdin; name a file for one of them.")
    targets = Inputs([arguments.target])
    sources = Inputs([arguments.source]) if arguments.source else None
    for inputs in (targets, sources):
        if inputs is not None:
            inputs.refuse(arguments.output)
    texts = [targets, sources] if sources is not None else [targets]
    with Output(arguments.output, keep=True) as output, terminable():
        check_resume(arguments, texts, [output])
        model = load_model(arguments)  # after the files: a wrong name shows at once
        total = _Total(program, quiet=arguments.quiet)
        if arguments.resume:
            total.go_on(output.whole_lines(), as_json=arguments.json)
        done = begin(arguments, texts, [(output, 1)], exact_text=False)
        found = model.score_stream(
            total.reading(_lines(targets)),
            None if sources is None else _lines(sources),
            batch_tokens=arguments.batch_tokens,
            done=done,
        )
        try:
            for number, score in enumerate(found, start=done):
                output.write(formatted(number, score, as_json=arguments.json, per_token=arguments.per_token))
                total.add(score)
        except KeyboardInterrupt as stop:
            raise type(stop)(how_to_go_on(output, targets)) from None
    total.end()
    return 0


def _lines(inputs: Inputs) -> Iterable[Line]:
    return (line for line in inputs.lines() if line is not None)


def formatted(number: int, score: "ForcedScore", *, as_json: bool, per_token: bool) -> str:
    """The output for one line, with its line end.

    Args:
        number: of the line, from 0.
        score: what the model says.
        as_json: one JSON object.
        per_token: with the tokens.
    """
    notes = [note.name for note in score.notes]
    if as_json:
        fields: dict[str, Any] = {"line": number, "target": score.target}
        if score.source is not None:
            fields["source"] = score.source
        fields |= {"log_prob": score.log_prob, "tokens": score.tokens, "notes": notes}
        if per_token:
            fields["pieces"], fields["log_probs"] = score.pieces, score.log_probs
        return json.dumps(fields, ensure_ascii=False) + "\n"
    columns = ["nan" if score.log_prob is None else f"{score.log_prob:.6f}", str(score.tokens), ",".join(notes)]
    if per_token:
        columns.append(
            " ".join(
                f"{_visible(piece)}={'nan' if log_prob is None else f'{log_prob:.6f}'}"
                for piece, log_prob in zip(score.pieces, score.log_probs, strict=True)
            )
        )
    return "\t".join(columns) + "\n"


def _figures(line: str, *, as_json: bool) -> tuple[float | None, int, list[Note]]:
    """Log-probability, tokens and notes of a line that `formatted` made.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    if as_json:
        fields = json.loads(line)
        return fields["log_prob"], fields["tokens"], [Note[name] for name in fields["notes"]]
    log_prob, tokens, notes = line.rstrip("\n").split("\t")[:3]
    return (
        None if log_prob == "nan" else float(log_prob),
        int(tokens),
        [Note[name] for name in notes.split(",") if name],
    )


def _visible(piece: str) -> str:
    """A piece without white space and control characters, which part columns, tokens and lines."""
    if piece.isprintable() and " " not in piece:
        return piece
    return "".join(
        "▁" if character == " " else character if character.isprintable() else f"<0x{ord(character):02X}>"
        for character in piece
    )


class _Total:
    """The perplexity of the text, progress and odd lines, on stderr."""

    def __init__(self, program: str, *, quiet: bool) -> None:
        from seq2seq.evaluation.loss import TotalLoss
        from seq2seq.training.report import Progress

        self._program, self._quiet = program, quiet
        self._progress = Progress(wait=True)
        self._start = time.monotonic()
        self._loss = TotalLoss()
        self._lines = self._scored = 0
        self._notes: collections.Counter[Note] = collections.Counter()
        self._scored_before, self._tokens_before = bytearray(), 0

    def go_on(self, lines: Iterable[bytes], *, as_json: bool) -> None:
        """Count the scores that an earlier command wrote."""
        for line in lines:
            try:
                log_prob, tokens, notes = _figures(line.decode(), as_json=as_json)
            except (ValueError, KeyError, TypeError):
                break  # nothing of ours, which the command is about to say
            self._lines += 1
            self._notes.update(notes)
            self._scored_before.append(log_prob is not None)
            if log_prob is not None:
                self._scored += 1
                self._loss.nats -= log_prob
                self._loss.tokens += tokens
        if self._lines and not self._quiet:
            self._progress.say(
                f"{self._program}: going on after {self._lines:,} {'line' if self._lines == 1 else 'lines'}"
            )
        self._tokens_before = self._loss.tokens

    def reading(self, lines: Iterable[Line]) -> Iterator[Line]:
        """The lines, as they are read; their characters count where an earlier command scored them."""
        for number, line in enumerate(lines):
            if number < len(self._scored_before) and self._scored_before[number]:
                self._loss.characters += len(line.text) + 1
            yield line

    def add(self, score: "ForcedScore") -> None:
        """Count a line."""
        self._lines += 1
        self._notes.update(score.notes)
        if score.log_prob is not None:
            self._scored += 1
            self._loss.nats -= score.log_prob
            self._loss.tokens += score.tokens
            self._loss.characters += len(score.target) + 1
        if not self._quiet:
            self._progress.show(f"{self._program}: {some_lines(self._lines)}, {self._speed()}")

    def end(self) -> None:
        """Say what came out."""
        if self._quiet:
            return
        loss = self._loss
        self._progress.say(f"{self._program}: {some_lines(self._lines)}, {self._speed()}")
        self._progress.say(
            f"perplexity {loss.perplexity:.4f}, loss {loss.per_token:.6f} nats a token, "
            f"{loss.per_character or math.nan:.6f} a character, over {loss.tokens:,} tokens of "
            f"{some_lines(self._scored)}"
        )
        for line in odd_lines(self._notes):
            self._progress.say(line)

    def _speed(self) -> str:
        return f"{(self._loss.tokens - self._tokens_before) / max(time.monotonic() - self._start, 1e-9):,.0f} tokens/s"

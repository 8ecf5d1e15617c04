"""The plan of a run as one page for people."""

from collections.abc import Iterator

from seq2seq.config import AUTO, Task
from seq2seq.planning.budget import does_not_fit, reason, unit_of
from seq2seq.planning.parameters import HEAD
from seq2seq.planning.plan import Plan
from seq2seq.planning.statistics import Lengths
from seq2seq.training.report import duration

LABEL, COLUMN = 24, 13
"""Characters of the labels on the left, and of each column of figures."""

RULES = {
    "empty": "a side is empty",
    "too_long": "longer than data.max_length",
    "length_ratio": "beyond data.max_length_ratio",
}
"""What the filter's counts are called; other counts have their own names."""


def page(plan: Plan, *, price_per_hour: float | None = None, currency: str = "") -> str:
    """About 45 lines.

    Args:
        plan: of the run.
        price_per_hour: of the machine.
        currency: of the price.
    """
    sections = (_run(plan), _model(plan), _corpus(plan), _measured(plan), _sizes(plan))
    lines = [line for section in sections for line in (*section, "")]
    return "\n".join([*lines, *_ahead(plan, price_per_hour, currency)]) + "\n"


def _run(plan: Plan) -> Iterator[str]:
    precision = str(plan.dtype).removeprefix("torch.")
    threads = f", {_many(plan.threads, 'thread')}" if plan.device.type == "cpu" else ""
    yield _line("run", f"{plan.config.run_dir}: {plan.config.task.value} on {plan.device}, {precision}{threads}")
    there = plan.there
    if there is None:
        yield _line("there now", "nothing; training would begin")
    elif there.hindrance is None:
        yield _line("there now", f"a run; training would go on from step {there.progress.step:,} ({there.checkpoint})")
    else:
        yield _line("there now", f"a run that training would not go on with. {there.hindrance}")


def _model(plan: Plan) -> Iterator[str]:
    parameters = plan.model.parameters
    total = sum(parameters.values())
    yield _line("MODEL", _columns("parameters", "share"))
    for name, count in parameters.items():
        shared = "  shared with the embeddings" if name == HEAD and count == 0 else ""
        yield _line(name, _columns(f"{count:,}", f"{count / total:.1%}") + shared)
    yield _line("total", _columns(f"{total:,}", "100.0%"))
    weights, state = plan.model.weight_bytes, plan.optimizer_bytes
    yield _line(
        "memory", f"optimiser {_size(state)}; checkpoints: best/ {_size(weights)}, last/ {_size(weights + state)}"
    )


def _corpus(plan: Plan) -> Iterator[str]:
    corpus, training = plan.corpus, plan.config.training
    sides = {name: side for name, side in (("source", corpus.source), ("target", corpus.target)) if side is not None}
    if plan.config.task is Task.language_modelling:
        yield _line("CORPUS", f"{corpus.tokens:,} tokens ({plan.corpus_name})")
    else:
        yield _line("CORPUS", f"{corpus.examples:,} {_examples(plan)} ({plan.corpus_name})")
    if corpus.dropped is not None:
        counts = {name: count for name, count in corpus.dropped.items() if name not in ("read", "kept")}
        rules = "; ".join(f"{RULES.get(name, name)} {count:,}" for name, count in counts.items())
        yield _line("dropped", f"{sum(counts.values()):,} of {corpus.dropped['read']:,}: {rules}")
    if sides:
        yield _line("tokens of a line", _columns("in all", "mean", "median", "95th %", "99th %", "longest"))
        for name, side in sides.items():
            yield _line(f"  {name}", _lengths(side))
    epoch = plan.epoch
    batches = _many(epoch.batches, "micro-batch", "micro-batches")
    yield _line(
        "epoch",
        f"{epoch.target_tokens:,} {unit_of(plan.config.task)} in {batches} of "
        f"{training.token_budget:,} tokens, {epoch.padding:.1%} padding",
    )


def _measured(plan: Plan) -> Iterator[str]:
    training, speed = plan.config.training, plan.speed
    auto = " (chosen by auto)" if plan.asked_batch_tokens == AUTO else ""
    yield _line("MEASURED", f"with training.batch_tokens={training.token_budget}{auto}, in a process thrown away")
    worst = plan.epoch.worst()[0]
    rows, length = int(plan.epoch.rows[worst]), int(plan.epoch.lengths[worst])
    limit = "" if plan.memory_limit is None else f" of {_size(plan.memory_limit)}"
    if speed is None or plan.peak_memory is None:
        yield _line("memory", f"the worst batch ({rows:,} x {length:,} tokens) does not fit into{limit[3:]}")
        return
    micro = f" of {training.accumulation} micro-batches" if training.accumulation > 1 else ""
    yield _line(
        "speed",
        f"{speed.tokens_per_second:,.0f} {unit_of(plan.config.task)}/s; {speed.step_seconds:.3f} s a step{micro}, "
        f"median of {speed.steps}",
    )
    yield _line("memory", f"{_size(plan.peak_memory)}{limit} in the worst batch ({rows:,} x {length:,} padded tokens)")


def _sizes(plan: Plan) -> Iterator[str]:
    survey = plan.survey
    trials = plan.sizes[-8:]
    yield _line("BATCH SIZES", _columns(*(f"{trial.batch_tokens:,}" for trial in trials)) + "  tokens")
    rates = (f"{trial.rate:,.0f}" if trial.speed else "does not fit" for trial in trials)
    yield _line("speed", _columns(*rates) + f"  {unit_of(plan.config.task)}/s")
    peaks = (_size(trial.peak_memory) if trial.peak_memory else "-" for trial in trials)
    yield _line("memory", _columns(*peaks) + "  at most")
    if survey.largest is None:
        yield _line("largest that fits", does_not_fit(plan.memory_limit))
        return
    yield _line("largest that fits", f"{survey.largest:,} tokens of those tried; {survey.end.value}")
    yield _line("auto would take", f"{survey.chosen().batch_tokens:,}: {reason(survey, unit_of(plan.config.task))}")


def _ahead(plan: Plan, price_per_hour: float | None, currency: str) -> Iterator[str]:
    ahead, training = plan.forecast, plan.config.training
    if ahead is None:
        yield _line("AHEAD", "not known: the run would fail; lower training.batch_tokens")
        return
    progress = plan.there.progress if plan.there is not None and plan.there.hindrance is None else None
    done = progress.step if progress is not None else 0
    ends = " or ".join(
        f"training.{name}={getattr(training, name):g}"
        for name in ("steps", "minutes")
        if getattr(training, name) is not None
    )
    left = f", {ahead.steps - done:,} of them to come" if done else ""
    yield _line("AHEAD", f"{ahead.steps:,} steps{left}, {ahead.epochs:,.1f} epochs (until {ends})")
    if progress is None or progress.validation_seconds is None:
        known = f"{_many(ahead.validations, 'validation')} not in it: how long one takes shows only in training"
        if training.minutes is not None:
            known = f"{_many(ahead.validations, 'validation')} in it, of unknown length: the steps become fewer"
    else:
        each = duration(progress.validation_seconds)
        known = f"{_many(ahead.validations, 'validation')} of {each} in it, like the newest"
    early = "; training.patience may end it earlier" if training.patience else ""
    yield _line("time to the end", f"{duration(ahead.seconds)}, {known}{early}")
    if ahead.cost is not None and price_per_hour is not None:
        unit = f" {currency}" if currency else ""
        yield _line("cost to the end", f"{ahead.cost:,.2f}{unit} at {price_per_hour:,.2f}{unit} an hour")


def _examples(plan: Plan) -> str:
    return "pairs" if plan.config.task is Task.translation else "lines"


def _lengths(side: Lengths) -> str:
    shares = (side.median, side.percentile_95, side.percentile_99, side.longest)
    return _columns(f"{side.tokens:,}", f"{side.mean:.1f}", *(f"{value:,.0f}" for value in shares))


def _line(label: str, text: str) -> str:
    return f"{label:<{LABEL}}{text}".rstrip()


def _columns(*cells: str) -> str:
    return "".join(f"{cell:>{COLUMN}}" for cell in cells)


def _many(count: int, one: str, more: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def _size(count: int) -> str:
    """Bytes in a unit that suits them."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"

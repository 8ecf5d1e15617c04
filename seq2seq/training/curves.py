"""The curves of a run as one picture: loss, validation scores and learning rate by step."""

import io
import json
from pathlib import Path
from typing import Any

from seq2seq.files import write_bytes


def draw_curves(metrics_lines: Path, picture: Path) -> None:
    """Draw metrics.jsonl into a PNG.

    Args:
        metrics_lines: written by `MetricsLog`.
        picture: the PNG to write, whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = [json.loads(line) for line in metrics_lines.read_bytes().splitlines()]
    train = [record for record in records if record["kind"] == "train"]
    valid = [record for record in records if record["kind"] == "valid"]
    scores = [name for name in ("bleu", "chrf", "accuracy") if any(name in record for record in valid)]
    figure = Figure(figsize=(5 * (2 + bool(scores)), 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(1, 2 + bool(scores)))
    _line(panels[0], train, "nll", "training")
    _line(panels[0], valid, "loss", "validation")
    panels[0].set_title("loss (nats a token)")
    if scores:
        for name in scores:
            _line(panels[1], valid, name, name)
        panels[1].set_title("validation scores")
    _line(panels[-1], train, "learning_rate", "learning rate")
    panels[-1].set_title("learning rate")
    for panel in panels:
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
        if panel.has_data():
            panel.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_bytes(picture, content.getvalue())


def _line(panel: Any, records: list[dict[str, Any]], name: str, label: str) -> None:
    points = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    if points:
        panel.plot(*zip(*points, strict=True), label=label, marker="o" if len(points) < 20 else None, markersize=3)

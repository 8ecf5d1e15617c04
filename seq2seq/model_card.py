"""The README.md of a checkpoint: what it is, what it was trained on, how good it is, how to use it."""

from typing import Any

from seq2seq import __version__
from seq2seq.config import Config, Task

ABOUT_CORPUS = {
    "sample": "the **embedded sample corpus** (made text, not a real corpus: the hub could not be reached or `sample` "
    "was asked for). Its scores say nothing about real text.",
    "hub": "text from the Hugging Face hub",
    "files": "local files",
}


def model_card(config: Config, *, corpus: str, parameters: int, metrics: dict[str, Any] | None = None) -> str:
    """Markdown for people.

    Args:
        config: the run.
        corpus: sample, hub or files.
        parameters: of the model.
        metrics: final scores, where the run has ended.
    """
    direction = f", {config.data.source_language} to {config.data.target_language}" * (config.task is Task.translation)
    use = {
        Task.translation: 'seq2seq.load("THIS FOLDER").translate(["..."])',
        Task.language_modelling: '"".join(seq2seq.load("THIS FOLDER").generate("..."))',
        Task.classification: 'seq2seq.load("THIS FOLDER").predict(["..."])',
        Task.tagging: 'seq2seq.load("THIS FOLDER").predict(["..."])',
    }[config.task]
    lines = [
        f"# {config.task.value.replace('_', ' ').capitalize()}{direction}",
        "",
        f"Trained with seq2seq {__version__}: {parameters:,} parameters.",
        "",
        f"- corpus: `{corpus}`: {ABOUT_CORPUS[corpus]}",
        f"- training text: `{config.data.train}`",
        "- every setting: `config.json`; scores: `metrics.json`; checksums: `manifest.json`",
        "",
        "```python",
        "import seq2seq",
        "",
        use,
        "```",
    ]
    for split in ("valid", "test"):
        figures = (metrics or {}).get(split)
        if figures:
            lines += ["", f"## {split}", ""]
            lines += [f"- {name}: {value}" for name, value in figures.items()]
    return "\n".join(lines) + "\n"

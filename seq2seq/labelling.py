"""Labels of lines, or of their words, line by line."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from seq2seq.answering import Answer, Candidate
from seq2seq.config import Task
from seq2seq.data.lines import Line, Note, one_line
from seq2seq.data.pieces import Piece
from seq2seq.signals.bounds import Bounds
from seq2seq.trained import Trained


def labelled(
    trained: Trained,
    lines: Iterable[Line | str | None],
    *,
    batch_tokens: int | None = None,
    bounds: Bounds | None = None,
    done: int | None = None,
) -> Iterator[Answer]:
    """An answer with labels for each line; arguments as for `Translator.predict_stream`."""
    trained.check_task(Task.classification, Task.tagging)

    def whole(found: list[Tensor]) -> Tensor:
        log_probs = torch.cat(found)
        if trained.config.task is Task.classification:  # the pieces of a split line judge together
            log_probs = log_probs.sum(dim=0, keepdim=True).log_softmax(dim=1)
        return log_probs

    def answer(line: Line, notes: tuple[Note, ...], found: list[Tensor]) -> Answer:
        if not found:
            return Answer(line.text, (Candidate("", 0.0, 0.0, 0),), notes)
        best, labels = whole(found).max(dim=1)
        text, total = trained.tokenizers.target.decode(labels.tolist()), float(best.sum())
        return Answer(line.text, (Candidate(one_line(text), total, total, len(labels)),), notes)

    budget = batch_tokens or trained.config.decoding.batch_tokens
    join = trained.inspector(bounds).of_labels(answer, trained.cut, whole=whole, first=done or 0)
    return trained.answers(lines, partial(label_scores, trained), join, budget=budget, done=done)


@torch.inference_mode()
def label_scores(trained: Trained, pieces: Sequence[Piece]) -> tuple[list[Tensor], list[float]]:
    """Log-probabilities of labels for each piece, (1, labels) or for tagging (words, labels), and leads in nats."""
    source, source_mask = trained.source(pieces)
    log_probs = trained.model(source, source_mask=source_mask).log_softmax(dim=-1, dtype=torch.float32).cpu()
    if trained.config.task is Task.tagging:
        found = [log_probs[row, list(piece.words)] for row, piece in enumerate(pieces)]
    else:
        found = list(log_probs.unsqueeze(1))
    if log_probs.shape[-1] == 1:
        return found, [math.inf] * len(pieces)
    leads = [rows.topk(2, dim=1).values for rows in found]
    return found, [float((lead[:, 0] - lead[:, 1]).min()) for lead in leads]

"""Rules against saying things twice."""

from collections.abc import Sequence

import torch
from torch import Tensor

from seq2seq.decoding.logits import NEVER


class NoRepeatNgram:
    """No run of `size` tokens is written twice (Paulus et al. 2018, "A Deep Reinforced Model", section 2.5).

    Args:
        size: of the runs, 1 or more; 1 lets no token be written twice. The end token is written once anyway.
        past: ids that count as written before every row.

    Raises:
        ValueError: size is below 1.
    """

    stretch = 1.0

    def __init__(self, size: int, *, past: Sequence[int] = ()) -> None:
        if size < 1:
            raise ValueError(f"no_repeat_ngram_size ({size}) must be at least 1")
        self.size, self.past = size, past

    def __call__(self, log_probs: Tensor, written: Tensor, sentences: Tensor) -> Tensor:
        """Strike out what would end a run that is there already; see Rule."""
        written = with_past(written, self.past)
        if written.shape[1] < self.size:
            return log_probs
        runs = written.unfold(1, self.size, 1)  # (rows, runs, size)
        begun = written[:, written.shape[1] - self.size + 1 :].unsqueeze(1)  # all but the last token of a next run
        again = (runs[:, :, :-1] == begun).all(dim=2)
        rows, places = again.nonzero(as_tuple=True)
        log_probs[rows, runs[rows, places, -1]] = NEVER
        return log_probs


class RepetitionPenalty:
    """The log-probability of every token that was written before is multiplied by `penalty` (Keskar et al. 2019).

    The paper divides logits, which are positive or negative as the model happens to be built. Log-probabilities are
    never positive, so there a penalty above 1 always makes a token less likely. This is what Hugging Face does in beam
    search; its greedy search and sampling treat logits, by their sign.

    Args:
        penalty: above 0; above 1 against repetition (the paper has 1.2), below 1 in favour of it.
        past: ids that count as written before every row.

    Raises:
        ValueError: penalty is not above 0.
    """

    def __init__(self, penalty: float, *, past: Sequence[int] = ()) -> None:
        if not penalty > 0:
            raise ValueError(f"repetition_penalty ({penalty}) must be above 0")
        self.penalty, self.past = penalty, past
        self.stretch = max(1.0, penalty)

    def __call__(self, log_probs: Tensor, written: Tensor, sentences: Tensor) -> Tensor:
        """Multiply, each token once however often it was written; see Rule."""
        written = with_past(written, self.past)
        return log_probs.scatter(1, written, log_probs.gather(1, written) * self.penalty)


def with_past(written: Tensor, past: Sequence[int]) -> Tensor:
    """What was written, (rows, length), behind the ids that come before every row."""
    if not past:
        return written
    before = torch.tensor(past, dtype=written.dtype, device=written.device)
    return torch.cat([before.expand(len(written), -1), written], dim=1)

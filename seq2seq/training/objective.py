"""What a step minimises: one module from batch to loss.

What wraps it to train on several ranks (DistributedDataParallel, FSDP) so holds the loss as well; training.compile
reaches into the model instead, to its layers, and leaves the loss as it is.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from seq2seq.data.batch import Batch
from seq2seq.training.loss import batch_loss


class Objective(nn.Module):
    """Label-smoothed cross-entropy of a model's head on a batch.

    Args:
        model: any of the models.
        label_smoothing: as in `loss.linear_cross_entropy`.
    """

    def __init__(self, model: nn.Module, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss to minimise and the negative log-likelihood, in nats, summed over `batch.num_tokens` targets."""
        return batch_loss(self.model, batch, label_smoothing=self.label_smoothing)

    if TYPE_CHECKING:
        __call__ = forward

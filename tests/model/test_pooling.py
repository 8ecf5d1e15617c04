"""Poolings by their definition."""

import torch

from seq2seq.config import Pooling
from seq2seq.model.pooling import POOLINGS


def test_the_table_has_the_keys_of_the_setting() -> None:
    assert list(POOLINGS) == [kind.value for kind in Pooling]


def test_mean_and_first() -> None:
    x = torch.randn(3, 4, 2)
    mask = torch.arange(4) < torch.tensor([[4], [2], [0]])
    mean = POOLINGS["mean"](x, mask)
    torch.testing.assert_close(mean[0], x[0].mean(0))
    torch.testing.assert_close(mean[1], x[1, :2].mean(0))
    assert (mean[2] == 0).all()
    torch.testing.assert_close(POOLINGS["mean"](x, None), x.mean(1))
    torch.testing.assert_close(POOLINGS["first"](x, mask), x[:, 0])

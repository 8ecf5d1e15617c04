"""The order in which a search goes on with the rows that have not ended."""

import torch
from torch import Tensor


def remaining(going_on: Tensor) -> Tensor:
    """Numbers of the rows that go on: each in its place, but the last ones in the places of rows that ended.

    So a state moves as few rows as it can: with every row in its order each end of a text would move all behind it,
    keys and values too, which took a tenth of the time of greedy search.

    Args:
        going_on: bool (rows,)

    Returns:
        int64 (rows that go on,)
    """
    kept = going_on.nonzero().squeeze(1)
    order = torch.arange(len(kept), device=going_on.device)
    free = (~going_on[: len(kept)]).nonzero().squeeze(1)
    order[free] = kept[len(kept) - len(free) :]
    return order

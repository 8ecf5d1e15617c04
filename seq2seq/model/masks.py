"""Who may attend to whom: causal order, local windows and padding as one mask, or none where none is needed.

Masks are bool, True = may attend, and broadcast to (batch, heads, query_length, key_length). With an ALiBi bias the
mask is a float of that shape, added to the scores, minus infinity where attention is forbidden.
"""

import torch
from torch import Tensor


def padding_mask(real: Tensor | None) -> Tensor | None:
    """Mask that hides padding keys.

    Args:
        real: bool (batch, key_length), True = a real token; None = no padding.

    Returns:
        bool (batch, 1, 1, key_length), or None.
    """
    return None if real is None else real[:, None, None, :]


def order_mask(
    query_length: int, key_length: int, *, causal: bool, window: int | None, device: torch.device
) -> Tensor | None:
    """Mask from the order of positions; the last query stands at the last key.

    Args:
        query_length: number of queries; they are the last positions of the keys.
        key_length: number of keys, at least query_length.
        causal: forbid keys after the query.
        window: forbid keys more than this many positions away (behind, when causal); None forbids none.
        device: where the mask is made.

    Returns:
        bool (query_length, key_length), or None when every query may attend to every key.
    """
    hides_future = causal and query_length > 1
    hides_far = window is not None and key_length - 1 > window
    if not hides_future and not hides_far:
        return None
    distance = distances(query_length, key_length, device=device)
    allowed = distance >= 0 if causal else None
    if window is not None:
        near = distance.abs() <= window
        allowed = near if allowed is None else allowed & near
    return allowed


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A bool mask as what is added to scores: 0 where attention is allowed, minus infinity elsewhere."""
    return mask.to(dtype).log_()


def distances(query_length: int, key_length: int, *, device: torch.device) -> Tensor:
    """How many positions each key lies behind each query: int64 (query_length, key_length)."""
    key = torch.arange(key_length, device=device)
    return key[key_length - query_length :, None] - key


def self_attention_mask(
    query_length: int,
    key_length: int,
    *,
    causal: bool,
    window: int | None = None,
    padding: Tensor | None = None,
    bias: Tensor | None = None,
    device: torch.device,
) -> tuple[Tensor | None, bool]:
    """The mask of one self-attention, and whether the kernel's own causal flag replaces it.

    Args:
        query_length: number of queries; they are the last positions of the keys.
        key_length: number of keys, at least query_length.
        causal: forbid keys after the query.
        window: forbid keys more than this many positions away (behind, when causal); None forbids none.
        padding: bool (batch, 1, 1, key_length), True = may attend; None = no padding.
        bias: (heads, query_length, key_length), added to the scores.
        device: where the mask is made.

    Returns:
        The mask (None when nothing is forbidden or the flag says it all), and the flag.
    """
    is_windowed = window is not None and key_length - 1 > window
    if causal and not is_windowed and query_length == key_length > 1 and padding is None and bias is None:
        return None, True
    mask = order_mask(query_length, key_length, causal=causal, window=window, device=device)
    if padding is not None:
        mask = padding if mask is None else mask & padding
    if bias is not None:
        mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    return mask, False

"""Where a model's parameters are."""

from torch import nn

from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.feed_forward import FeedForward, GatedFeedForward
from seq2seq.model.norm import RMSNorm
from seq2seq.model.positions import Positions

HEAD = "head"


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """How many parameters each part has; a matrix that two parts share is counted with the first, so 0 is a part too.

    Args:
        model: any of the models.
    """
    parts: dict[str, int] = {}
    seen: set[int] = set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        part = _part(model, name)
        parts[part] = parts.get(part, 0) + (0 if id(parameter) in seen else parameter.numel())
        seen.add(id(parameter))
    norms, head = parts.pop("norms", None), parts.pop(HEAD, None)  # last, as they are small and come in between
    return parts | {name: count for name, count in (("norms", norms), (HEAD, head)) if count is not None}


def _part(model: nn.Module, name: str) -> str:
    """The part that a parameter belongs to, by the outermost module that says so."""
    path = name.split(".")
    for depth in range(1, len(path)):
        module = model.get_submodule(".".join(path[:depth]))
        if isinstance(module, MultiHeadAttention):
            return "cross-attention" if module.cross else f"{path[0]} attention"
        if isinstance(module, FeedForward | GatedFeedForward):
            return f"{path[0]} feed-forward"
        if isinstance(module, nn.LayerNorm | RMSNorm):
            return "norms"
        if isinstance(module, nn.Embedding):
            return "embeddings"
        if isinstance(module, Positions):
            return "positions"
    return path[0]

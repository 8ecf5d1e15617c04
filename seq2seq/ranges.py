"""What a settings dataclass says about itself: the range of each number, and whether a value has been changed."""

import dataclasses
import json
import math
import operator
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

BOUNDS = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt}


def number(default: Any, *, or_word: str | None = None, **limits: float) -> Any:
    """A numeric field with its range.

    Args:
        default: its value when nothing sets it; None where the field's type allows it.
        or_word: the one word that may stand in the number's place, in a field of type `int | str`.
        limits: any of BOUNDS.
    """
    assert limits.keys() <= BOUNDS.keys()
    return dataclasses.field(default=default, metadata=limits if or_word is None else {**limits, "or_word": or_word})


def limits_of(item: "dataclasses.Field[Any]") -> dict[str, float]:
    """The bounds that a field made by `number` declares; none of other fields."""
    return {name: limit for name, limit in item.metadata.items() if name in BOUNDS}


def outside_ranges(part: Any, prefix: str) -> Iterator[str]:
    """A sentence on each number outside the range of its field.

    Args:
        part: a dataclass with fields made by `number`.
        prefix: of its keys, "model." for example.
    """
    for item in dataclasses.fields(part):
        value, limits = getattr(part, item.name), limits_of(item)
        word = item.metadata.get("or_word")
        if not limits or value is None or value == word:
            continue
        if isinstance(value, str):
            yield f"{prefix}{item.name} ({value}) must be a whole number or {word}."
        elif not math.isfinite(value):
            yield f"{prefix}{item.name} ({value}) must be a finite number."
        elif not all(BOUNDS[bound](value, limit) for bound, limit in limits.items()):
            allowed = " and ".join(f"{bound.replace('_', ' ')} {limit}" for bound, limit in limits.items())
            other = "null" if type(None) in typing.get_args(item.type) else word
            yield f"{prefix}{item.name} ({value}) must be {allowed}{f', or {other}' if other else ''}."


def without_effect(part: Any, prefix: str, names: Iterable[str], where: str) -> Iterator[str]:
    """A sentence on each of these settings that differs from its default, though nothing reads it.

    Args:
        part: a dataclass with a default for every field.
        prefix: of its keys.
        names: of the fields.
        where: ends "... has no effect".
    """
    untouched = type(part)()
    for name in names:
        value, default = getattr(part, name), getattr(untouched, name)
        if value != default:
            yield f"{prefix}{name}={_shown(value)} has no effect {where}; leave it at {_shown(default)}."


def _shown(value: Any) -> str:
    """A value as the command line and YAML write it."""
    if isinstance(value, Enum):
        return str(value.value)
    return value if isinstance(value, str) else json.dumps(value)

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


def number(default: Any, **limits: float) -> Any:
    """A numeric field with its range.

    Args:
        default: its value when nothing sets it; None where the field's type allows it.
        limits: any of BOUNDS.
    """
    assert limits.keys() <= BOUNDS.keys()
    return dataclasses.field(default=default, metadata=limits)


def outside_ranges(part: Any, prefix: str) -> Iterator[str]:
    """A sentence on each number outside the range of its field.

    Args:
        part: a dataclass with fields made by `number`.
        prefix: of its keys, "model." for example.
    """
    for item in dataclasses.fields(part):
        value = getattr(part, item.name)
        if not item.metadata or value is None:
            continue
        if not math.isfinite(value):
            yield f"{prefix}{item.name} ({value}) must be a finite number."
        elif not all(BOUNDS[bound](value, limit) for bound, limit in item.metadata.items()):
            allowed = " and ".join(f"{bound.replace('_', ' ')} {limit}" for bound, limit in item.metadata.items())
            or_null = ", or null" if type(None) in typing.get_args(item.type) else ""
            yield f"{prefix}{item.name} ({value}) must be {allowed}{or_null}."


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

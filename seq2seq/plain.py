"""Settings as plain JSON values and back: how a checkpoint keeps them."""

import dataclasses
import json
import types
import typing
from enum import Enum
from typing import Any

from seq2seq.errors import ConfigError


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values (enums by name)."""
    plain = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    assert isinstance(plain, dict)
    return plain


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested JSON values by dotted key."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def from_dict(schema: type[Any], values: dict[str, Any], *, prefix: str = "") -> Any:
    """The inverse of `to_dict`; settings that are not among the values have their defaults.

    Values are taken as they are: unlike in YAML, `${...}` in a checkpoint's text refers to nothing.

    Args:
        schema: a configuration dataclass.
        values: plain JSON values.
        prefix: of the keys, in messages.

    Raises:
        ConfigError: a key that `schema` does not have, or a value of the wrong type.
    """
    kinds = {item.name: item.type for item in dataclasses.fields(schema)}
    if not isinstance(values, dict):
        raise ConfigError(f"{prefix.rstrip('.') or 'the configuration'} ({values!r}) must be a group of settings.")
    if unknown := sorted(values.keys() - kinds.keys()):
        raise ConfigError(f"{prefix}{unknown[0]}: there is no such setting.")
    return schema(**{name: _from_plain(kinds[name], value, prefix + name) for name, value in values.items()})


def _from_plain(kind: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        return from_dict(kind, value, prefix=f"{key}.")
    if isinstance(kind, type) and issubclass(kind, Enum):
        if value not in [choice.value for choice in kind]:
            raise ConfigError(f"{key} ({value}) must be one of {', '.join(choice.value for choice in kind)}.")
        return kind(value)
    alternatives = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if float in alternatives and type(value) is int:
        value = float(value)
    if Any not in alternatives and type(value) not in [typing.get_origin(one) or one for one in alternatives]:
        raise ConfigError(f"{key} ({value!r}) must be of type {getattr(kind, '__name__', kind)}.")
    return value

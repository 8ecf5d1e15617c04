"""From a command line to a checked configuration: Hydra's errors as one sentence each, naming the nearest key."""

import dataclasses
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from seq2seq.config import AUTO, Config
from seq2seq.errors import ConfigError, Seq2SeqError, nearest
from seq2seq.plain import flat, to_dict

HYDRA_FLAGS = (
    *("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "--resolve", "-p", "--package", "-r", "--run"),
    *("-m", "--multirun", "-sc", "--shell-completion", "-cp", "--config-path", "-cn", "--config-name", "-cd"),
    *("--config-dir", "--experimental-rerun", "-i", "--info"),
)
"""Options that Hydra itself reads."""

KINDS = {
    "integer": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "boolean": "true or false",
    "union[int, str]": f"a whole number or {AUTO}",
}
"""OmegaConf's names of types in plain words."""


def conf_dir() -> str:
    """The folder of the YAML files: inside an installed package, or beside the package in a checkout.

    Raises:
        ConfigError: neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return str(folder)
    raise ConfigError(f"{package}: the conf/ folder with train.yaml is missing; install seq2seq again.")


def hydra_flags(arguments: Iterable[str]) -> list[str]:
    """The arguments that are options of Hydra's own, such as --help or --cfg.

    Raises:
        ConfigError: one looks like an option and is none.
    """
    flags = [argument for argument in arguments if argument.startswith("-")]
    for flag in flags:
        if flag.partition("=")[0] not in HYDRA_FLAGS:
            key = flag.partition("=")[0].lstrip("-").replace("-", "_")
            raise ConfigError(f"{flag}: there is no such option; settings are written KEY=VALUE, here {key}=...")
    return flags


def register_schemas(**schemas: type[Any]) -> None:
    """Make dataclasses known to Hydra, so that every key and type is checked at composition."""
    for name, schema in {"schema": Config, **schemas}.items():
        ConfigStore.instance().store(name=name, node=schema)


def recipes() -> dict[str, str]:
    """The recipes that ship, each with its one-line description from the top of its file."""
    found = {}
    for path in sorted(Path(conf_dir(), "recipe").glob("*.yaml")):
        comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
        found[path.stem] = next(line[2:] for line in comments if "@package" not in line)
    return found


def check(name: str, overrides: list[str], schema: type[Any] = Config) -> Any:
    """Compose conf/NAME.yaml with overrides and check it, before any work starts.

    Raises:
        ConfigError: an unknown key, a wrong type or an impossible value; every message names the key and the fix.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=conf_dir()):
            composed = compose(name, overrides=overrides)
    except (
        HydraException,
        OmegaConfBaseException,
        ValueError,
        TypeError,
    ) as error:  # the last two: model=null, model=[1]
        raise ConfigError(explain(error, overrides, schema)) from error
    finally:
        GlobalHydra.instance().clear()
    return checked(composed, schema)


def names_a_text(overrides: Iterable[str]) -> bool:
    """Whether the words of a command line choose what to train on: a recipe, or a text of their own."""
    return any(override.startswith(("+recipe=", "recipe=", "data.train=")) for override in overrides)


def run_config(overrides: list[str], program: str) -> Config:
    """The checked configuration of a training run, from the words that `python -m seq2seq.train` takes.

    Args:
        overrides: `+recipe=NAME` and `key=value`.
        program: named in the example of a message.

    Raises:
        ConfigError: there is no text to train on, or as `check`.
    """
    register_schemas()
    if not names_a_text(overrides):
        raise ConfigError(f"no recipe and no data.train; for example {program} +recipe=wmt_small")
    config = check("train", overrides)
    assert isinstance(config, Config)
    return config


def overrides_of(config: Config) -> list[str]:
    """The words after `python -m seq2seq.train` that make a configuration: what differs from conf/train.yaml."""
    GlobalHydra.instance().clear()
    register_schemas()
    with initialize_config_dir(version_base="1.3", config_dir=conf_dir()):
        defaults = flat(to_dict(OmegaConf.to_object(compose("train"))))
    GlobalHydra.instance().clear()
    return [f"{key}={_written(value)}" for key, value in flat(to_dict(config)).items() if value != defaults[key]]


def _written(value: Any) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    plain = re.fullmatch(r"[A-Za-z_/.][A-Za-z0-9_/.-]*", value) and value.lower() not in (
        "null",
        "true",
        "false",
        "nan",
        "inf",
    )
    if plain:
        return value
    # backslashes are themselves, except before a quote
    return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + (found[2] and '\\"'), value) + '"'


def checked(composed: DictConfig, schema: type[Any] = Config) -> Any:
    """A composed configuration as a checked dataclass; see `typed`.

    Raises:
        ConfigError: as `check`.
    """
    known = set(keys_of(schema))
    if unknown := [key for key in _keys(composed) if key not in known]:
        raise ConfigError([_no_such_setting(key, schema) for key in unknown])
    try:
        return typed(composed, schema)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, [], schema)) from error


def typed(composed: DictConfig, schema: type[Any] = Config) -> Any:
    """A composed Hydra configuration as a checked instance of `schema`.

    Raises:
        ConfigError: all impossible values and combinations, one sentence each.
    """
    config = OmegaConf.to_object(composed)
    assert isinstance(config, schema)
    if problems := list(config.problems()):
        raise ConfigError(problems)
    return config


def keys_of(schema: type[Any], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a configuration dataclass, groups included."""
    for item in dataclasses.fields(schema):
        yield prefix + item.name
        if dataclasses.is_dataclass(item.type):
            assert isinstance(item.type, type)
            yield from keys_of(item.type, f"{prefix}{item.name}.")


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every dotted key, without the groups that hold others."""
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and len(child):
            yield from _keys(child, f"{prefix}{key!s}.")
        else:
            yield f"{prefix}{key!s}"


def explain(error: Exception, overrides: Iterable[str], schema: type[Any]) -> str:
    """Hydra's or OmegaConf's message as one sentence that names the key, the value and the fix."""
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: this is not of the form key=value; a value with spaces, commas or other special "
            "characters needs quotes inside the shell's, for example 'data.train=\"my corpus/train\"'."
        )
    if isinstance(error, MissingConfigException):
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return _no_such_choice(group, choice)
    given = {override.partition("=")[0].lstrip("+~"): override for override in overrides}
    # Hydra's message says what it was doing; the OmegaConf error behind it says which key and why.
    cause = next((e for e in (error, error.__context__) if isinstance(e, OmegaConfBaseException)), error)
    key = str(getattr(cause, "full_key", None) or "")
    reason = (str(cause).splitlines() or [type(cause).__name__])[0].rstrip(".")
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return _no_such_setting(next((name for name in given if name.startswith(f"{key}.")), key), schema)
    for name, override in given.items():
        value = override.partition("=")[2]
        if f"'{name}'. No match in the defaults list" in reason:
            return f"{override}: {name} is not chosen yet, so it is added with a plus sign: +{name}={value}"
        if f"An item is already at '{name}'" in reason:
            return f"{override}: this setting is there already; write it without the plus sign: {name}={value}"
        if override in reason and "Ambiguous value" in reason:
            return f"{override}: write a list in brackets, {name}=[{value}], and a comma inside text in quotes."
        if isinstance(error, ValueError | TypeError) and Path(conf_dir(), name).is_dir():
            return _no_such_choice(name, value)
    wrong_type = r"of type '\w+' could not be converted to|is not a valid|of type '\w+' is incompatible with type hint"
    if found := re.match(rf"Value '(.*)' (?:{wrong_type}) (?:'(Union\[[^']*)|(\w+))", reason):
        kind = found[2] or found[3]
        return f"{key} ({found[1]}) must be {KINDS.get(kind.lower(), f'of type {kind}')}."
    if found := re.fullmatch(r"Invalid value '(.*)', expected one of \[(.*)\]", reason):
        close = nearest(found[1], found[2].split(", "))
        return f"{key} ({found[1]}) must be one of {found[2]}{f'; did you mean {close}?' if close else '.'}"
    if "is not Optional" in reason:
        return f"{key}: null is not possible here; give it a value."
    return f"{key}: {reason}." if key and key not in reason else f"{reason}."


def _no_such_setting(key: str, schema: type[Any]) -> str:
    """A sentence with the key that was probably meant: in the same group, else spelled alike in any."""
    group, _, name = key.rpartition(".")
    known = list(keys_of(schema))
    groups = {other.rpartition(".")[0] for other in known}
    settings = [other for other in known if other not in groups]
    siblings = _by_last_part(other for other in known if other.rpartition(".")[0] == group)
    anywhere = _by_last_part(reversed(settings))
    close = (
        siblings.get(nearest(name, siblings) or "")
        or nearest(key, settings, cutoff=0.8)
        or anywhere.get(nearest(name, anywhere, cutoff=0.8) or "")
    )
    if close:
        return f"{key}: there is no such setting; the nearest key is {close}."
    if siblings:
        return f"{key}: there is no such setting; {group or 'the top level'} has {', '.join(siblings)}."
    return f"{key}: there is no such setting; seq2seq/config.py lists every key."


def _by_last_part(keys: Iterable[str]) -> dict[str, str]:
    return {key.rpartition(".")[2]: key for key in keys}


def _no_such_choice(group: str, choice: str) -> str:
    """A sentence with the choices of a group: the YAML files of a folder of conf/."""
    choices = sorted(path.stem for path in Path(conf_dir(), group).glob("*.yaml")) if group else []
    if not choices:
        return f"{group}={choice}: there is no such group of settings; --help lists the groups."
    close = nearest(choice, choices)
    hint = f"did you mean {close}? There are" if close else "there are"
    return f"{group}={choice}: there is no such {group}; {hint} {', '.join(choices)}."


def fail(program: str, error: Seq2SeqError) -> int:
    """Print an error for people; returns the exit code."""
    for line in str(error).splitlines():
        print(f"{program}: error: {line}", file=sys.stderr)
    return 2

"""From a command line to a checked configuration: Hydra's errors as one sentence each, naming the nearest key."""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from seq2seq.config import Config, keys_of, nearest, typed
from seq2seq.errors import ConfigError, Seq2SeqError


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
        return checked(composed, schema)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, overrides, schema)) from error
    finally:
        GlobalHydra.instance().clear()


def checked(composed: DictConfig, schema: type[Any] = Config) -> Any:
    """A composed configuration as a checked dataclass; see `config.typed`.

    Raises:
        ConfigError: as `check`.
    """
    known = set(keys_of(schema))
    for key in _keys(composed):
        if key not in known:
            close = nearest(key, known)
            raise ConfigError(
                f"{key}: there is no such setting; " + (f"the nearest key is {close}." if close else "see --help.")
            )
    try:
        return typed(composed, schema)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, [], schema)) from error


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        yield f"{prefix}{key}"
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            yield from _keys(child, f"{prefix}{key}.")


def explain(error: Exception, overrides: Iterable[str], schema: type[Any]) -> str:
    """Hydra's or OmegaConf's message as one sentence that names the key, the value and the fix."""
    reasons = [str(reason) for reason in (error.__cause__, error) if reason is not None]
    text = "\n".join(reasons)
    # errors of a structured configuration carry the full key on a line of their own
    full_key = next(iter(re.findall(r"full_key: (\S+)", text)), None)
    if isinstance(error, MissingConfigException) or "Could not find" in text or "In 'recipe" in text:
        return _unknown_choice(text)
    unknown = re.search(r"Key '([^']+)' (?:is not in struct|not in '[^']+')", text)
    if unknown:
        key = full_key or next((o.split("=")[0].lstrip("+~") for o in overrides if unknown[1] in o), unknown[1])
        close = nearest(key, keys_of(schema))
        hint = f"the nearest key is {close}" if close else "seq2seq/config.py lists every key"
        return f"{key}: there is no such setting; {hint}."
    if "No match in the defaults list" in text:
        group = re.search(r"Could not override '([^']+)'", text)
        name = group[1] if group else "recipe"
        return f"{name} is not chosen yet, so it is added with a plus sign: +{name}=..."
    if "parsing override" in text or "no viable alternative" in text or "mismatched input" in text:
        return f"{_unparsable(text, overrides)}: this is not of the form key=value; quote values with special characters."
    first = reasons[0].splitlines()[0] if reasons[0] else type(error).__name__
    if full_key and full_key not in first:
        return f"{full_key}: {first.rstrip('.')}."
    return f"{first.rstrip('.')}."


def _unparsable(text: str, overrides: Iterable[str]) -> str:
    named = re.search(r"parsing override '([^']+)'", text)
    return named[1] if named else " ".join(overrides)


def _unknown_choice(text: str) -> str:
    wanted = re.search(r"[Cc]ould not (?:find|load) '?([\w/.]+)'?", text)
    name = wanted[1] if wanted else "a configuration"
    group, _, choice = name.rpartition("/")
    if group and Path(conf_dir(), group).is_dir():
        choices = sorted(path.stem for path in Path(conf_dir(), group).glob("*.yaml"))
        close = nearest(choice, choices)
        hint = f"did you mean {close}? " if close else ""
        return f"{group}={choice}: there is no such {group}; {hint}There are {', '.join(choices)}."
    return f"{name}: there is no such file or group under conf/; --help lists them."


def fail(program: str, error: Seq2SeqError) -> int:
    """Print an error for people; returns the exit code."""
    for line in str(error).splitlines():
        print(f"{program}: error: {line}", file=sys.stderr)
    return 2

"""Which settings of a search go together, and what a caller's changes to a checkpoint's own settings mean."""

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

from seq2seq.config import OF_BEAMS, SOURCE_LENGTHS, DecodingConfig, LengthNormalisation, Search, Task, Utility
from seq2seq.data.lines import repair
from seq2seq.errors import DecodingError, nearest

NEEDS: dict[str, tuple[Search, ...]] = {
    "beam_size": (Search.beam,),
    **{name: (Search.beam,) for name in OF_BEAMS},
    "n_best": (Search.beam, Search.sample),
    "length_penalty": (Search.beam, Search.sample),
    "length_normalisation": (Search.beam, Search.sample),
    "temperature": (Search.sample,),
    "top_k": (Search.sample,),
    "top_p": (Search.sample,),
    "min_p": (Search.sample,),
    "epsilon_cutoff": (Search.sample,),
    "seed": (Search.sample,),
    "mbr": (Search.beam, Search.sample),
    "mbr_candidates": (Search.beam, Search.sample),
}
"""Searches in which a setting has an effect; a setting that is not here has one in all."""

OF_TASK: dict[Task, frozenset[str]] = {
    Task.translation: frozenset(
        {*SOURCE_LENGTHS, "coverage_penalty", "batch_tokens", "n_best", "split", "mbr", "mbr_candidates"}
    ),
    Task.language_modelling: frozenset({"max_new_tokens"}),
}
"""Settings that only one task reads."""


COMPETING = ("length_penalty", "length_normalisation", *OF_BEAMS)
"""Settings that decide between hypotheses of one sentence: without effect where there is only one."""


def decoding_settings(base: DecodingConfig, given: Mapping[str, Any], *, task: Task) -> DecodingConfig:
    """A checkpoint's settings with a caller's changes.

    A caller who names another search gets the other settings of that search as they are by default where the
    checkpoint's were for its own search.

    Args:
        base: the checkpoint's.
        given: changes by name; None changes nothing. `seed`, which is not among the fields, is checked like them.
        task: of the model.

    Raises:
        DecodingError: an unknown setting, an impossible value, or one without effect beside the others.
    """
    given = {name: value for name, value in given.items() if value is not None}
    fields = {field.name: field for field in dataclasses.fields(DecodingConfig)}
    known = (fields.keys() | {"seed"}) - set().union(*(names for other, names in OF_TASK.items() if other is not task))
    for name in given:
        if name not in known:
            near = nearest(name, known)
            raise DecodingError(f"{name} is no setting for this model{f'; did you mean {near}?' if near else '.'}")
    changes = {name: _typed(name, value, fields[name].type) for name, value in given.items() if name != "seed"}
    if _typed("seed", given.get("seed", 0), int) < 0:
        raise DecodingError(f"seed ({given['seed']}) must be 0 or more.")
    settings = _with_search(base, changes.get("search", base.search))
    settings = dataclasses.replace(settings, **changes)
    settings.suppress_text = [repair(text).text for text in settings.suppress_text]  # as lines, see data/lines.py
    # n_best of the checkpoint gives way to a smaller beam; one that is asked for is an error there (problems()).
    if "n_best" not in given and settings.search is Search.beam:
        settings.n_best = max(1, min(settings.n_best, settings.beam_size))
    for name in COMPETING:  # likewise the checkpoint's, where nothing competes any more
        if name not in given and _without_rivals(settings, name):
            setattr(settings, name, getattr(DecodingConfig(), name))
    if "mbr_candidates" not in given:  # likewise
        most = 0 if settings.mbr is Utility.none else settings.beam_size
        if settings.search is Search.beam or settings.mbr is Utility.none:
            settings.mbr_candidates = min(settings.mbr_candidates, most)
    for name in given:
        if settings.search not in NEEDS.get(name, (settings.search,)):
            wanted = " or ".join(f"search={search.value}" for search in NEEDS[name])
            raise DecodingError(f"{name} has no effect with search={settings.search.value}; use it with {wanted}.")
        if name in COMPETING and (reason := _without_rivals(settings, name)):
            raise DecodingError(f"{name} has no effect with {reason}; leave it out.")
    if problems := list(settings.problems()):
        raise DecodingError(" ".join(problems).replace("decoding.", ""))
    return settings


def _with_search(base: DecodingConfig, search: Search) -> DecodingConfig:
    if search is base.search:
        return dataclasses.replace(base)
    default = DecodingConfig()
    foreign = [name for name, searches in NEEDS.items() if search not in searches and name != "seed"]
    neutral = {name: getattr(default, name) for name in foreign}
    return dataclasses.replace(base, search=search, **neutral)


def _without_rivals(settings: DecodingConfig, name: str) -> str | None:
    if settings.search is Search.beam and settings.beam_size == 1:
        return "beam_size=1, which follows one hypothesis only"
    if settings.search is Search.sample and settings.mbr is not Utility.none:
        return f"search=sample and mbr={settings.mbr.value}, which ranks by utility"
    if settings.search is Search.sample and settings.n_best == 1:
        return "search=sample and n_best=1, which ranks nothing"
    if name == "length_penalty" and settings.length_normalisation is LengthNormalisation.none:
        return "length_normalisation=none"
    return None


def _typed(name: str, value: Any, kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            choices = ", ".join(str(choice.value) for choice in kind)
            raise DecodingError(f"{name} ({value}) must be one of {choices}.") from None
    if kind == list[str] and not (isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)):
        raise DecodingError(f"{name} ({value!r}) must be a list of texts.")
    if kind is int and (not isinstance(value, int) or isinstance(value, bool)):
        raise DecodingError(f"{name} ({value!r}) must be a whole number.")
    if kind is float and (not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value)):
        raise DecodingError(f"{name} ({value!r}) must be a number.")
    return value

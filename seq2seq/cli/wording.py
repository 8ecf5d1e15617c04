"""Words of the command line: what is wrong with a setting (`n_best (7) ...` becomes `--n-best (7) ...`), numbers."""

import dataclasses
import re

from seq2seq.config import DecodingConfig
from seq2seq.signals.bounds import Bounds

_OTHERS = (
    *("seed", "samples", "draft_tokens", "retry", "constraints", "glossary", "keep_placeholders", "alternatives"),
    *("engine", "quantization", "precision", "device", "ensemble", "ensemble_weights", "lm", "lm_weight", "prefixes"),
)
_NAMES = (*_OTHERS, *(field.name for kind in (DecodingConfig, Bounds) for field in dataclasses.fields(kind)))
OPTIONS = {name: f"--{name.replace('_', '-')}" for name in _NAMES} | {"prefixes": "--prefix"}
"""What settings and arguments of the Python API are called here."""

# Not in a path, a key such as data.max_length, an option, nor a user's own word in quotes.
_AS_IS = r"(?<![\w./='\"-])(?![\w.-]*/)"
_ANY, _LONG = "|".join(OPTIONS), "|".join(name for name in OPTIONS if "_" in name)
_SHORT = "retry|constraints|glossary|alternatives|prefixes|mbr|seed|samples|temperature|patience|split|lm"
_WITH_VALUE = re.compile(rf"{_AS_IS}({_ANY})=([^\s,;()]*[^\s,;():.])")
_BEFORE_VALUE = re.compile(rf"{_AS_IS}({_ANY})(?= \()")
_NAME = re.compile(rf"{_AS_IS}({_LONG})(?![\w=])")
_WORD = re.compile(
    rf"(?:^|(?<=\. )|(?<=, )|(?<=\bor )|(?<=\band )|(?<=\bwith )|(?<=\bon )"
    rf"|(?<=\bwithout )|(?<=\bno ))({_SHORT})(?=[ ,;.]|$)"
)
"""Names that are also words stand where a setting is spoken of."""

ALIGNMENTS = {"layer": "--alignment-layers", "threshold": "--alignment-threshold"}
_ALIGNMENT = re.compile(r"(?<![\w-])alignment (layer|threshold)(?= [\d(-])")


def some_lines(number: int) -> str:
    """A number of lines."""
    return "1 line" if number == 1 else f"{number:,} lines"


def as_options(message: str) -> str:
    """A message of the Python API with its settings as options."""

    def with_value(found: re.Match[str]) -> str:
        value = "" if found[2] == "True" else f" {found[2]}"
        return f"{OPTIONS[found[1]]}{value}"

    message = _WITH_VALUE.sub(with_value, _ALIGNMENT.sub(lambda found: ALIGNMENTS[found[1]], message))
    for pattern in (_BEFORE_VALUE, _NAME, _WORD):
        message = pattern.sub(lambda found: OPTIONS[found[1]], message)
    return message

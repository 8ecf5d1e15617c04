"""What to search with next where an output is not to be trusted: a chain of settings, each stricter than the last.

1. a beam of ten at least, and no three tokens in a row twice (Paulus et al. 2018): ends loops.
2. besides, log-probabilities of tokens written before times 1.2 (Keskar et al. 2019), and no output shorter than the
   shortest that is not flagged: ends repetition with variations, and outputs that break off.
"""

from dataclasses import dataclass
from typing import Any

from seq2seq.config import DecodingConfig, Search, Task, Utility
from seq2seq.decoding.settings import decoding_settings
from seq2seq.errors import DecodingError

BEAM_SIZE, NO_REPEAT_NGRAM_SIZE, REPETITION_PENALTY = 10, 3, 1.2


@dataclass(frozen=True, slots=True)
class Fallback:
    """A search to try next.

    Attributes:
        changes: what differs from the settings that were asked for, as JSON has it.
        settings: all of it.
    """

    changes: dict[str, Any]
    settings: DecodingConfig


def fallbacks(settings: DecodingConfig, *, shortest: float) -> list[Fallback]:
    """The chain for a search that was asked for.

    Args:
        settings: of that search.
        shortest: tokens for each source token below which an output would be flagged.

    Raises:
        DecodingError: the settings leave no room for a wider beam, or minimum Bayes risk decides: its scores are
            utilities, which say nothing beside those of other searches.
    """
    if settings.mbr is not Utility.none:
        mbr = settings.mbr.value
        raise DecodingError(f"retry does not go with mbr={mbr}, whose scores are utilities; leave one of them out.")
    groups = settings.num_beam_groups
    wider: dict[str, Any] = {
        "search": Search.beam,
        "beam_size": -(-max(BEAM_SIZE, settings.beam_size) // groups) * groups,
        "no_repeat_ngram_size": min(settings.no_repeat_ngram_size or NO_REPEAT_NGRAM_SIZE, NO_REPEAT_NGRAM_SIZE),
    }
    stricter = wider | {
        "repetition_penalty": max(settings.repetition_penalty, REPETITION_PENALTY),
        "min_length_ratio": max(settings.min_length_ratio, min(shortest, settings.max_length_ratio)),
    }
    return [_fallback(settings, changes) for changes in (wider, stricter)]


def _fallback(settings: DecodingConfig, changes: dict[str, Any]) -> Fallback:
    chosen = decoding_settings(settings, changes, task=Task.translation)
    named = {name: getattr(value, "value", value) for name, value in changes.items()}
    before = {name: getattr(settings, name) for name in changes}
    return Fallback({name: value for name, value in named.items() if changes[name] != before[name]}, chosen)

"""A finished pair of sentences."""

from dataclasses import dataclass

from seq2seq.data.sample_corpus.clause import Clause
from seq2seq.data.sample_corpus.noun_phrase import NounPhrase


@dataclass(frozen=True, slots=True)
class Sentence:
    """One pair, and the word combinations in it."""

    english: str
    german: str
    combinations: tuple[str, ...]


def sentence(english: str, german_text: str, end: str, *parts: Clause | NounPhrase | str) -> Sentence:
    """Capitalise and punctuate both sides, and collect the combinations of all parts."""
    combinations: list[str] = []
    for part in parts:
        combinations.extend([part] if isinstance(part, str) else part.combinations)
    return Sentence(
        english[0].upper() + english[1:] + end,
        german_text[0].upper() + german_text[1:] + end,
        tuple(combinations),
    )

"""What decodes: torch, which runs our own models and searches, or another program with an exported model."""

from typing import Protocol

from seq2seq.answering import Solve
from seq2seq.config import DecodingConfig
from seq2seq.decoding import Hypothesis


class Engine(Protocol):
    """A program that translates with a model that was exported to it."""

    @property
    def name(self) -> str:
        """A value of EngineKind, not torch."""

    def workers(self, settings: DecodingConfig) -> int:
        """How many batches of a text are given to it at a time, each by a thread with its share of torch's threads."""

    def solver(self, settings: DecodingConfig, *, seed: int, done: int = 0) -> Solve[list[Hypothesis]]:
        """What translates the batches of one text: pieces to hypotheses, best first.

        By how many nats each piece was decided is infinite where the engine does not tell.

        Args:
            settings: of the search.
            seed: of sampling.
            done: lines of the text that are left out, because an earlier call translated them.

        Raises:
            DecodingError: names the setting that has no equivalent there.
        """

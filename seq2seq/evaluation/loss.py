"""Loss and perplexity of a model on held-out text: per target token and per character."""

import math
from dataclasses import dataclass


@dataclass(slots=True)
class TotalLoss:
    """Negative log-likelihood of a text under a model, in nats.

    Attributes:
        nats: summed over the target tokens.
        tokens: target tokens counted, end tokens included.
        characters: characters of the target text, a line break for each end token included; 0 when not counted.
        correct: targets that were the model's first choice; None when not counted.
    """

    nats: float = 0.0
    tokens: int = 0
    characters: int = 0
    correct: int | None = None

    @property
    def per_token(self) -> float:
        """Nats a target token; what training minimises when there is no label smoothing."""
        return self.nats / max(self.tokens, 1)

    @property
    def perplexity(self) -> float:
        """exp(nats a token); comparable only between models with the same tokenizer."""
        return math.exp(min(self.per_token, 700.0))

    @property
    def per_character(self) -> float | None:
        """Nats a character; comparable between tokenizers."""
        return self.nats / self.characters if self.characters else None

    def as_metrics(self) -> dict[str, float]:
        """The figures by the names used in metrics.json."""
        metrics = {"loss": self.per_token, "perplexity": self.perplexity}
        if self.per_character is not None:
            metrics["loss_per_character"] = self.per_character
            metrics["perplexity_per_character"] = math.exp(min(self.per_character, 700.0))
        if self.correct is not None:
            metrics["accuracy"] = self.correct / max(self.tokens, 1)
        return metrics

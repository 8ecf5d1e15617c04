"""Text by a language model: goes on with a prompt, token by token, text by text."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from seq2seq.config import DecodingConfig, Documents, Search, Task
from seq2seq.data.detokenizer import Detokenizer
from seq2seq.data.stopping import until
from seq2seq.data.tokenizer import EOS
from seq2seq.decoding import generate
from seq2seq.decoding.speculative import Draft, speculate
from seq2seq.decoding.together import Together
from seq2seq.errors import DecodingError
from seq2seq.trained import DEFAULT_SEED, Trained, mixed


class Writing:
    """What a call asks for, checked: texts that go on from a prompt.

    Args:
        trained: a language model.
        prompt, stop, draft, decoding, changes: as for `Translator.generate`.

    Raises:
        DecodingError: as for `Translator.generate`.
    """

    def __init__(
        self,
        trained: Trained,
        prompt: str,
        *,
        stop: Sequence[str],
        draft: Draft[Any] | None,
        decoding: DecodingConfig | None,
        changes: dict[str, Any],
    ) -> None:
        self.trained = trained
        trained.check_task(Task.language_modelling)
        settings = trained.settings(decoding, **changes)
        tokenizer = trained.tokenizers.target
        if isinstance(stop, str):
            raise TypeError("stop is one string; give a list of texts")
        if "" in stop:
            raise DecodingError("An empty stop text would end every text at once; leave it out.")
        if draft is not None:
            trained.check_alone("a draft")
            draft.check(settings, vocabulary=tokenizer.fingerprint, device=trained.device)
        # A model of lines has read an end token before each; one of whole files never saw any.
        of_lines = trained.config.data.documents is Documents.line
        tokens = [EOS, *tokenizer.encode(prompt)] if of_lines else tokenizer.encode(prompt or "\n")
        if changes.get("min_length") and not of_lines:
            raise DecodingError("min_length has no effect: this model was trained on whole files, so it never ends.")
        if not tokens:
            raise DecodingError("This model goes on with a text but cannot begin one; give it a prompt.")
        # Where tokens cannot end in a space, the next word brings the one that the prompt ends in.
        doubled = prompt.endswith(" ") and not tokenizer.normalise(prompt).endswith(" ")
        forbidden = (*trained.forbidden(settings), *([] if of_lines else [EOS]))
        seed = DEFAULT_SEED if changes.get("seed") is None else changes["seed"]
        self.prompt, self.settings, self.forbidden, self.seed = tokens, settings, forbidden, seed
        self.stop, self.skip_space, self.draft = tuple(stop), doubled, draft

    def text(self, sample: int) -> Iterator[str]:
        """The pieces of one text, that of a number."""
        return self._until_stop(self._tokens(sample))

    def texts(self, samples: int) -> list[Iterator[str]]:
        """The pieces of each of the first texts, drawn side by side where that is possible.

        Raises:
            DecodingError: samples is no whole number of at least 1, or more than 1 without search=sample.
        """
        trained = self.trained
        settings = self.settings
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise DecodingError(f"samples ({samples!r}) must be a whole number of at least 1.")
        if samples > 1 and settings.search is not Search.sample:
            raise DecodingError(
                f"samples has no effect with search={settings.search.value}: every text would be the same; use "
                "search=sample."
            )
        ruled = settings.repetition_penalty != 1 or settings.no_repeat_ngram_size or settings.suppress_text
        if samples == 1 or self.draft is not None or ruled:
            return [self.text(sample) for sample in range(samples)]
        context = trained.config.model.max_length
        found = []
        rows = max(1, settings.batch_tokens // context)
        for first in range(0, samples, rows):
            numbers = range(first, min(first + rows, samples))
            together = Together(
                trained.model,
                self.prompt,
                seeds=[partial(mixed, self.seed, sample) for sample in numbers],
                config=settings,
                context=context,
                eos_id=EOS,
                forbidden_ids=self.forbidden,
                exact=trained.exact,
                device=trained.device,
            )
            found += [self._until_stop(together.tokens(row)) for row in range(len(numbers))]
        return found

    def _until_stop(self, tokens: Iterator[int]) -> Iterator[str]:
        """The text of new tokens, up to a stop text."""
        pieces = self._pieces(tokens)
        return until(pieces, self.stop) if self.stop else pieces

    def _pieces(self, tokens: Iterator[int]) -> Iterator[str]:
        detokenizer, skip_space = Detokenizer(self.trained.tokenizers.target, self.prompt), self.skip_space
        for token in tokens:
            if piece := detokenizer.push(token):
                yield piece.removeprefix(" ") if skip_space else piece
                skip_space = False
        if piece := detokenizer.end():
            yield piece

    @torch.inference_mode()
    def _tokens(self, sample: int) -> Iterator[int]:
        """The new tokens of one text."""
        trained = self.trained
        context, settings, tokens = trained.config.model.max_length, self.settings, list(self.prompt)
        past = [token for token in tokens if token != EOS]  # the whole text, also what the context has left behind
        written = 0
        for stretch in itertools.count():
            if len(tokens) > context:
                tokens = tokens[-max(1, context // 2) :]
            # The last token written is not read, so it takes no place.
            room = min(context - len(tokens) + 1, settings.max_new_tokens - written)
            how: dict[str, Any] = {
                "config": dataclasses.replace(settings, min_length=max(0, settings.min_length - written)),
                "eos_id": EOS,
                "forbidden_ids": self.forbidden,
                "max_length": room,
                "seed": mixed(self.seed, sample, stretch),
            }
            if self.draft is not None:
                new_tokens = speculate(
                    trained.model,
                    tokens,
                    draft=self.draft,
                    exact=trained.exact,
                    device=trained.device,
                    **how,
                )
            else:
                prompt = torch.tensor([tokens], device=trained.device)
                rules = trained.rules(settings, limits=[settings.max_new_tokens - written], past=past)
                new_tokens = generate(
                    trained.model, trained.model.start(1), prompt, past=tuple(past), rules=rules, **how
                )
            before = written
            for token in new_tokens:
                tokens.append(token)
                past.append(token)
                written += 1
                yield token
            if written - before < room or written == settings.max_new_tokens:
                break

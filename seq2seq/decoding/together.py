"""Several samples of one prompt, drawn side by side in the batches of a language model."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from seq2seq.answering import TOLERANCE
from seq2seq.config import DecodingConfig
from seq2seq.decoding import FILTERS
from seq2seq.decoding.decodable import SearchResult
from seq2seq.decoding.sample import drawer, on_device, uniform_numbers
from seq2seq.decoding.single import run, written_tokens


class Together:
    """The tokens of several samples, each the same as if it were drawn alone by `generate`.

    They are drawn a stretch at a time, as far as the context has room, for all samples that have not ended, when the
    first of them is asked for.

    Args:
        model: a language model in evaluation mode.
        prompt: ids, at least one.
        seeds: of each sample, by the number of the stretch.
        config: search sample without rules on what is written; max_new_tokens and min_length count over all stretches.
        context: tokens the model can read; whenever they are full, it reads the last half of them again.
        eos_id: the end token.
        forbidden_ids: tokens never written.
        exact: what rounding might have decided beside other rows is drawn again alone; needs float32 or more.
        device: where the model is.
    """

    def __init__(
        self,
        model: Any,
        prompt: Sequence[int],
        *,
        seeds: Sequence[Callable[[int], int]],
        config: DecodingConfig,
        context: int,
        eos_id: int,
        forbidden_ids: Sequence[int],
        exact: bool,
        device: torch.device,
    ) -> None:
        self._model, self._device, self._exact = model, device, exact
        self._seeds, self._config, self._context = seeds, config, context
        self._eos_id, self._forbidden_ids = eos_id, forbidden_ids
        self._texts = [list(prompt) for _ in seeds]  # what is read of each at most
        self._found: list[list[tuple[int, ...]]] = [[] for _ in seeds]  # by stretch
        self._going_on = list(range(len(seeds)))
        self._stretches = self._written = 0

    def tokens(self, sample: int) -> Iterator[int]:
        """The new tokens of a sample, without the end token; once nobody asks for more, it is drawn no further."""
        try:
            for number in itertools.count():
                if number == len(self._found[sample]):
                    if sample not in self._going_on:
                        return
                    self._draw()
                yield from self._found[sample][number]
        finally:
            if sample in self._going_on:
                self._going_on.remove(sample)

    def _draw(self) -> None:
        """The next stretch of every sample that goes on; their texts are of one length."""
        for sample in self._going_on:
            text = self._texts[sample]
            if len(text) > self._context:
                del text[: -max(1, self._context // 2)]
        length = len(self._texts[self._going_on[0]])
        # The last token written is not read, so it takes no place.
        room = min(self._context - length + 1, self._config.max_new_tokens - self._written)
        found = self._sampled(self._going_on, room)
        ended = []
        for row, sample in enumerate(self._going_on):
            drawn = found.hypotheses[row][0]
            if self._exact and found.margins[row] < TOLERANCE and len(self._going_on) > 1:
                drawn = self._sampled([sample], room).hypotheses[0][0]
            self._found[sample].append(drawn.tokens)
            self._texts[sample] += drawn.tokens
            if drawn.finished or self._written + room == self._config.max_new_tokens:
                ended.append(sample)
        self._going_on = [sample for sample in self._going_on if sample not in ended]
        self._stretches, self._written = self._stretches + 1, self._written + room

    @torch.inference_mode()
    def _sampled(self, samples: Sequence[int], room: int) -> SearchResult:
        """A draw for each of these, of at most so many tokens."""
        config = self._config
        seeds = [self._seeds[sample](self._stretches) for sample in samples]
        chance = torch.cat([uniform_numbers([0], seed=seed, draws=1, limits=[room]) for seed in seeds])
        filters = {name: getattr(config, name) for name in FILTERS}
        return run(
            written_tokens(
                self._model,
                self._model.start(len(samples)),
                torch.tensor([self._texts[sample] for sample in samples], device=self._device),
                choose=drawer(on_device(chance, self._device), **filters),
                eos_id=self._eos_id,
                forbidden_ids=self._forbidden_ids,
                max_length=room,
                min_length=max(0, config.min_length - self._written),
            )
        )

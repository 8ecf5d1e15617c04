"""What a trained model is used for, from Python: translate lines, score them, label lines, write text.

```python
import seq2seq

model = seq2seq.load("runs/multi30k/best")
model.translate(["A man in a blue shirt is standing on a ladder."], beam_size=5)
```
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from seq2seq.answering import Answer, Candidate
from seq2seq.config import DecodingConfig, Task
from seq2seq.data.glossary import Glossary
from seq2seq.data.lines import Line, Note
from seq2seq.decoding.speculative import Draft
from seq2seq.errors import DecodingError
from seq2seq.evaluation.alignment import AlignmentSettings, Link, aligned_pairs
from seq2seq.evaluation.forced import ForcedScore, ForcedScorer, line_pairs
from seq2seq.labelling import labelled
from seq2seq.model.state import DecodingState
from seq2seq.piece_search import PieceSearch
from seq2seq.signals.bounds import Bounds
from seq2seq.trained import Trained
from seq2seq.translation import Demands, aligner, translated
from seq2seq.writing import Writing


class Translator(Trained):
    """What a trained model is used for: text in, text out.

    A line's output depends on the line and the settings alone (with search=sample also on the line's number), not on
    its neighbours or the size of batches (in float32; in shorter formats rounding is too coarse to promise it, and
    another engine does not tell how narrowly it decided).
    """

    @cached_property
    def searcher(self) -> PieceSearch:
        """What searches for the translation of pieces."""
        return PieceSearch(self)

    # ---------------------------------------------------------------- lines

    def translate(
        self,
        lines: Iterable[Line | str],
        *,
        prefixes: Iterable[Line | str] | None = None,
        decoding: DecodingConfig | None = None,
        bounds: Bounds | None = None,
        retry: bool = False,
        constraints: Iterable[Sequence[str]] | None = None,
        glossary: Glossary | None = None,
        keep_placeholders: bool = False,
        **changes: Any,
    ) -> list[str]:
        """Translate lines.

        Args:
            lines: any text; nothing in it is an error, see data/lines.py.
            prefixes: what each translation begins with, one for each line, see data/prefixes.py; "" = anything.
            decoding: all settings at once; None takes the checkpoint's.
            constraints: for each line phrases that its translation must hold, one given twice twice.
            glossary: terms whose translations must be there when the line has them.
            keep_placeholders: tags, placeholders, addresses (data/placeholder_patterns.py) must be there as they are.
            bounds: what flags an output for retry; None takes those by default.
            retry: search again where an output is flagged, by the chain of decoding/fallback.py, and keep the better.
            changes: fields of DecodingConfig that differ from these, and `seed` for search=sample.

        Returns:
            one line of text for each, in the same order; empty for blank lines.

        Raises:
            DecodingError: the model does not translate, or a setting is unknown, impossible or without effect.
            DataError: there are more lines than constraints, or fewer.
            TypeError: the constraints of a line are no list of texts, or the glossary is no Glossary.
        """
        if bounds is not None and not retry:
            raise DecodingError(
                "bounds have no effect without retry=True here; leave them out, or see translate_stream."
            )
        stream = self.translate_stream(
            lines,
            prefixes=prefixes,
            decoding=decoding,
            constraints=constraints,
            glossary=glossary,
            keep_placeholders=keep_placeholders,
            bounds=bounds,
            retry=retry,
            **changes,
        )
        return [answer.text for answer in stream]

    def translate_stream(
        self,
        lines: Iterable[Line | str | None],
        *,
        prefixes: Iterable[Line | str | None] | None = None,
        alternatives: int | None = None,
        decoding: DecodingConfig | None = None,
        first_line: int = 0,
        done: int | None = None,
        alignments: AlignmentSettings | None = None,
        bounds: Bounds | None = None,
        retry: bool = False,
        constraints: Iterable[Sequence[str]] | None = None,
        glossary: Glossary | None = None,
        keep_placeholders: bool = False,
        **changes: Any,
    ) -> Iterator[Answer]:
        """As `translate`, but line by line in bounded memory, with scores, alternatives, notes and reports.

        Args:
            lines: any text; None asks for what can be answered without waiting for more.
            prefixes: as for `translate`; None among them is passed over.
            alternatives: how many candidates each answer has, as `Translator.alternatives` gives them, the last
                repeated where there are fewer; None = n_best of the settings.
            decoding: as for `translate`.
            first_line: number of the first line, where these are the rest of a longer text.
            done: answers that an earlier call gave to these lines, which are left out; see answering.answers.
            alignments: how to link the words of outputs with those of their lines; None leaves Candidate.alignment out.
            bounds: what flags an output. Given, the signals of all lines are measured in batches; None measures those
                of a line when its answer's `report` is asked for, and flags it by the bounds by default.
            retry: as for `translate`.
            constraints: as for `translate`; what became of them is in each answer.
            glossary: as for `translate`, likewise.
            keep_placeholders: as for `translate`, likewise.
            changes: as for `translate`.
        """
        demands = Demands(prefixes, alternatives, alignments, bounds, retry, constraints, glossary, keep_placeholders)
        return translated(
            self,
            self.searcher,
            lines,
            demands,
            decoding=decoding,
            changes=changes,
            first_line=first_line,
            done=done,
        )

    def alternatives(
        self, line: Line | str, prefix: Line | str = "", *, count: int = 5, **changes: Any
    ) -> list[Candidate]:
        """Translations of a line that go on from a prefix in different ways: what an autocompletion offers.

        Args:
            line: what to translate.
            prefix: what has been written of the translation; see data/prefixes.py.
            count: how many.
            changes: as for `translate`; the search they name completes each alternative.

        Returns:
            up to `count` translations. No two write the same token behind the prefix; their scores are the
            log-probabilities, in nats, of what they write there (with the last word of the prefix, where it is
            open), and the most probable is first.

        Raises:
            DecodingError: as for `translate`, or n_best or mbr is among the changes.
        """
        (answer,) = self.translate_stream([line], prefixes=[prefix], alternatives=count, **changes)
        return list(dict.fromkeys(answer.candidates))

    def align(
        self,
        sources: Iterable[Line | str],
        targets: Iterable[Line | str],
        alignments: AlignmentSettings | None = None,
    ) -> list[list[Link]]:
        """The words of given lines that belong together.

        Args:
            sources: lines; nothing in them is an error, see data/lines.py.
            targets: their translations, one for each.
            alignments: how; None as is best in general.

        Returns:
            for each pair (word of the source, word of the target), sorted; words stand between white space. None where
            a side is blank or longer than the model takes.

        Raises:
            DecodingError: the model does not translate.
            DataError: there are more lines on one side than on the other.
        """
        return [links or [] for _, links in self.align_stream(sources, targets, alignments)]

    def align_stream(
        self,
        sources: Iterable[Line | str],
        targets: Iterable[Line | str],
        alignments: AlignmentSettings | None = None,
    ) -> Iterator[tuple[tuple[Note, ...], list[Link] | None]]:
        """As `align`, but line by line in bounded memory, with notes; None for what is longer than the model takes."""
        return aligned_pairs(line_pairs(targets, sources), aligner(self, alignments or AlignmentSettings()))

    def score(
        self,
        targets: Iterable[Line | str],
        sources: Iterable[Line | str] | None = None,
        *,
        batch_tokens: int | None = None,
    ) -> list[ForcedScore]:
        """How probable the model finds given lines, token by token (forced decoding).

        Args:
            targets: lines to score; nothing in them is an error, see data/lines.py.
            sources: what they translate, one for each; None for a language model.
            batch_tokens: padded tokens of a batch, of the longer side; None takes the checkpoint's
                decoding.batch_tokens. It changes speed and memory only (see evaluation/forced.py).

        Returns:
            a score for each target, in the same order.

        Raises:
            DecodingError: the model gives labels; sources are missing, or have no effect.
            DataError: there are more lines on one side than on the other.
        """
        return list(self.score_stream(targets, sources, batch_tokens=batch_tokens))

    def score_stream(
        self,
        targets: Iterable[Line | str],
        sources: Iterable[Line | str] | None = None,
        *,
        batch_tokens: int | None = None,
        done: int = 0,
    ) -> Iterator[ForcedScore]:
        """As `score`, but line by line in bounded memory; scores that an earlier call gave, `done`, are left out."""
        self.check_engine("score")
        scorer = ForcedScorer(self.config, self.model, self.tokenizers)
        return scorer.stream(targets, sources, batch_tokens=batch_tokens, done=done)

    def predict(self, lines: Iterable[Line | str], *, batch_tokens: int | None = None) -> list[str]:
        """Label lines.

        Args:
            lines: any text; nothing in it is an error, see data/lines.py.
            batch_tokens: padded tokens of a batch; None takes the checkpoint's decoding.batch_tokens.

        Returns:
            a label for each line; for tagging one for each word of it, with spaces between; empty for blank lines.

        Raises:
            DecodingError: the model does not label.
        """
        return [answer.text for answer in self.predict_stream(lines, batch_tokens=batch_tokens)]

    def predict_stream(
        self,
        lines: Iterable[Line | str | None],
        *,
        batch_tokens: int | None = None,
        bounds: Bounds | None = None,
        done: int | None = None,
    ) -> Iterator[Answer]:
        """As `predict`, but line by line in bounded memory, with log-probabilities, notes and reports.

        Args:
            lines: any text; None asks for what can be answered without waiting for more.
            batch_tokens: as for `predict`.
            bounds: what flags an answer in its `report`; None takes those by default.
            done: answers that an earlier call gave to these lines, which are left out; see answering.answers.
        """
        return labelled(self, lines, batch_tokens=batch_tokens, bounds=bounds, done=done)

    # ----------------------------------------------------------------- text

    def as_draft(self, tokens: int = 4) -> Draft[DecodingState]:
        """This language model as the draft of a larger one, for `generate`.

        Args:
            tokens: to propose before the larger model checks them.

        Raises:
            DecodingError: the model is no language model, or tokens is no whole number of at least 1.
        """
        if self.config.task is not Task.language_modelling:
            raise DecodingError(f"A draft must be a language model; this model's task is {self.config.task.value}.")
        self.check_alone("a draft")
        vocabulary = self.tokenizers.target.fingerprint
        return Draft(self.model, self.config.model.max_length, vocabulary, self.device, tokens)

    def generate(
        self,
        prompt: str = "",
        *,
        sample: int = 0,
        stop: Sequence[str] = (),
        draft: Draft[Any] | None = None,
        decoding: DecodingConfig | None = None,
        **changes: Any,
    ) -> Iterator[str]:
        """Go on with a text, yielding pieces as they are made; joined, they are the new text without the prompt.

        The model sees at most its context, model.max_length tokens: whenever that is full, the last half of it is read
        again and the text goes on from there. Beam search yields each such stretch at its end.

        Args:
            prompt: how the text begins; empty to begin a new document.
            sample: number of the draw for search=sample: 0, 1, 2, ... give different texts of one seed.
            stop: texts before the first of which the new text ends.
            draft: a smaller model, by its `as_draft`, that proposes what this one then checks several tokens at a time:
                the same text with search=greedy (in float32), other texts of the same distribution with search=sample.
            decoding: all settings at once; None takes the checkpoint's.
            changes: fields of DecodingConfig that differ from these, and `seed` for search=sample.

        Raises:
            DecodingError: the model is no language model, the prompt has no tokens where the model needs some, the
                draft does not fit, or a setting is unknown, impossible or without effect.
        """
        return Writing(self, prompt, stop=stop, draft=draft, decoding=decoding, changes=changes).text(sample)

    def generate_samples(
        self,
        prompt: str = "",
        *,
        samples: int,
        stop: Sequence[str] = (),
        draft: Draft[Any] | None = None,
        decoding: DecodingConfig | None = None,
        **changes: Any,
    ) -> list[Iterator[str]]:
        """As `generate` with sample=0, 1, 2, ..., the same texts, drawn side by side in batches.

        A stretch of a batch, as far as the context has room, is drawn for all its texts when the first is asked for it.
        With a draft, whose gain is in single texts, each is drawn alone; so it is under rules that go by what each text
        has written (repetition_penalty, no_repeat_ngram_size, suppress_text).

        Args:
            prompt: as for `generate`.
            samples: how many texts; as many rows as decoding.batch_tokens has room for whole contexts are in a batch.
            stop: as for `generate`.
            draft: as for `generate`.
            decoding: as for `generate`.
            changes: as for `generate`.

        Returns:
            the pieces of each text.

        Raises:
            DecodingError: samples is no whole number of at least 1, or more than 1 without search=sample; else as for
                `generate`.
        """
        return Writing(self, prompt, stop=stop, draft=draft, decoding=decoding, changes=changes).texts(samples)

"""What a contestant of `decoding.py` is given, is ordered to do, and answers.

Knows neither torch nor seq2seq, so that a contestant of another package can use it.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speed.channel import Channel
from speed.turns import peak_mib

PAD, BOS, EOS, UNK = 0, 1, 2, 3
FORBIDDEN = (PAD, BOS, UNK)
"""Never written."""


@dataclass(frozen=True)
class DecodingJob:
    """How a contestant decodes.

    Attributes:
        folder: holds what `decoding_workload.export` wrote; a contestant writes only into a folder of its own there.
        threads: of the matrix products.
        length_penalty: alpha: a hypothesis of beam search is ranked by log-probability / length ** alpha.
        max_length_ratio: most output tokens are this times the source tokens, plus 10.
        forced_length: instead, every output has exactly this many tokens, none of them the end token; 0 = not so.
        patience: 1 = beam search ends a sentence when as many hypotheses have ended as the beam is wide; 0 = when no
            live one can win any more.
        compute_type: number format of the weights, for a package that has several.
        batch_size: sentences of a batch, for a package that takes a text whole.
    """

    folder: Path
    threads: int
    length_penalty: float = 1.0
    max_length_ratio: float = 2.0
    forced_length: int = 0
    patience: int = 1
    compute_type: str = "float32"
    batch_size: int = 64

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps({**asdict(self), "folder": str(self.folder)})

    @staticmethod
    def loads(text: str) -> "DecodingJob":
        """The inverse of `dumps`."""
        values = json.loads(text)
        return DecodingJob(**{**values, "folder": Path(values["folder"])})

    def sources(self) -> list[list[int]]:
        """The ids of every line, the end token last."""
        sources: list[list[int]] = json.loads((self.folder / "sources.json").read_text())
        return sources

    def pieces(self) -> list[str]:
        """The vocabulary by id, special tokens too."""
        pieces: list[str] = json.loads((self.folder / "vocab.json").read_text())
        return pieces

    def settings(self) -> dict[str, Any]:
        """Of the model, as a MarianConfig has them."""
        settings: dict[str, Any] = json.loads((self.folder / "settings.json").read_text())
        return settings

    def max_length(self, sources: Sequence[Sequence[int]]) -> int:
        """Most output tokens, the end token included, of a batch, for packages that have one limit for all of it."""
        return self.forced_length or max(int(self.max_length_ratio * (len(ids) - 1)) + 10 for ids in sources)


@dataclass(frozen=True)
class Order:
    """Work of one turn.

    Attributes:
        beam_size: 1 is greedy search.
        batches: which lines to decode together.
        outputs: whether to send back what was written.
    """

    beam_size: int
    batches: list[list[int]]
    outputs: bool = False


@dataclass(frozen=True)
class Decoded:
    """What was done in one turn.

    Attributes:
        seconds: of each batch; of all together where a contestant takes them so.
        tokens: written in all, end tokens counted.
        peak_mib: most memory that was resident in the process since its start.
        outputs: if they were asked for, of every line in the order of the batches: its text, or its ids.
    """

    seconds: list[float]
    tokens: int
    peak_mib: float
    outputs: list[Any]


Decode = Callable[[list[int], int], tuple[list[Any], int]]
"""Numbers of lines, beam size -> the text of each, or its ids without the end token; and how many tokens they have."""


def serve(channel: Channel, decode: Decode, *, decode_text: Decode | None = None, **about: Any) -> None:
    """Decode what is ordered until nothing more is.

    Args:
        channel: to the measurement.
        decode: a batch; all of it is timed, from numbers of lines to outputs.
        decode_text: likewise several batches in one call, for a package that shares them out among the threads itself.
        about: said when ready; `version` is always there, `search_difference` where the search differs by design.
    """
    for request in channel.requests(**about):
        order = Order(**request)
        batches = order.batches
        if decode_text is not None and min(map(len, batches), default=0) > 1:
            batches = [[line for batch in batches for line in batch]]
        seconds, tokens, outputs = [], 0, []
        for lines in batches:
            start = time.perf_counter()
            written, count = (decode_text if decode_text and batches is not order.batches else decode)(
                lines, order.beam_size
            )
            seconds.append(time.perf_counter() - start)
            tokens += count
            outputs += written if order.outputs else []
        channel.report(Decoded(seconds, tokens, peak_mib(), outputs))


def job_and_channel() -> tuple[DecodingJob, Channel]:
    """What the command line of a contestant holds."""
    return DecodingJob.loads(sys.argv[1]), Channel()


def padded(rows: Sequence[Sequence[int]], padding: int = PAD) -> list[list[int]]:
    """Rows filled up on the right to the longest."""
    width = max(map(len, rows))
    return [[*row, *[padding] * (width - len(row))] for row in rows]


def until_end(row: Sequence[int], end: int = EOS) -> tuple[list[int], int]:
    """The ids before the end token, and how many there are with it."""
    if end in row:
        place = list(row).index(end)
        return list(row[:place]), place + 1
    return list(row), len(row)

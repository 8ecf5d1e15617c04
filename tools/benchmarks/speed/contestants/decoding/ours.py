"""Ours by its Python API, text in and text out; a forced length by the search beneath it, which takes one.

A text goes in whole, and is cut into batches by decoding.batch_tokens; so several are worked on at a time.
"""

import dataclasses

import numpy as np
import torch

import seq2seq
from seq2seq.config import LengthNormalisation
from seq2seq.data.collate import padded
from seq2seq.decoding import search
from seq2seq.memory import keep_freed_memory
from seq2seq.translator import Translator
from seq2seq.workers import CAN_FORK
from speed.decoding import BOS, EOS, FORBIDDEN, PAD, DecodingJob, job_and_channel, serve


def settings_of(job: DecodingJob, beam_size: int) -> dict[str, object]:
    """Changes of the checkpoint's decoding settings, for `Translator.translate`."""
    # The others take lines whole.
    common = {"max_length_ratio": job.max_length_ratio, "split": "long"}
    if beam_size == 1:
        return {"search": "greedy", **common}
    kind = LengthNormalisation.average if job.length_penalty else LengthNormalisation.none
    alpha = {"length_penalty": job.length_penalty} if job.length_penalty else {}
    beam = {"search": "beam", "beam_size": beam_size, "n_best": 1, "patience": job.patience}
    return {**beam, "length_normalisation": kind.value, **alpha, **common}


def main(engine: str = "torch") -> None:
    """Decode when told to.

    Args:
        engine: of `seq2seq.load`; another than torch takes no forced length.
    """
    job, channel = job_and_channel()
    torch.set_num_threads(job.threads)
    keep_freed_memory()  # as our command line does, too
    if engine != "torch" and job.forced_length:
        raise SystemExit(f"engine={engine} cannot be told how long outputs are")
    number_format = {"precision" if engine == "torch" else "quantization": job.compute_type}
    translator = seq2seq.load(job.folder / "checkpoint", device="cpu", engine=engine, **number_format)
    translator.processes = CAN_FORK  # as our command line does
    texts = (job.folder / "lines.txt").read_text(encoding="utf-8").split("\n")
    sources = job.sources()

    def translate(lines: list[int], beam_size: int) -> tuple[list[str], int]:
        answers = translator.translate_stream([texts[line] for line in lines], **settings_of(job, beam_size))
        best = [answer.candidates[0] for answer in answers]
        return [candidate.text for candidate in best], sum(candidate.tokens for candidate in best)

    def force(lines: list[int], beam_size: int) -> tuple[list[list[int]], int]:
        written = forced(translator, [sources[line] for line in lines], beam_size, job)
        return written, sum(map(len, written))

    if job.forced_length:
        serve(channel, force, version=seq2seq.__version__)
    else:
        serve(channel, translate, decode_text=translate, version=seq2seq.__version__)


def forced(translator: Translator, sources: list[list[int]], beam_size: int, job: DecodingJob) -> list[list[int]]:
    """Outputs of exactly job.forced_length tokens."""
    ids, mask = padded([np.array(row) for row in sources], padding=PAD)
    settings = translator.settings(**settings_of(job, beam_size))
    source_mask = None if mask.all() else torch.from_numpy(mask)
    result = search(
        translator.model,
        translator.model.start(torch.from_numpy(ids), source_mask=source_mask),
        torch.full((len(sources), 1), BOS),
        config=dataclasses.replace(settings, min_length=job.forced_length),
        eos_id=EOS,
        forbidden_ids=FORBIDDEN,
        max_length=job.forced_length,
    )
    return [list(hypotheses[0].tokens) for hypotheses in result.hypotheses]


if __name__ == "__main__":
    main()

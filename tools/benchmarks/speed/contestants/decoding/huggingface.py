"""Hugging Face's MarianMTModel with our weights, by its `generate`, from ids to ids."""

from typing import Any

import torch
import transformers

from speed.decoding import BOS, EOS, FORBIDDEN, PAD, DecodingJob, job_and_channel, padded, serve, until_end


def model_of(job: DecodingJob) -> Any:
    """The model, in evaluation mode."""
    model = transformers.MarianMTModel(transformers.MarianConfig(**job.settings()))
    missing, unexpected = model.load_state_dict(torch.load(job.folder / "weights.pt", weights_only=True), strict=False)
    missing = [name for name in missing if "embed_positions" not in name]  # made, not stored
    assert not missing and not unexpected, (missing, unexpected)
    model.generation_config = transformers.GenerationConfig(
        pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS, decoder_start_token_id=BOS
    )
    return model.eval()


def search_of(job: DecodingJob, beam_size: int, max_length: int) -> dict[str, Any]:
    """Arguments of `generate` for the search that ours does."""
    search: dict[str, Any] = {
        "do_sample": False,
        "num_beams": beam_size,
        "max_new_tokens": max_length,
        "bad_words_ids": [[token] for token in FORBIDDEN],
    }
    if job.forced_length:
        search["min_new_tokens"] = job.forced_length
    if beam_size > 1:  # True: as soon as beam_size hypotheses have ended; "never": not before no live one can win
        search.update(early_stopping=True if job.patience else "never", length_penalty=job.length_penalty)
    return search


def main() -> None:
    """Decode when told to."""
    job, channel = job_and_channel()
    torch.set_num_threads(job.threads)
    model, sources = model_of(job), job.sources()

    @torch.inference_mode()
    def decode(lines: list[int], beam_size: int) -> tuple[list[list[int]], int]:
        rows = [sources[line] for line in lines]
        ids = torch.tensor(padded(rows))
        mask = torch.tensor(padded([[1] * len(row) for row in rows], padding=0))
        search = search_of(job, beam_size, job.max_length(rows))
        written = model.generate(input_ids=ids, attention_mask=mask, **search)
        outputs = [until_end(row) for row in written[:, 1:].tolist()]
        return [ids for ids, _ in outputs], sum(count for _, count in outputs)

    serve(channel, decode, version=f"transformers {transformers.__version__}", search_difference=None)


if __name__ == "__main__":
    main()

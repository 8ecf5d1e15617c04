"""CTranslate2 with our weights, from pieces to pieces, in float32 or with weights and products in int8.

A text is shared out among as many workers of one thread each as there are threads (inter_threads): the package's own
advice, and several times as fast here as threads that share a batch. A single sentence is decoded by one thread or by
all, and so are the products of MKL in it, as is fastest in a trial; `single_threads` says which. MKL reads its number
once and does not heed that of the package, so that each of these is a process of its own. Memory is that of the one for
texts.

The model is written by the package's own specifications and not by its converter for Marian: that one starts every
output from a zero embedding, as Marian does, where ours starts from that of BOS.
"""

import itertools
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import torch
from ctranslate2.specs import TransformerSpec
from ctranslate2.specs.common_spec import Activation

from speed.apart import Apart
from speed.decoding import BOS, EOS, PAD, UNK, Decode, DecodingJob, job_and_channel, serve

EPSILON = 1e-5
"""Of our LayerNorm."""
ACTIVATIONS = {
    "relu": Activation.RELU,
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELUTanh,
    "swish": Activation.SWISH,
}
STRUCK_OUT = "Tokens that are never written are struck out before the probabilities are made, in ours after."
WITHOUT_END = 2.0
"""Its patience where ours goes on until no live hypothesis can win: (nearly) the same text."""
TURNS = 4
"""Of a trial."""
Arrays = Mapping[str, Any]


def difference(job: DecodingJob) -> str:
    """How its beam search differs from ours."""
    if job.patience:
        return STRUCK_OUT
    return (
        f"A sentence is done when {WITHOUT_END:g} times as many hypotheses have ended as the beam is wide, though a "
        f"live one could still get a better score; ours goes on until none can. {STRUCK_OUT}"
    )


def convert(job: DecodingJob, folder: str) -> None:
    """Write a model of the package."""
    settings = job.settings()
    weights = {
        name: tensor.numpy() for name, tensor in torch.load(job.folder / "weights.pt", weights_only=True).items()
    }
    positions = torch.load(job.folder / "positions.pt", weights_only=True).numpy()
    spec = TransformerSpec.from_config(
        (settings["encoder_layers"], settings["decoder_layers"]),
        settings["encoder_attention_heads"],
        pre_norm=False,
        activation=ACTIVATIONS[settings["activation_function"]],
    )
    scale = settings["d_model"] ** 0.5 if settings["scale_embedding"] else 1.0
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        embeddings = stack.embeddings[0] if name == "encoder" else stack.embeddings
        embeddings.weight = weights[f"model.{name}.embed_tokens.weight"]
        stack.scale_embeddings = scale
        stack.position_encodings.encodings = positions
        for number, layer in enumerate(stack.layer):
            fill_layer(layer, weights, f"model.{name}.layers.{number}.")
    spec.decoder.projection.weight = weights["lm_head.weight"]
    if weights["final_logits_bias"].any():
        spec.decoder.projection.bias = weights["final_logits_bias"][0]
    pieces = job.pieces()
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = pieces[UNK], pieces[BOS], pieces[EOS]
    spec.config.decoder_start_token = pieces[BOS]
    spec.config.layer_norm_epsilon = EPSILON
    spec.validate()
    spec.optimize()
    spec.save(folder)


def fill_layer(layer: Any, weights: Arrays, prefix: str) -> None:
    """Weights of one layer."""

    def fill(linear: Any, *names: str) -> None:
        linear.weight = np.concatenate([weights[f"{prefix}{name}.weight"] for name in names])
        linear.bias = np.concatenate([weights[f"{prefix}{name}.bias"] for name in names])

    def fill_norm(norm: Any, name: str) -> None:
        norm.gamma, norm.beta = weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"]

    fill(layer.self_attention.linear[0], *(f"self_attn.{letter}_proj" for letter in "qkv"))
    fill(layer.self_attention.linear[1], "self_attn.out_proj")
    fill_norm(layer.self_attention.layer_norm, "self_attn_layer_norm")
    if f"{prefix}encoder_attn.q_proj.weight" in weights:
        fill(layer.attention.linear[0], "encoder_attn.q_proj")
        fill(layer.attention.linear[1], "encoder_attn.k_proj", "encoder_attn.v_proj")
        fill(layer.attention.linear[2], "encoder_attn.out_proj")
        fill_norm(layer.attention.layer_norm, "encoder_attn_layer_norm")
    fill(layer.ffn.linear_0, "fc1")
    fill(layer.ffn.linear_1, "fc2")
    fill_norm(layer.ffn.layer_norm, "final_layer_norm")


@dataclass(frozen=True)
class Threads:
    """How many share the work on one sentence.

    Attributes:
        package: in the operations that the package shares out itself (intra_threads).
        mkl: in a matrix product.
    """

    package: int
    mkl: int


def model_folder(job: DecodingJob) -> Path:
    """Where the model of the package is."""
    return job.folder / f"ctranslate2_{job.compute_type}"


def translator_of(job: DecodingJob, *, workers: int, threads: int) -> Any:
    """The model that was written; `workers` batches at a time, `threads` for each."""
    return ctranslate2.Translator(
        str(model_folder(job)),
        device="cpu",
        compute_type=job.compute_type,
        inter_threads=workers,
        intra_threads=threads,
    )


def make_decode(job: DecodingJob, translator: Any) -> Decode:
    """A function that decodes with it."""
    pieces = job.pieces()
    id_of = {piece: number for number, piece in enumerate(pieces)}
    sources = job.sources()
    words = [[pieces[number] for number in ids] for ids in sources]

    def decode(lines: list[int], beam_size: int) -> tuple[list[list[int]], int]:
        results = translator.translate_batch(
            [words[line] for line in lines],
            beam_size=beam_size,
            max_batch_size=job.batch_size,
            length_penalty=job.length_penalty,
            patience=job.patience or WITHOUT_END,
            disable_unk=True,
            suppress_sequences=[[pieces[PAD]], [pieces[BOS]]],
            max_input_length=0,
            max_decoding_length=job.max_length([sources[line] for line in lines]),
            min_decoding_length=job.forced_length,
            return_end_token=True,  # so that its length counts in the score
        )
        rows = [[id_of[piece] for piece in result.hypotheses[0]] for result in results]
        return [row[:-1] if row[-1:] == [EOS] else row for row in rows], sum(map(len, rows))

    return decode


def make_decode_one(job: DecodingJob, threads: int) -> Decode:
    """A function that decodes one batch at a time."""
    return make_decode(job, translator_of(job, workers=1, threads=threads))


def fastest_of_one(job: DecodingJob) -> tuple[Threads, Decode]:
    """What decodes a single sentence soonest: one thread or all, by the fastest of some turns with a beam of 5."""
    trials: list[tuple[float, Threads, Apart]] = []
    for package, mkl in itertools.product(sorted({1, job.threads}), repeat=2):
        decode = Apart(partial(make_decode_one, job, package), {"MKL_NUM_THREADS": str(mkl)})
        decode([0], 5)  # warms up
        trials.append((min(timed(decode) for _ in range(TURNS)), Threads(package, mkl), decode))
    (_, threads, best), *others = sorted(trials, key=lambda trial: trial[0])
    for _, _, decode in others:
        decode.close()
    return threads, best


def timed(decode: Decode) -> float:
    """Seconds for the first sentence."""
    start = time.perf_counter()
    decode([0], 5)
    return time.perf_counter() - start


def main() -> None:
    """Decode when told to."""
    job, channel = job_and_channel()
    model_folder(job).mkdir()
    convert(job, str(model_folder(job)))
    threads, of_one = fastest_of_one(job)
    translator = translator_of(job, workers=job.threads, threads=1)
    serve(
        channel,
        of_one,
        decode_text=make_decode(job, translator),
        version=f"ctranslate2 {ctranslate2.__version__}",
        compute_type=translator.compute_type,
        single_threads=asdict(threads),
        search_difference=difference(job),
    )


if __name__ == "__main__":
    main()

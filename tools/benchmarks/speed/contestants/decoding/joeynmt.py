"""JoeyNMT 2.3 with our weights, by its own search, from ids to ids.

Its special tokens have other numbers than ours, and its norms another epsilon and its positions another order, which
are set to ours.
"""

import importlib.metadata
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from joeynmt.batch import Batch
from joeynmt.model import build_model
from joeynmt.search import search
from joeynmt.vocabulary import Vocabulary
from torch import Tensor, nn

from speed.decoding import PAD, DecodingJob, job_and_channel, padded, serve, until_end

NUM_SPECIALS = 4
THEIRS = (1, 2, 3, 0)
"""Its numbers of our padding, start, end and unknown token."""
OURS = (3, 0, 1, 2)
"""The inverse."""
EPSILON = 1e-5
"""Of our LayerNorm."""
DIFFERENCE = (
    "An ended hypothesis keeps its place in the beam, and a sentence is done when all places have ended. A score is "
    "log-probability / ((5 + length) / 6) ** alpha. Every step computes the whole output so far again."
)


def settings_of(job: DecodingJob) -> dict[str, Any]:
    """The `model` part of a configuration."""
    marian = job.settings()

    def stack(layers: int) -> dict[str, Any]:
        return {
            "type": "transformer",
            "num_layers": layers,
            "num_heads": marian["encoder_attention_heads"],
            "embeddings": {"embedding_dim": marian["d_model"], "scale": marian["scale_embedding"]},
            "hidden_size": marian["d_model"],
            "ff_size": marian["encoder_ffn_dim"],
            "layer_norm": "post",
            "activation": marian["activation_function"],
        }

    return {
        "tied_embeddings": True,
        "tied_softmax": True,
        "encoder": stack(marian["encoder_layers"]),
        "decoder": stack(marian["decoder_layers"]),
    }


def vocabulary_of(job: DecodingJob) -> Any:
    """The vocabulary, special tokens in its order."""
    symbols = {"unk_id": 0, "pad_id": 1, "bos_id": 2, "eos_id": 3, "sep_id": None, "sep_token": None, "lang_tags": []}
    tokens = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return Vocabulary(job.pieces()[NUM_SPECIALS:], SimpleNamespace(**symbols, **tokens))


def model_of(job: DecodingJob) -> Any:
    """The model with our weights, in evaluation mode."""
    vocabulary = vocabulary_of(job)
    model = build_model(settings_of(job), src_vocab=vocabulary, trg_vocab=vocabulary)
    marian = torch.load(job.folder / "weights.pt", weights_only=True)
    assert not marian["final_logits_bias"].any(), "its output layer has no bias"
    weights = renamed(marian, decoder_layers=job.settings()["decoder_layers"])
    positions = torch.load(job.folder / "positions.pt", weights_only=True).unsqueeze(0)
    for stack in (model.encoder, model.decoder):
        stack.pe.pe = positions
    weights.update({"encoder.pe.pe": positions, "decoder.pe.pe": positions})
    model.load_state_dict(weights)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = EPSILON
    return model.eval()


def renamed(marian: Mapping[str, Tensor], *, decoder_layers: int) -> dict[str, Tensor]:
    """Weights of a MarianMTModel by JoeyNMT's names, in JoeyNMT's order of tokens."""
    embedding = marian["lm_head.weight"].clone()
    embedding[:NUM_SPECIALS] = embedding[list(OURS)]
    weights = {name: embedding for name in ("src_embed.lut.weight", "trg_embed.lut.weight")}
    weights["decoder.output_layer.weight"] = embedding
    parts = {"q_proj": "q_layer", "k_proj": "k_layer", "v_proj": "v_layer", "out_proj": "output_layer"}
    common = {"fc1": "feed_forward.pwff_layer.0", "fc2": "feed_forward.pwff_layer.3"}
    common["final_layer_norm"] = "feed_forward.layer_norm"
    names = {
        "encoder": {"self_attn": "src_src_att", "self_attn_layer_norm": "layer_norm", **common},
        "decoder": {
            "self_attn": "trg_trg_att",
            "self_attn_layer_norm": "x_layer_norm",
            "encoder_attn": "src_trg_att",
            "encoder_attn_layer_norm": "dec_layer_norm",
            **common,
        },
    }
    for name, tensor in marian.items():
        if ".layers." in name:
            _, side, _, number, *path, kind = name.split(".")
            module = ".".join([names[side][path[0]], *(parts[part] for part in path[1:])])
            weights[f"{side}.layers.{number}.{module}.{kind}"] = tensor
    return weights


def main() -> None:
    """Decode when told to."""
    job, channel = job_and_channel()
    torch.set_num_threads(job.threads)
    model = model_of(job)
    sources = job.sources()

    def decode(lines: list[int], beam_size: int) -> tuple[list[list[int]], int]:
        rows = [sources[line] for line in lines]
        ids = torch.tensor(padded([renumbered(row, THEIRS) for row in rows], THEIRS[PAD]))
        batch = Batch(
            src=ids,
            src_length=torch.tensor([len(row) for row in rows]),
            src_prompt_mask=None,
            trg=None,
            trg_prompt_mask=None,
            indices=torch.arange(len(rows)),
            device=ids.device,
            pad_index=model.pad_index,
            eos_index=model.eos_index,
            is_train=False,
        )
        written, _, _ = search(
            model,
            batch,
            max_output_length=job.max_length(rows),
            beam_size=beam_size,
            beam_alpha=job.length_penalty,
            generate_unk=False,
            min_output_length=job.forced_length,
        )
        outputs = [until_end(row, model.eos_index) for row in written.astype(int).tolist()]
        outputs = [([token for token in row if token != model.pad_index], count) for row, count in outputs]
        return [renumbered(row, OURS) for row, _ in outputs], sum(count for _, count in outputs)

    serve(channel, decode, version=f"joeynmt {importlib.metadata.version('joeynmt')}", search_difference=DIFFERENCE)


def renumbered(ids: list[int], special: tuple[int, ...]) -> list[int]:
    """Ids with other numbers for special tokens."""
    return [special[token] if token < NUM_SPECIALS else token for token in ids]


if __name__ == "__main__":
    main()

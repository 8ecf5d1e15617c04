"""Links of a model that was trained on pairs whose word order is known."""

import random
from pathlib import Path

import pytest

import seq2seq
from seq2seq.configure import check, register_schemas
from seq2seq.train import run

DICTIONARY = {
    "house": "casa", "dog": "perro", "red": "rojo", "big": "grande", "sees": "mira", "bread": "pan", "eats": "come",
    "water": "agua",
}  # fmt: skip


def pair(chance: random.Random) -> tuple[str, str, set[tuple[int, int]]]:
    """Words, their translations with neighbours swapped, and which belong together."""
    words = chance.sample(list(DICTIONARY), k=chance.choice([2, 4, 6]))
    order = [place ^ 1 for place in range(len(words))]
    target = " ".join(DICTIONARY[words[place]] for place in order)
    return " ".join(words), target, {(place, number) for number, place in enumerate(order)}


def error_rate(found: set[tuple[int, int]], right: set[tuple[int, int]]) -> tuple[int, int]:
    """Numerator and denominator of 1 - the alignment error rate (Och and Ney 2003), all links being sure."""
    return 2 * len(found & right), len(found) + len(right)


@pytest.mark.slow
def test_a_trained_model_links_words_that_moved(tmp_path: Path) -> None:
    chance = random.Random(5)
    pairs = {split: [pair(chance) for _ in range(count)] for split, count in (("train", 3000), ("valid", 50))}
    for split, rows in pairs.items():
        (tmp_path / f"{split}.tsv").write_text("".join(f"{source}\t{target}\n" for source, target, _ in rows))
    words = [
        "model=small", "model.encoder_layers=2", "model.decoder_layers=2", "model.dim=64", "model.num_heads=4",
        "model.feed_forward_dim=128", "model.dropout=0", "model.embedding_dropout=0", "tokenizer.kind=unigram",
        "tokenizer.vocab_size=36", "tokenizer.byte_fallback=false", "decoding=greedy",
        "data.source_language=in", "data.target_language=out",
        "training.batch_tokens=700", "training.steps=350", "training.learning_rate=3e-3", "training.warmup_steps=50",
        "training.validate_every=350", "training.tensorboard=false", "training.threads=1", "device=cpu",
        "precision=float32", f"run_dir={tmp_path}/run", f"data.cache_dir={tmp_path}/cache",
        f"data.train={tmp_path}/train.tsv", f"data.valid={tmp_path}/valid.tsv",
    ]  # fmt: skip
    register_schemas()
    run(check("train", words))
    model = seq2seq.load(tmp_path / "run")
    sources, targets, right = zip(*(pair(chance) for _ in range(200)), strict=True)
    translated = model.translate(sources)
    assert sum(a == b for a, b in zip(translated, targets, strict=True)) > 150  # else its attention teaches nothing
    parts = [error_rate(set(links), gold) for links, gold in zip(model.align(sources, targets), right, strict=True)]
    rate = 1 - sum(hits for hits, _ in parts) / sum(links for _, links in parts)
    diagonal = [error_rate({(n, n) for n in range(len(gold))}, gold) for gold in right]
    assert 1 - sum(hits for hits, _ in diagonal) / sum(links for _, links in diagonal) == 1  # order does not tell
    assert rate < 0.1, rate

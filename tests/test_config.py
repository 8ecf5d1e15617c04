import dataclasses
import math
from typing import Any

import pytest
from omegaconf import OmegaConf

from seq2seq.config import (
    Config,
    DataConfig,
    DecayShape,
    DecodingConfig,
    Documents,
    LengthNormalisation,
    ModelConfig,
    OptimizerKind,
    Parallel,
    Pooling,
    Positions,
    Schedule,
    Search,
    SubwordSampling,
    Task,
    TiedEmbeddings,
    TokenizerConfig,
    TokenizerKind,
    TrainingConfig,
    Utility,
    WindowLayers,
)
from seq2seq.configure import keys_of, typed
from seq2seq.errors import ConfigError
from seq2seq.ranges import limits_of

GROUPS = {
    "model": ModelConfig,
    "data": DataConfig,
    "tokenizer": TokenizerConfig,
    "training": TrainingConfig,
    "decoding": DecodingConfig,
}


def config_of(changes: dict[str, Any]) -> Config:
    """A possible translation run, with changes by dotted key."""
    config = Config(data=DataConfig(train="corpus/train", valid="corpus/valid"))
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        part = getattr(config, group) if group else config
        assert hasattr(part, name), key
        setattr(part, name, value)
    return config


def problems(changes: dict[str, Any]) -> list[str]:
    return list(config_of(changes).problems())


LANGUAGE_MODEL = {"task": Task.language_modelling, "model.encoder_layers": 0, "data.valid": None}
CLASSIFIER = {"task": Task.classification, "model.decoder_layers": 0}
TAGGER = {"task": Task.tagging, "model.decoder_layers": 0}
CHARACTERS = {"tokenizer.kind": TokenizerKind.characters, "tokenizer.vocab_size": None}


@pytest.mark.parametrize(
    "changes",
    [{}, LANGUAGE_MODEL, CLASSIFIER, TAGGER, CHARACTERS],
    ids=["pairs", "lm", "classes", "tags", "characters"],
)
def test_defaults_are_possible_for_every_task(changes: dict[str, Any]) -> None:
    assert problems(changes) == []


def test_batch_tokens_may_be_measured() -> None:
    assert problems({"training.batch_tokens": "auto"}) == []
    assert TrainingConfig(batch_tokens=12).token_budget == 12
    with pytest.raises(AssertionError):
        _ = TrainingConfig(batch_tokens="auto").token_budget


def numbers() -> list[tuple[str, str, float]]:
    """(key, bound, limit) of every range that a setting declares."""
    found = [
        (f"{group}.{item.name}", bound, limit)
        for group, schema in GROUPS.items()
        for item in dataclasses.fields(schema)
        for bound, limit in limits_of(item).items()
    ]
    assert len(found) > 50
    return [*found, ("seed", "at_least", 0)]


def just_outside(bound: str, limit: float) -> float:
    return {"at_least": limit - 1, "above": limit, "at_most": limit + 1, "below": limit}[bound]


@pytest.mark.parametrize(("key", "bound", "limit"), numbers())
def test_numbers_outside_their_range_are_refused(key: str, bound: str, limit: float) -> None:
    value = just_outside(bound, limit)
    (sentence,) = [one for one in problems({key: value}) if one.startswith(f"{key} ({value}) must be ")]
    assert f"{bound.replace('_', ' ')} {limit}" in sentence


@pytest.mark.parametrize("key", sorted({key for key, _, _ in numbers()}))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_infinite_or_nan(key: str, value: float) -> None:
    assert f"{key} ({value}) must be a finite number." in problems({key: value})


def test_every_number_declares_its_range() -> None:
    for group, schema in GROUPS.items():
        for item in dataclasses.fields(schema):
            if item.type in (int, float, int | None, float | None, int | str):
                assert item.metadata, f"{group}.{item.name}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.encoder_layers": 0, "model.decoder_layers": 0}, "both 0"),
        ({"model.num_heads": 3}, "model.dim (512) must be a multiple of model.num_heads (3)"),
        ({"model.dim": 24, "model.positions": Positions.rotary}, "model.dim / model.num_heads is 3; make it even"),
        ({"model.dim": 5, "model.num_heads": 5}, "model.positions=sinusoidal needs an even model.dim, not 5"),
        ({"model.num_kv_heads": 3}, "model.num_kv_heads (3) must divide model.num_heads (8)"),
        ({"model.num_kv_heads": 16}, "model.num_kv_heads (16) must divide model.num_heads (8)"),
        (
            {"model.window_layers": WindowLayers.alternate},
            "model.window_layers=alternate has no effect without model.att",
        ),
        ({"training.batch_tokens": "wide"}, "training.batch_tokens (wide) must be a whole number or auto."),
        ({"training.batch_tokens": 0}, "training.batch_tokens (0) must be at least 1, or auto."),
        (
            {"training.parallel": Parallel.fsdp, "training.optimizer": OptimizerKind.muon},
            "training.parallel=fsdp cuts the matrices that training.optimizer=muon needs whole; set training.parallel=",
        ),
        (
            {"training.parallel": Parallel.fsdp, "training.optimizer": OptimizerKind.muon, "training.muon_steps": 3},
            "or training.optimizer=adamw training.muon_steps=4 (with",
        ),
        ({"data.train": None}, "data.train is not set"),
        ({"data.train": 3}, "data.train (3) must be a text spec (a string) or a list"),
        ({"data.train": ["a", 3]}, "data.train (['a', 3]) must be a text spec"),
        ({"data.train": []}, "data.train is empty"),
        ({"data.train": ""}, "data.train is empty"),
        ({"data.valid": ""}, "data.valid is empty"),
        ({"data.valid": ["a", "b"]}, "data.valid takes one text spec, not a list of 2"),
        ({"data.test": {"a": 1}}, "data.test ({'a': 1}) must be a text spec (a string)."),
        ({"data.valid": None}, "data.valid is not set"),
        ({"data.weights": [1.0, 2.0]}, "data.weights has 2 numbers for 1 entries of data.train"),
        ({"data.weights": [0.0]}, "data.weights ([0.0]) must all be finite and above 0"),
        ({"data.weights": [math.nan]}, "data.weights ([nan]) must all be finite and above 0"),
        ({"data.documents": Documents.file}, "data.documents=file has no effect with task=translation"),
        ({"data.valid_fraction": 0.2}, "data.valid_fraction=0.2 has no effect with task=translation"),
        (
            {"data.max_length": 2000, "model.positions": Positions.learned},
            "data.max_length (2000) is longer than the lea",
        ),
        (
            {"model.encoder_layers": 0, "model.positions": Positions.learned, "model.max_length": 255},
            "data.max_length (128) is longer than half of the learned position table, model.max_length (255)",
        ),
        (
            {"model.max_length": 64},
            "model.max_length=64 has no effect with task=translation and without model.positions",
        ),
        (
            {"model.pooling": Pooling.first},
            "model.pooling=first has no effect with task=translation; leave it at mean.",
        ),
        ({"data.subword_alpha": 0.2}, "data.subword_alpha=0.2 has no effect with data.subword_sampling=none"),
        (
            {**LANGUAGE_MODEL, "data.subword_sampling": SubwordSampling.both},
            "data.subword_sampling=both has no effect with task=language_modelling; leave it at none.",
        ),
        ({**TAGGER, "data.subword_sampling": SubwordSampling.source}, "data.subword_sampling=source has no effect wi"),
        ({**CLASSIFIER, "data.subword_sampling": SubwordSampling.both}, "=both needs text on the target side, not lab"),
        ({**CHARACTERS, "data.subword_sampling": SubwordSampling.both}, "has no effect with tokenizer.kind=characters"),
        ({"tokenizer.vocab_size": None}, "tokenizer.vocab_size is not set; tokenizer.kind=unigram needs one"),
        (
            {**CHARACTERS, "tokenizer.vocab_size": 300},
            "tokenizer.vocab_size (300) has no effect with tokenizer.kind=cha",
        ),
        (
            {**CHARACTERS, "tokenizer.user_symbols": ["<x>"]},
            'tokenizer.user_symbols=["<x>"] has no effect with tokenizer',
        ),
        (
            {**CHARACTERS, "tokenizer.byte_fallback": False},
            "tokenizer.byte_fallback=false has no effect with tokenizer",
        ),
        ({**CHARACTERS, "tokenizer.character_coverage": 1.0}, "tokenizer.character_coverage=1.0 has no effect with"),
        ({"tokenizer.checkpoint": ""}, "tokenizer.checkpoint is empty; name a checkpoint folder"),
        (
            {"tokenizer.checkpoint": "runs/x", "training.teacher": "runs/y"},
            "tokenizer.checkpoint=runs/x has no effect with training.teacher",
        ),
        (
            {**TAGGER, "tokenizer.checkpoint": "runs/x", "model.tied_embeddings": TiedEmbeddings.decoder},
            "tokenizer.checkpoint=runs/x has no effect with task=tagging",
        ),
        ({"tokenizer.joint": False}, "model.tied_embeddings=all needs tokenizer.joint=true"),
        ({"training.steps": None}, "training.steps and training.minutes are both null"),
        ({"training.average_checkpoints": 1}, "training.average_checkpoints=1 averages nothing"),
        (
            {"training.average_checkpoints": 5},
            "training.average_checkpoints (5) needs training.keep_checkpoints (1) of a",
        ),
        ({"training.early_stopping": "rouge"}, "training.early_stopping (rouge) must be bleu, chrf, loss, accuracy or"),
        ({"training.patience": 3}, "training.patience has no effect without training.early_stopping"),
        (
            {"training.final_learning_rate": 0.1},
            "training.final_learning_rate=0.1 has no effect with training.schedule",
        ),
        ({"training.teacher_weight": 0.3}, "training.teacher_weight=0.3 has no effect without training.teacher"),
        ({"training.teacher_temperature": 2.0}, "training.teacher_temperature=2.0 has no effect without training.tea"),
        ({"training.teacher": ""}, "training.teacher is empty; name a checkpoint folder"),
        (
            {"training.teacher": "t", "training.teacher_weight": 1.0, "training.label_smoothing": 0.2},
            "training.label_smoothing=0.2 has no effect with training.teacher_weight=1",
        ),
        (
            {"training.muon_steps": 3},
            "training.muon_steps=3 has no effect with training.optimizer=adamw; leave it at 4.",
        ),
        ({"training.muon_update_size": 0.2}, "training.muon_update_size=0.2 has no effect with training.optimizer=ad"),
        ({"training.muon_momentum": 0.9}, "training.muon_momentum=0.9 has no effect with training.optimizer=adamw"),
        (
            {"training.r_drop": 5.0, "model.dropout": 0.0, "model.embedding_dropout": 0.0},
            "training.r_drop=5.0 has no effect when every dropout of model is 0; leave it at 0.0.",
        ),
        (
            {**LANGUAGE_MODEL, "training.compile": True, "training.batch_tokens": 1500},
            "training.compile=true has no effect when training.batch_tokens (1500) is less than two rows of model.",
        ),
        ({"training.r_drop": 5.0, "training.teacher": "t"}, "training.r_drop=5.0 and training.teacher=t exclude each"),
        ({"training.decay_share": 0.1}, "training.decay_share=0.1 has no effect with training.schedule=inverse_sqrt"),
        ({"training.decay_shape": DecayShape.linear}, "training.decay_shape=linear has no effect with training.sch"),
        ({"training.minutes": 5.0, "training.validate_every": 9}, "training.validate_every=9 has no effect with train"),
        ({**LANGUAGE_MODEL, "training.sample_lines": 3}, "training.sample_lines=3 has no effect with task=language_m"),
        (
            {**LANGUAGE_MODEL, "data.documents": Documents.file, "decoding.min_length": 3},
            "decoding.min_length=3 has no effect with data.documents=file",
        ),
        (
            {**TAGGER, "model.tied_embeddings": TiedEmbeddings.none},
            "model.tied_embeddings=none has no effect with task=t",
        ),
        ({"decoding.beam_size": 1, "decoding.length_penalty": 2.0}, "decoding.length_penalty=2.0 has no effect with"),
        ({"decoding.beam_size": 1, "decoding.patience": 2.0}, "decoding.patience=2.0 has no effect with"),
        ({"decoding.search": Search.greedy, "decoding.patience": 2.0}, "decoding.patience=2.0 has no effect with"),
        ({"decoding.patience": -1.0}, "decoding.patience (-1.0) must be at least 0"),
        (
            {"decoding.search": Search.sample, "decoding.length_penalty": 2.0},
            "decoding.length_penalty=2.0 has no effect with decoding.search=sample and decoding.n_best=1",
        ),
        ({"decoding.n_best": 6}, "decoding.n_best (6) is more than decoding.search=beam keeps"),
        (
            {"decoding.search": Search.greedy, "decoding.n_best": 2},
            "decoding.n_best (2) is more than decoding.search=gr",
        ),
        ({"decoding.temperature": 0.5}, "decoding.temperature=0.5 has no effect with decoding.search=beam"),
        ({"decoding.mbr_candidates": 4}, "decoding.mbr_candidates=4 has no effect without decoding.mbr=chrf or bleu"),
        (
            {"decoding.mbr": Utility.chrf, "decoding.mbr_candidates": 6},
            "decoding.mbr_candidates (6) is more than decoding.beam_size (5) keeps",
        ),
        (
            {"decoding.mbr": Utility.bleu, "decoding.mbr_candidates": 3, "decoding.n_best": 4},
            "decoding.n_best (4) is more than the 3 candidates of decoding.mbr=bleu",
        ),
        (
            {"decoding.mbr": Utility.bleu, "decoding.search": Search.greedy},
            "decoding.mbr=bleu chooses between several candidates; use decoding.search=sample",
        ),
        ({"decoding.mbr": Utility.chrf, "decoding.mbr_candidates": 1}, "decoding.mbr=chrf chooses between several"),
        ({"decoding.mbr": Utility.chrf, "decoding.beam_size": 1}, "decoding.mbr=chrf chooses between several"),
        (
            {"decoding.mbr": Utility.chrf, "decoding.search": Search.sample, "decoding.length_penalty": 2.0},
            "decoding.length_penalty=2.0 has no effect with decoding.search=sample and decoding.mbr=chrf",
        ),
        ({**LANGUAGE_MODEL, "decoding.mbr": Utility.chrf}, "decoding.mbr=chrf has no effect with task=language_mod"),
        (
            {"decoding.search": Search.greedy, "decoding.beam_size": 4},
            "decoding.beam_size=4 has no effect with decoding",
        ),
        (
            {"decoding.search": Search.sample, "decoding.beam_size": 4},
            "decoding.beam_size=4 has no effect with decoding",
        ),
        (
            {"decoding.search": Search.greedy, "decoding.length_penalty": 0.6},
            "decoding.length_penalty=0.6 has no effect",
        ),
        (
            {"decoding.length_normalisation": LengthNormalisation.none, "decoding.length_penalty": 0.6},
            "decoding.length_penalty=0.6 has no effect with decoding.length_normalisation=none",
        ),
        ({"decoding.max_new_tokens": 9}, "decoding.max_new_tokens=9 has no effect with task=translation"),
        (
            {"task": Task.classification},
            "task=classification needs model.encoder_layers above 0 and model.decoder_laye",
        ),
        (
            {"task": Task.tagging},
            "task=tagging needs model.encoder_layers above 0 and model.decoder_layers=0, not 6 and 6",
        ),
        ({"task": Task.language_modelling}, "task=language_modelling needs model.encoder_layers=0"),
        ({"model.decoder_layers": 0}, "task=translation needs model.decoder_layers above 0, not 6 and 0"),
        ({"run_dir": ""}, "run_dir is empty"),
        (
            {"training.early_stopping": "accuracy"},
            "training.early_stopping=accuracy needs task=classification or tagging",
        ),
        ({**LANGUAGE_MODEL, "training.early_stopping": "bleu"}, "training.early_stopping=bleu needs task=translation"),
        (
            {**LANGUAGE_MODEL, "tokenizer.joint": False},
            "tokenizer.joint=false has no effect with task=language_modelling",
        ),
        (
            {**LANGUAGE_MODEL, "data.target_language": "de"},
            "data.target_language=de has no effect with task=language_mod",
        ),
        ({**LANGUAGE_MODEL, "data.max_length": 99}, "data.max_length=99 has no effect with task=language_modelling"),
        ({**LANGUAGE_MODEL, "training.valid_lines": 9}, "training.valid_lines=9 has no effect with task=language_mod"),
        (
            {**LANGUAGE_MODEL, "decoding.max_length": 30},
            "decoding.max_length=30 has no effect with task=la",
        ),
        (
            {**LANGUAGE_MODEL, "decoding.max_length_ratio": 3.0},
            "decoding.max_length_ratio=3.0 has no effect with task=la",
        ),
        (
            {**LANGUAGE_MODEL, "data.valid": "corpus/valid", "data.valid_fraction": 0.2},
            "data.valid_fraction=0.2 has no effect beside data.valid",
        ),
        ({**CLASSIFIER, "decoding.beam_size": 2}, "decoding.beam_size=2 has no effect with task=classification"),
        ({**TAGGER, "data.max_length_ratio": 2.0}, "data.max_length_ratio=2.0 has no effect with task=tagging"),
        ({**TAGGER, "model.pooling": Pooling.first}, "model.pooling=first has no effect with task=tagging"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_impossible_combinations_name_key_value_and_fix(changes: dict[str, Any], words: str) -> None:
    assert [sentence for sentence in problems(changes) if words in sentence], problems(changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"data.train": ["a", "b"], "data.weights": [1.0, 0.5]},
        {"model.num_kv_heads": 1, "model.attention_window": 4, "model.window_layers": WindowLayers.alternate},
        {"model.positions": Positions.learned, "model.max_length": 128},
        {"tokenizer.joint": False, "model.tied_embeddings": TiedEmbeddings.decoder},
        {"model.encoder_layers": 0},
        {"model.encoder_layers": 0, "model.positions": Positions.learned, "model.max_length": 256},
        {"training.steps": None, "training.minutes": 0.5},
        {"training.average_checkpoints": 5, "training.keep_checkpoints": 4},
        {"training.early_stopping": "chrf", "training.patience": 3},
        {"training.schedule": Schedule.linear, "training.final_learning_rate": 0.1},
        {"training.optimizer": OptimizerKind.muon, "training.muon_steps": 3, "training.weight_decay": 0.1},
        {"training.r_drop": 5.0, "model.dropout": 0.0},
        {"data.subword_sampling": SubwordSampling.both, "data.subword_alpha": 0.2},
        {"data.subword_sampling": SubwordSampling.target, "tokenizer.kind": TokenizerKind.bpe},
        {**CLASSIFIER, "data.subword_sampling": SubwordSampling.source},
        {"training.schedule": Schedule.wsd, "training.decay_share": 0.1, "training.final_learning_rate": 0.1},
        {"training.clip_norm": 0.0, "training.warmup_steps": 0, "training.sample_lines": 0},
        {"decoding.search": Search.sample, "decoding.temperature": 0.8, "decoding.top_k": 50, "decoding.n_best": 4},
        {"decoding.n_best": 5},
        {"decoding.mbr": Utility.chrf, "decoding.search": Search.sample, "decoding.n_best": 32},
        {"decoding.mbr": Utility.bleu, "decoding.mbr_candidates": 3, "decoding.n_best": 3},
        {**LANGUAGE_MODEL, "data.documents": Documents.file, "data.valid_fraction": 0.2, "model.max_length": 64},
        {**CLASSIFIER, "model.pooling": Pooling.first, "training.early_stopping": "accuracy", "data.max_length": 400},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_possible_combinations_pass(changes: dict[str, Any]) -> None:
    assert problems(changes) == []


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"])
def test_devices(device: str) -> None:
    assert problems({"device": device}) == []


@pytest.mark.parametrize("device", ["", "gpu", "5", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "CPU", "cpu:0"])
def test_no_devices(device: str) -> None:
    assert problems({"device": device}) == [f"device ({device}) must be auto, cpu, cuda, cuda:N or mps."]


def test_zero_or_fewer_heads_are_one_sentence_and_no_crash() -> None:
    changes = {"model.num_heads": 0, "model.dim": 7, "model.positions": Positions.rotary, "model.num_kv_heads": 0}
    assert problems(changes) == [
        "model.num_heads (0) must be at least 1.",
        "model.num_kv_heads (0) must be at least 1, or null.",
    ]


def test_all_problems_come_in_one_message() -> None:
    composed = OmegaConf.structured(Config)
    composed.model.dropout = 1.5
    composed.training.batch_tokens = 0
    composed.seed = -1
    with pytest.raises(ConfigError) as caught:
        typed(composed)
    message = str(caught.value)
    for key in ("model.dropout (1.5)", "training.batch_tokens (0)", "seed (-1)", "data.train", "data.valid"):
        assert key in message
    assert len(caught.value.problems) == len(message.splitlines()) == 5


def test_keys_are_dotted_and_complete() -> None:
    keys = list(keys_of(Config))
    assert len(keys) == len(set(keys))
    assert {"task", "model", "model.dim", "training.batch_tokens", "decoding.top_p"} <= set(keys)


def test_names_that_stay() -> None:
    """Other programs rely on these."""
    assert set(keys_of(Config)) >= {
        "run_dir", "seed", "device", "precision", "training.steps", "training.minutes", "training.batch_tokens",
        "training.resume", "training.threads", "data.train", "data.valid", "data.test", "data.source_language",
        "data.target_language", "data.when_offline", "tokenizer.vocab_size", "decoding.beam_size",
        "decoding.length_penalty",
    }  # fmt: skip

"""Every setting of a run: its type, default, unit and meaning, and what combinations are impossible.

YAML files in `conf/` say what a run *does* set; the dataclasses here say what *may* be set. The rest of the code
sees only these dataclasses, never a Hydra object.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from seq2seq.ranges import number, outside_ranges, without_effect

DEVICE = "auto|cpu|mps|cuda(:[0-9]+)?"
"""What a device may be called, as a regular expression."""


AUTO = "auto"
"""In the place of a number that is measured at the start of a run."""


class Task(str, Enum):
    """What the model learns; it decides which of the models is built."""

    translation = "translation"  # source text -> target text: encoder-decoder, or decoder-only
    language_modelling = "language_modelling"  # text -> its own next token: decoder-only
    classification = "classification"  # source text -> one label: encoder-only
    tagging = "tagging"  # source words -> one label each: encoder-only


class Positions(str, Enum):
    """How a model learns the order of tokens."""

    sinusoidal = "sinusoidal"
    learned = "learned"
    rotary = "rotary"
    alibi = "alibi"


class Norm(str, Enum):
    """Normalisation of the residual stream."""

    layer_norm = "layer_norm"
    rms_norm = "rms_norm"


class NormPlacement(str, Enum):
    """Before each sublayer (with a final norm) or after each residual sum (Vaswani et al. 2017)."""

    pre = "pre"
    post = "post"


class FeedForward(str, Enum):
    """Kind of the position-wise feed-forward block."""

    relu = "relu"
    gelu = "gelu"
    gelu_tanh = "gelu_tanh"  # GELU's tanh approximation, GPT-2's
    silu = "silu"  # also called swish, Marian's
    swiglu = "swiglu"  # gated: three matrices instead of two


class WindowLayers(str, Enum):
    """Which self-attention layers see only the local window."""

    all = "all"
    alternate = "alternate"  # layers 0, 2, 4, ... local; 1, 3, 5, ... global


class TiedEmbeddings(str, Enum):
    """Which matrices are one and the same parameter."""

    all = "all"  # source embedding = target embedding = output projection (needs a joint vocabulary)
    decoder = "decoder"  # target embedding = output projection
    none = "none"


class Initialisation(str, Enum):
    """How weights start."""

    xavier = "xavier"  # Vaswani et al. 2017 / fairseq: Xavier-uniform matrices, embeddings normal with std dim**-0.5
    gpt2 = "gpt2"  # Radford et al. 2019: normal with std 0.02, residual outputs divided by sqrt(2 * layers)


class Pooling(str, Enum):
    """How a classifier makes one vector of a sequence."""

    mean = "mean"
    first = "first"


class TokenizerKind(str, Enum):
    """How text becomes ids."""

    unigram = "unigram"
    bpe = "bpe"
    characters = "characters"
    bytes = "bytes"


class SubwordSampling(str, Enum):
    """Which sides of training pairs are cut into other pieces each time they come."""

    none = "none"
    source = "source"
    target = "target"
    both = "both"


class WhenOffline(str, Enum):
    """What to do when the Hugging Face hub cannot be reached."""

    sample = "sample"  # say so loudly and train on text that is at hand
    fail = "fail"


class Documents(str, Enum):
    """What one document of a language model's text file is."""

    line = "line"  # each line, closed by the end token
    file = "file"  # the whole file, line breaks included


class Schedule(str, Enum):
    """Shape of the learning rate after warm-up."""

    inverse_sqrt = "inverse_sqrt"
    cosine = "cosine"
    linear = "linear"
    constant = "constant"
    wsd = "wsd"  # warm-up, stable, decay


class DecayShape(str, Enum):
    """How the wsd schedule falls at its end."""

    one_minus_sqrt = "one_minus_sqrt"  # Hägele et al. 2024: fast at first
    linear = "linear"


class OptimizerKind(str, Enum):
    """What turns gradients into updates."""

    adamw = "adamw"  # Loshchilov & Hutter 2019
    muon = "muon"  # Jordan et al. 2024 for the matrices of the layers, AdamW for the rest


INT8 = "int8"
"""The number format, beside those of Precision, of a model that is loaded for use on a CPU."""


class Precision(str, Enum):
    """Number format of the matrix products; weights and optimiser stay in float32."""

    auto = "auto"  # bfloat16 where the hardware multiplies it faster than float32, else float32
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class EngineKind(str, Enum):
    """What translates; see engines/."""

    torch = "torch"
    ctranslate2 = "ctranslate2"  # a library of its own, with a model exported to it


class Quantization(str, Enum):
    """Number format of the weights and products of CTranslate2; behind int8_ what the rest is computed in."""

    int8 = "int8"
    int8_float32 = "int8_float32"
    int8_float16 = "int8_float16"
    int8_bfloat16 = "int8_bfloat16"
    int16 = "int16"
    float16 = "float16"
    bfloat16 = "bfloat16"
    float32 = "float32"


class Parallel(str, Enum):
    """What each of several processes (ranks) holds; one process holds everything."""

    ddp = "ddp"  # the whole model and optimiser
    fsdp = "fsdp"  # its share of weights, gradients and optimiser: for models that fill the memory of one GPU


class Resume(str, Enum):
    """What to do with a run folder that already holds a run."""

    auto = "auto"  # go on from its last checkpoint
    never = "never"  # refuse to touch it


class Search(str, Enum):
    """How output is chosen."""

    greedy = "greedy"
    beam = "beam"
    sample = "sample"


class EnsembleRule(str, Enum):
    """What an ensemble takes the mean of."""

    log_probs = "log_probs"
    probs = "probs"


class LengthNormalisation(str, Enum):
    """What a hypothesis's log-probability is divided by; see decoding/length_penalty.py."""

    gnmt = "gnmt"
    average = "average"
    reward = "reward"  # added for every token instead
    none = "none"


class LineSplit(str, Enum):
    """Which lines of several sentences are translated in pieces; see data/joined.py."""

    auto = "auto"  # those longer than lines of several sentences in the training text were; where it had few, all
    sentences = "sentences"  # all, each sentence by itself
    long = "long"  # those longer than data.max_length


class Utility(str, Enum):
    """What minimum Bayes risk decoding measures an output by; see evaluation/least_risk.py."""

    none = "none"  # no such decoding
    chrf = "chrf"
    bleu = "bleu"


@dataclass(slots=True)
class ModelConfig:
    """Shape of the model; 0 decoder layers make it encoder-only, 0 encoder layers decoder-only."""

    encoder_layers: int = number(6, at_least=0)
    """Layers of the encoder; 0 makes a decoder-only model: a language model, or a translator that reads source and
    target as one text."""
    decoder_layers: int = number(6, at_least=0)
    """Layers of the decoder; 0 makes an encoder-only classifier or tagger."""
    dim: int = number(512, at_least=1)
    """Width of embeddings and residual stream."""
    num_heads: int = number(8, at_least=1)
    """Query heads of every attention."""
    num_kv_heads: int | None = number(None, at_least=1)
    """Key/value heads: num_heads (null) is multi-head, 1 multi-query, a divisor of num_heads grouped-query."""
    feed_forward_dim: int = number(2048, at_least=1)
    """Inner width of the feed-forward block."""
    feed_forward: FeedForward = FeedForward.relu
    positions: Positions = Positions.sinusoidal
    max_length: int = number(1024, at_least=1)
    """Tokens a learned position table holds; the context of a language model."""
    norm: Norm = Norm.layer_norm
    norm_placement: NormPlacement = NormPlacement.pre
    bias: bool = True
    """Biases in linear layers and LayerNorm."""
    attention_window: int | None = number(None, at_least=1)
    """Self-attention sees this many positions each side (behind, in a decoder); null sees all."""
    window_layers: WindowLayers = WindowLayers.all
    """Which layers are local; needs attention_window."""
    tied_embeddings: TiedEmbeddings = TiedEmbeddings.all
    scale_embeddings: bool = True
    """Multiply embeddings by sqrt(dim) (Vaswani et al. 2017, section 3.4)."""
    initialisation: Initialisation = Initialisation.xavier
    dropout: float = number(0.1, at_least=0, below=1)
    """On each sublayer's output, before the residual sum."""
    attention_dropout: float = number(0.0, at_least=0, below=1)
    """On attention weights."""
    activation_dropout: float = number(0.0, at_least=0, below=1)
    """Inside the feed-forward block."""
    embedding_dropout: float = number(0.1, at_least=0, below=1)
    """On the sum of embeddings and positions."""
    pooling: Pooling = Pooling.mean
    """How a classifier makes one vector of a sequence."""

    def problems(self) -> Iterator[str]:
        """Sentences on impossible values, each naming the key, the value and the fix."""
        yield from outside_ranges(self, "model.")
        if self.encoder_layers == 0 and self.decoder_layers == 0:
            yield "model.encoder_layers and model.decoder_layers are both 0; give at least one of them a layer."
        if self.num_heads >= 1 and self.dim % self.num_heads:
            yield f"model.dim ({self.dim}) must be a multiple of model.num_heads ({self.num_heads})."
        elif self.num_heads >= 1 and self.positions is Positions.rotary and self.dim // self.num_heads % 2:
            yield (
                f"model.positions=rotary turns pairs of numbers, but model.dim / model.num_heads is "
                f"{self.dim // self.num_heads}; make it even."
            )
        if self.positions is Positions.sinusoidal and self.dim % 2:
            yield f"model.positions=sinusoidal needs an even model.dim, not {self.dim}."
        if self.num_kv_heads is not None and self.num_kv_heads >= 1 and self.num_heads % self.num_kv_heads:
            yield (
                f"model.num_kv_heads ({self.num_kv_heads}) must divide model.num_heads ({self.num_heads}); "
                "null means as many."
            )
        if self.attention_window is None:
            yield from without_effect(self, "model.", ["window_layers"], "without model.attention_window")


@dataclass(slots=True)
class DataConfig:
    """Where text comes from and which pairs are left out.

    A *text spec* is one of: a prefix (`data/train` reads `data/train.en[.gz]` and `data/train.de[.gz]`), a pattern
    with `{language}` (`data/{language}.gz`), a `.tsv`, `.jsonl` (also `.gz`) file, `hub:NAME[:CONFIG[:SPLIT]]` for a
    Hugging Face dataset (a hub name or a local folder in the hub's layout), or `sample` for the embedded corpus.
    A language model also takes a plain text file.
    """

    train: Any = None
    """A text spec, or a list of them."""
    valid: Any = None
    """A text spec; a language model without one validates on the last valid_fraction of its training text."""
    test: Any = None
    """A text spec, scored at the end of the run."""
    dir: str = "."
    """The folder that recipes over local files refer to as ${data.dir}."""
    weights: list[float] | None = None
    """How often an epoch shows each training corpus; one number for each entry of data.train. Null: once each."""
    source_language: str | None = None
    target_language: str | None = None
    source_field: str | None = None
    """Column of a JSON-lines file or hub dataset; null means the language code or, under it, translation.<code>."""
    target_field: str | None = None
    when_offline: WhenOffline = WhenOffline.sample
    max_pairs: int | None = number(None, at_least=1)
    """Read only the first this many pairs of each training corpus; null reads all. No more are fetched from the hub."""
    streaming: bool = True
    """Read hub datasets as a stream instead of downloading them whole first."""
    documents: Documents = Documents.line
    """Language models: is each line of a text file a document, or the whole file one?"""
    valid_fraction: float = number(0.1, above=0, below=1)
    """Language models without data.valid: the share of the training text, at its end, kept for validation."""
    max_length: int = number(128, at_least=2)
    """Longest side of a training pair, in tokens (end token included); longer pairs are dropped and counted."""
    max_length_ratio: float = number(4.0, at_least=1)
    """Training pairs whose sides differ in tokens by more than this factor (plus 8 tokens) are dropped and counted."""
    subword_sampling: SubwordSampling = SubwordSampling.none
    """Sides that training cuts into random pieces, others each time (Kudo 2018; with tokenizer.kind=bpe BPE-dropout,
    Provilkov et al. 2020). Where these would be more than data.max_length, a text keeps its own."""
    subword_alpha: float | None = number(None, above=0, at_most=1)
    """Unigram: exponent of the segmentations' probabilities, the smaller the more random; null is 0.3. BPE: probability
    of leaving out a merge, the larger the more random; null is 0.1. They make 12 and 18 % more tokens of captions."""
    cache_dir: str | None = None
    """Where token ids are kept; null means ~/.cache/seq2seq."""
    workers: int | None = number(None, at_least=1)
    """Processes that encode text, with the same result whatever their number; null means one for each core."""

    def problems(self) -> Iterator[str]:
        """Sentences on impossible values, each naming the key, the value and the fix."""
        yield from outside_ranges(self, "data.")
        for name in ("train", "valid", "test"):
            spec = getattr(self, name)
            parts = spec if isinstance(spec, list) else [spec]
            if any(part is not None and not isinstance(part, str) for part in parts):
                yield f"data.{name} ({spec!r}) must be a text spec (a string){' or a list' if name == 'train' else ''}."
            elif isinstance(spec, list) and name != "train":
                yield f"data.{name} takes one text spec, not a list of {len(spec)}."
            elif spec == [] or "" in parts:
                yield f"data.{name} is empty; name a text spec{' or leave it out' if name != 'train' else ''}."
        if self.train is None:
            yield "data.train is not set; name the training text, for example data.train=corpus/train."
        count = len(self.train) if isinstance(self.train, list) else 1
        if self.weights is not None and len(self.weights) != count:
            yield f"data.weights has {len(self.weights)} numbers for {count} entries of data.train; give one each."
        if self.weights is not None and not all(0 < weight < math.inf for weight in self.weights):
            yield f"data.weights ({self.weights}) must all be finite and above 0."
        if self.subword_sampling is SubwordSampling.none:
            names = ["subword_alpha"]
            yield from without_effect(self, "data.", names, "with data.subword_sampling=none")


@dataclass(slots=True)
class TokenizerConfig:
    """How text becomes ids; trained on the training text and stored in the checkpoint."""

    kind: TokenizerKind = TokenizerKind.unigram
    vocab_size: int | None = number(8000, at_least=16)
    """Entries of a unigram or BPE vocabulary, special tokens included; null for characters and bytes."""
    joint: bool = True
    """One vocabulary for both languages; false makes one each, of vocab_size."""
    character_coverage: float = number(0.9995, at_least=0.9, at_most=1)
    """Share of the text's characters that get an entry of their own (unigram and BPE)."""
    byte_fallback: bool = True
    """Spell characters outside the vocabulary as bytes instead of <unk> (unigram and BPE)."""
    user_symbols: list[str] = field(default_factory=list)
    """Strings that are always one token (unigram and BPE)."""
    training_lines: int = number(60000, at_least=100)
    """Sentences sampled from the training text to learn the vocabulary from (unigram and BPE)."""
    checkpoint: str | None = None
    """A checkpoint whose vocabulary is used instead of learning one; the other settings of tokenizer must be its own.
    A language model takes the target's of a translator with two, or the source's if data.source_language is that."""

    def problems(self) -> Iterator[str]:
        """Sentences on impossible values, each naming the key, the value and the fix."""
        yield from outside_ranges(self, "tokenizer.")
        if self.checkpoint == "":
            yield "tokenizer.checkpoint is empty; name a checkpoint folder, for example runs/multi30k/best, or null."
        learned = self.kind in (TokenizerKind.unigram, TokenizerKind.bpe)
        if learned and self.vocab_size is None:
            yield f"tokenizer.vocab_size is not set; tokenizer.kind={self.kind.value} needs one, for example 8000."
        if not learned and self.vocab_size is not None:
            yield (
                f"tokenizer.vocab_size ({self.vocab_size}) has no effect with tokenizer.kind={self.kind.value}; "
                "set it to null."
            )
        if not learned:
            names = ["character_coverage", "byte_fallback", "user_symbols", "training_lines"]
            yield from without_effect(self, "tokenizer.", names, f"with tokenizer.kind={self.kind.value}")


OF_MUON = ("muon_momentum", "muon_update_size", "muon_steps")
"""Settings of training.optimizer=muon alone."""


@dataclass(slots=True)
class TrainingConfig:
    """The recipe: how long, how fast, how checked, how saved."""

    steps: int | None = number(100_000, at_least=1)
    """Optimiser steps; null leaves the end to training.minutes."""
    minutes: float | None = number(None, above=0)
    """Wall-clock budget in minutes, validation included; the learning-rate schedule is spread over it."""
    batch_tokens: int | str = number(4096, or_word=AUTO, at_least=1)
    """Padded tokens of the longer side in one micro-batch, where a longer pair is alone; a language model's tokens.
    data.subword_sampling comes after that count: a batch has more then, by as much as data.subword_alpha lengthens
    texts, but no row more than data.max_length. auto measures sizes at the start of a run and takes one that fits into
    memory and is fast: planning/budget.py."""
    accumulation: int = number(1, at_least=1)
    """Micro-batches an optimiser step, for each rank; the loss is divided by the global number of target tokens."""
    parallel: Parallel = Parallel.ddp
    """What each rank holds when torchrun starts several; without effect on one process. See recipes/scaling.md."""
    learning_rate: float = number(1e-3, above=0)
    """Learning rate that warm-up rises to and the schedule falls from; training/schedule.py has the formulas."""
    schedule: Schedule = Schedule.inverse_sqrt
    warmup_steps: int = number(1000, at_least=0)
    """Steps of linear warm-up; with training.minutes at most a tenth of the budget."""
    final_learning_rate: float = number(0.0, at_least=0, at_most=1)
    """Where the cosine, linear and wsd schedules end, as a share of learning_rate."""
    decay_share: float = number(0.2, above=0, at_most=1)
    """Share of the run, at its end, in which the wsd schedule falls."""
    decay_shape: DecayShape = DecayShape.one_minus_sqrt
    """How the wsd schedule falls."""
    optimizer: OptimizerKind = OptimizerKind.adamw
    muon_momentum: float = number(0.95, at_least=0, below=1)
    """Decay of Muon's moving average of gradients."""
    muon_update_size: float = number(0.6, above=0)
    """Root mean square of Muon's updates over the learning rate; 0.2 is about AdamW's late in training."""
    muon_steps: int = number(4, at_least=2, at_most=5)
    """Newton-Schulz steps of Muon; each costs time and makes updates more nearly orthogonal, see training/muon.py."""
    beta1: float = number(0.9, at_least=0, below=1)
    beta2: float = number(0.98, at_least=0, below=1)
    epsilon: float = number(1e-9, above=0)
    weight_decay: float = number(0.0, at_least=0)
    """Applied to matrices only, not to norms, biases and embeddings."""
    label_smoothing: float = number(0.1, at_least=0, below=1)
    """Share of probability spread evenly over the vocabulary (Szegedy et al. 2016)."""
    r_drop: float = number(0.0, at_least=0)
    """alpha of R-Drop (Liang et al. 2021): weight of the divergence between two passes under different dropout; 0 makes
    one pass. Each micro-batch has twice its rows. The paper has 5 for translation."""
    teacher: str | None = None
    """Checkpoint folder of a model to learn from at every token, with its vocabulary; see training/distillation.py."""
    teacher_weight: float = number(0.5, above=0, at_most=1)
    """Share of the loss that is the divergence from the teacher; the rest is the cross-entropy of the text."""
    teacher_temperature: float = number(1.0, above=0)
    """Divides the logits of both models in the divergence: above 1 the teacher's improbable tokens count more."""
    clip_norm: float = number(1.0, at_least=0)
    """Largest norm of the whole gradient; 0 does not clip."""
    max_skipped: int = number(10, at_least=1)
    """Steps in a row whose loss or gradient is not finite, which update nothing, before the run goes back to the newest
    checkpoint of save_every with half the learning rate."""
    ema_decay: float | None = number(None, above=0, below=1)
    """Decay of an exponential moving average of the weights, validated and saved as best; null keeps none."""
    average_checkpoints: int = number(0, at_least=0)
    """Average the newest this many kept checkpoints at the end and take the result as best if it scores better."""
    validate_every: int = number(1000, at_least=1)
    """Steps between validations (loss, and for translation BLEU and chrF by real decoding); with
    training.minutes null. With training.minutes, see validations."""
    validations: int = number(10, at_least=1)
    """How many validations training.minutes holds, evenly spread; used instead of validate_every."""
    valid_lines: int | None = number(None, at_least=1)
    """Decode only the first this many validation lines; null decodes all."""
    early_stopping: str | None = None
    """Metric to watch: bleu, chrf, loss or accuracy; null picks the task's own for best/ and never stops early."""
    patience: int = number(0, at_least=0)
    """Validations without a better early_stopping metric before the run stops; 0 never stops."""
    save_every: int = number(1000, at_least=1)
    """Steps between checkpoints of the full training state in last/, which is also written after each validation."""
    keep_checkpoints: int = number(1, at_least=0)
    """Checkpoints of save_every older than last/ to keep, under checkpoints/; one more while last/ is not of
    save_every, so that there is always one to go back to (at first the start, step-0)."""
    log_every: int = number(50, at_least=1)
    """Steps between lines in metrics.jsonl."""
    resume: Resume = Resume.auto
    threads: int | None = number(None, at_least=1)
    """CPU threads of each rank; null uses every core this process may use, or a rank's share of them."""
    compile: bool = False
    """Compile the layers with torch's compiler at the start, for faster steps; see training/compilation.py. On a CPU it
    needs a C++ compiler, takes a minute or so the first time and gains little: README."""
    sample_lines: int = number(5, at_least=0)
    """Source / reference / translation triples shown at the end."""
    tensorboard: bool = True
    """Write TensorBoard scalars into the run folder."""

    @property
    def token_budget(self) -> int:
        """batch_tokens, once it is a number."""
        assert isinstance(self.batch_tokens, int), "training.batch_tokens=auto is measured before anything reads it"
        return self.batch_tokens

    @property
    def never_warm(self) -> bool:
        """Whether the run ends before its learning rate has risen to training.learning_rate."""
        return self.minutes is None and self.steps is not None and self.warmup_steps >= self.steps

    def problems(self) -> Iterator[str]:
        """Sentences on impossible values, each naming the key, the value and the fix."""
        yield from outside_ranges(self, "training.")
        if self.steps is None and self.minutes is None:
            yield "training.steps and training.minutes are both null; set one, so that the run has an end."
        if self.optimizer is not OptimizerKind.muon:
            yield from without_effect(self, "training.", OF_MUON, f"with training.optimizer={self.optimizer.value}")
        if self.optimizer is OptimizerKind.muon and self.parallel is Parallel.fsdp:
            fresh = type(self)()
            settings = [name for name in OF_MUON if getattr(self, name) != getattr(fresh, name)]
            adamw = " ".join(["training.optimizer=adamw", *(f"training.{n}={getattr(fresh, n)}" for n in settings)])
            yield (
                "training.parallel=fsdp cuts the matrices that training.optimizer=muon needs whole; set "
                f"training.parallel=ddp, or {adamw} (with a learning rate that suits it)."
            )
        if self.schedule in (Schedule.inverse_sqrt, Schedule.constant):
            where = f"with training.schedule={self.schedule.value}"
            yield from without_effect(self, "training.", ["final_learning_rate"], where)
        if self.r_drop and self.teacher is not None:
            yield f"training.r_drop={self.r_drop} and training.teacher={self.teacher} exclude each other; drop one."
        if self.teacher is None:
            names = ["teacher_weight", "teacher_temperature"]
            yield from without_effect(self, "training.", names, "without training.teacher")
        elif not self.teacher:
            yield "training.teacher is empty; name a checkpoint folder, for example runs/multi30k/best, or null."
        elif self.teacher_weight == 1:
            where = "with training.teacher_weight=1, which leaves no cross-entropy"
            yield from without_effect(self, "training.", ["label_smoothing"], where)
        if self.schedule is not Schedule.wsd:
            where = f"with training.schedule={self.schedule.value}"
            yield from without_effect(self, "training.", ["decay_share", "decay_shape"], where)
        if self.average_checkpoints == 1:
            yield "training.average_checkpoints=1 averages nothing; set 0 or at least 2."
        if self.average_checkpoints > self.keep_checkpoints + 1:
            yield (
                f"training.average_checkpoints ({self.average_checkpoints}) needs training.keep_checkpoints "
                f"({self.keep_checkpoints}) of at least {self.average_checkpoints - 1}: last/ is the newest of them."
            )
        if self.early_stopping not in (None, "bleu", "chrf", "loss", "accuracy"):
            yield f"training.early_stopping ({self.early_stopping}) must be bleu, chrf, loss, accuracy or null."
        if self.patience and self.early_stopping is None:
            yield "training.patience has no effect without training.early_stopping; name a metric, for example bleu."


OF_BEAMS = ("patience", "coverage_penalty", "num_beam_groups", "diversity_penalty")
"""Settings of DecodingConfig that beam search alone reads, and only with a beam of more than one."""
SOURCE_LENGTHS = ("max_length_ratio", "min_length_ratio", "max_length")
"""Limits of DecodingConfig for output with a source; a language model has max_new_tokens."""


@dataclass(slots=True)
class DecodingConfig:
    """How translations and text are searched for."""

    search: Search = Search.beam
    beam_size: int = number(5, at_least=1)
    length_penalty: float = number(1.0, at_least=0)
    """alpha of length_normalisation; larger favours longer output. Of `reward` it is nats a token, say 0.2."""
    length_normalisation: LengthNormalisation = LengthNormalisation.average
    split: LineSplit = LineSplit.auto
    """Which lines of several sentences are translated in pieces, cut where sentences end."""
    n_best: int = number(1, at_least=1)
    """Hypotheses returned for each input; at most beam_size."""
    patience: float = number(1.0, at_least=0)
    """Beam search ends a sentence when this times beam_size hypotheses have ended; 0 goes on until none can win."""
    min_length: int = number(0, at_least=0)
    """Fewest output tokens before the end token."""
    max_length_ratio: float = number(2.0, above=0)
    """Most output tokens: this times the source tokens, plus 10."""
    min_length_ratio: float = number(0.0, at_least=0)
    """Fewest output tokens before the end token: this times the source tokens, rounded up; or min_length, if more."""
    max_length: int = number(0, at_least=0)
    """Most output tokens, the end token included, where max_length_ratio allows more; 0 leaves it to that."""
    max_new_tokens: int = number(500, at_least=1)
    """Language models: tokens to write."""
    no_repeat_ngram_size: int = number(0, at_least=0)
    """No run of this many tokens is written twice (a language model's prompt counts as written); 0 lets it be."""
    repetition_penalty: float = number(1.0, above=0)
    """Log-probabilities of tokens written before (a language model's prompt too) are multiplied by this; 1 is off."""
    suppress_tokens: list[str] = field(default_factory=list)
    """Pieces of the target's vocabulary that are never written, such as "▁the"; see --suppress-tokens."""
    suppress_text: list[str] = field(default_factory=list)
    """Words and phrases that are never written, however they are cut into tokens."""
    coverage_penalty: float = number(0.0, at_least=0)
    """How much a source token that got little attention costs; see decoding/coverage.py. 0 is off, 0.2 usual."""
    num_beam_groups: int = number(1, at_least=1)
    """Groups of equal size that beam_size is divided into, for diverse beam search; 1 is one beam."""
    diversity_penalty: float = number(0.0, at_least=0)
    """Nats that a token costs for each beam of earlier groups that writes it at the same step."""
    temperature: float = number(1.0, above=0)
    top_k: int = number(0, at_least=0)
    """Sample from the k most probable tokens only; 0 from all."""
    top_p: float = number(1.0, above=0, at_most=1)
    """Sample from the smallest set of tokens that holds this probability; 1 from all."""
    min_p: float = number(0.0, at_least=0, at_most=1)
    """Sample from tokens of at least this times the probability of the most probable one; 0 from all."""
    epsilon_cutoff: float = number(0.0, at_least=0, below=1)
    """Sample from tokens of at least this probability; 0 from all."""
    batch_tokens: int = number(4096, at_least=1)
    """Padded source tokens of a batch times the beams of each."""
    mbr: Utility = Utility.none
    """Minimum Bayes risk: of all candidates of a line the one that has the most chrF or BLEU with the others."""
    mbr_candidates: int = number(0, at_least=0)
    """How many they are: samples, or a beam's best; 0: 32 samples, or the whole beam."""

    @property
    def num_candidates(self) -> int:
        """Hypotheses of a line that a search returns."""
        if self.mbr is Utility.none:
            return self.n_best
        return self.mbr_candidates or (self.beam_size if self.search is Search.beam else 32)

    def problems(self) -> Iterator[str]:
        """Sentences on impossible values, each naming the key, the value and the fix."""
        yield from outside_ranges(self, "decoding.")
        most = {Search.beam: max(self.beam_size, 1), Search.greedy: 1}.get(self.search)
        if most is not None and self.n_best > most:
            yield (
                f"decoding.n_best ({self.n_best}) is more than decoding.search={self.search.value} keeps; use beam "
                f"search with decoding.beam_size of at least {self.n_best}."
            )
        if self.beam_size % max(self.num_beam_groups, 1):
            yield (
                f"decoding.num_beam_groups ({self.num_beam_groups}) does not divide decoding.beam_size "
                f"({self.beam_size}); change the one or the other."
            )
        if self.num_beam_groups > 1 and not self.diversity_penalty:
            yield (
                f"decoding.num_beam_groups ({self.num_beam_groups}) needs decoding.diversity_penalty above 0, say 0.5, "
                "or every group writes the same."
            )
        if self.num_beam_groups == 1 and self.search is Search.beam:
            yield from without_effect(self, "decoding.", ["diversity_penalty"], "with decoding.num_beam_groups=1")
        if 0 < self.max_length <= self.min_length:
            yield (
                f"decoding.min_length ({self.min_length}) leaves no room for the end token within decoding.max_length "
                f"({self.max_length}); lower the one or raise the other."
            )
        if 0 < self.max_length_ratio < self.min_length_ratio:
            yield (
                f"decoding.min_length_ratio ({self.min_length_ratio}) is more than decoding.max_length_ratio "
                f"({self.max_length_ratio}); lower the one or raise the other."
            )
        if any(not text.strip() for text in self.suppress_text):
            yield "decoding.suppress_text holds a blank text, which every output has; leave it out."
        where = f"with decoding.search={self.search.value}"
        yield from self._problems_of_mbr(most)
        if self.search is not Search.sample:
            filters = ["temperature", "top_k", "top_p", "min_p", "epsilon_cutoff"]
            yield from without_effect(self, "decoding.", filters, where)
        if self.search is not Search.beam:
            yield from without_effect(self, "decoding.", ["beam_size", *OF_BEAMS], where)
        lengths = ["length_penalty", "length_normalisation"]
        if self.search is Search.greedy:
            yield from without_effect(self, "decoding.", lengths, where)
        elif self.search is Search.sample and self.mbr is not Utility.none:
            yield from without_effect(self, "decoding.", lengths, f"{where} and decoding.mbr={self.mbr.value}")
        elif self.search is Search.sample and self.n_best == 1:
            yield from without_effect(self, "decoding.", lengths, f"{where} and decoding.n_best=1")
        elif self.search is Search.beam and self.beam_size == 1:
            yield from without_effect(self, "decoding.", [*lengths, *OF_BEAMS], "with decoding.beam_size=1")

    def _problems_of_mbr(self, most: int | None) -> Iterator[str]:
        """As `problems`; most hypotheses that the search keeps, None for any number."""
        if self.mbr is Utility.none:
            yield from without_effect(self, "decoding.", ["mbr_candidates"], "without decoding.mbr=chrf or bleu")
        elif self.num_candidates < 2 or self.search is Search.greedy:
            yield (
                f"decoding.mbr={self.mbr.value} chooses between several candidates; use decoding.search=sample, or "
                "beam with decoding.beam_size above 1, and decoding.mbr_candidates of at least 2."
            )
        elif most is not None and self.mbr_candidates > most:
            yield (
                f"decoding.mbr_candidates ({self.mbr_candidates}) is more than decoding.beam_size ({most}) keeps; "
                "lower the one, raise the other, or use decoding.search=sample."
            )
        elif self.n_best > self.num_candidates:
            yield (
                f"decoding.n_best ({self.n_best}) is more than the {self.num_candidates} candidates of "
                f"decoding.mbr={self.mbr.value}; raise decoding.mbr_candidates."
            )


@dataclass(slots=True)
class Config:
    """A whole training run."""

    task: Task = Task.translation
    run_dir: str = "runs/default"
    """Folder of the run: checkpoints, metrics, curves."""
    seed: int = number(1, at_least=0)
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: Precision = Precision.auto
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)

    def with_batch_tokens(self, batch_tokens: int) -> "Config":
        """The same run with this training.batch_tokens."""
        return dataclasses.replace(self, training=dataclasses.replace(self.training, batch_tokens=batch_tokens))

    @property
    def translates_decoder_only(self) -> bool:
        """Whether the model reads source and target of a translation as one text."""
        return self.task is Task.translation and self.model.encoder_layers == 0

    @property
    def longest_side(self) -> float:
        """Most tokens of one side that the model can read: what its table of learned positions holds."""
        if self.model.positions is not Positions.learned:
            return math.inf
        return self.model.max_length // 2 if self.translates_decoder_only else self.model.max_length

    def problems(self) -> Iterator[str]:
        """Sentences on impossible values and combinations, over all parts."""
        yield from outside_ranges(self, "")
        for part in (self.model, self.data, self.tokenizer, self.training, self.decoding):
            yield from part.problems()
        encoder, decoder = self.model.encoder_layers > 0, self.model.decoder_layers > 0
        wants = {
            Task.translation: (encoder, True, "model.decoder_layers above 0"),
            Task.language_modelling: (False, True, "model.encoder_layers=0 and model.decoder_layers above 0"),
            Task.classification: (True, False, "model.encoder_layers above 0 and model.decoder_layers=0"),
            Task.tagging: (True, False, "model.encoder_layers above 0 and model.decoder_layers=0"),
        }[self.task]
        if (encoder, decoder) != wants[:2]:
            yield (
                f"task={self.task.value} needs {wants[2]}, not {self.model.encoder_layers} and "
                f"{self.model.decoder_layers}."
            )
        if self.task is Task.translation and not self.tokenizer.joint and self.model.tied_embeddings.value == "all":
            yield "model.tied_embeddings=all needs tokenizer.joint=true; set model.tied_embeddings=decoder."
        yield from self._settings_without_effect()
        if self.task is not Task.language_modelling and self.data.valid is None:
            yield "data.valid is not set; name a validation text, for example data.valid=corpus/valid."
        if self.task is not Task.language_modelling and self.data.max_length > self.longest_side:
            half = "half of " if self.translates_decoder_only else ""
            yield (
                f"data.max_length ({self.data.max_length}) is longer than {half}the learned position table, "
                f"model.max_length ({self.model.max_length}); lower the one or raise the other."
            )
        if not self.run_dir:
            yield "run_dir is empty; name the folder of the run, for example run_dir=runs/first."
        if not re.fullmatch(DEVICE, self.device):
            yield f"device ({self.device}) must be auto, cpu, cuda, cuda:N or mps."
        metric = self.training.early_stopping
        if metric in ("bleu", "chrf") and self.task is not Task.translation:
            yield f"training.early_stopping={metric} needs task=translation; task={self.task.value} has loss."
        if metric == "accuracy" and self.task not in (Task.classification, Task.tagging):
            yield f"training.early_stopping=accuracy needs task=classification or tagging, not {self.task.value}."

    def _settings_without_effect(self) -> Iterator[str]:
        """Settings that were changed although the task or another setting keeps them from being read."""
        where = f"with task={self.task.value}"
        model = self.model
        dropouts = model.dropout, model.attention_dropout, model.activation_dropout, model.embedding_dropout
        if not any(dropouts):
            yield from without_effect(self.training, "training.", ["r_drop"], "when every dropout of model is 0")
        sampling = self.data.subword_sampling
        if self.task in (Task.language_modelling, Task.tagging):
            yield from without_effect(self.data, "data.", ["subword_sampling"], where)
        elif self.task is Task.classification and sampling in (SubwordSampling.target, SubwordSampling.both):
            yield f"data.subword_sampling={sampling.value} needs text on the target side, not labels; set source."
        if self.tokenizer.kind in (TokenizerKind.characters, TokenizerKind.bytes):
            names = ["subword_sampling"]
            yield from without_effect(self.data, "data.", names, f"with tokenizer.kind={self.tokenizer.kind.value}")
        if self.task is Task.language_modelling:
            names = ["target_language", "target_field", "max_length", "max_length_ratio"]
            yield from without_effect(self.data, "data.", names, where)
            yield from without_effect(
                self.decoding,
                "decoding.",
                [*SOURCE_LENGTHS, "coverage_penalty", "split", "mbr", "mbr_candidates"],
                where,
            )
            if self.data.valid is not None:
                yield from without_effect(self.data, "data.", ["valid_fraction"], "beside data.valid")
            tokens = self.training.batch_tokens
            if isinstance(tokens, int) and tokens < 2 * self.model.max_length:
                where = f"when training.batch_tokens ({tokens}) is less than two rows of model.max_length"
                yield from without_effect(self.training, "training.", ["compile"], where)
        else:
            yield from without_effect(self.data, "data.", ["documents", "valid_fraction"], where)
            if self.model.positions is not Positions.learned:
                names = ["max_length"]
                yield from without_effect(self.model, "model.", names, f"{where} and without model.positions=learned")
        if self.task is not Task.translation:
            yield from without_effect(self.tokenizer, "tokenizer.", ["joint"], where)
            yield from without_effect(self.training, "training.", ["valid_lines"], where)
        else:
            yield from without_effect(self.decoding, "decoding.", ["max_new_tokens"], where)
        if self.task is not Task.classification:
            yield from without_effect(self.model, "model.", ["pooling"], where)
        if self.task is Task.language_modelling:
            yield from without_effect(self.training, "training.", ["sample_lines"], where)
            if self.data.documents is Documents.file:
                names = ["min_length"]
                yield from without_effect(self.decoding, "decoding.", names, "with data.documents=file: no text ends")
        if self.training.minutes is not None:
            names = ["validate_every"]
            yield from without_effect(
                self.training, "training.", names, "with training.minutes, see training.validations"
            )
        if self.training.teacher is not None:
            names = ["checkpoint"]
            yield from without_effect(
                self.tokenizer, "tokenizer.", names, "with training.teacher, whose vocabulary it is"
            )
        if self.task in (Task.classification, Task.tagging):
            yield from without_effect(self.model, "model.", ["tied_embeddings"], where)
            yield from without_effect(self.tokenizer, "tokenizer.", ["checkpoint"], where)
            yield from without_effect(self.data, "data.", ["max_length_ratio"], where)
            names = [item.name for item in dataclasses.fields(DecodingConfig) if item.name != "batch_tokens"]
            yield from without_effect(self.decoding, "decoding.", names, where)
        elif self.decoding.length_normalisation is LengthNormalisation.none:
            names, where = ["length_penalty"], "with decoding.length_normalisation=none"
            yield from without_effect(self.decoding, "decoding.", names, where)

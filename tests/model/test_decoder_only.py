"""The decoder-only translator beside a language model of the same weights that reads each pair as one text."""

import itertools
from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seq2seq.config import ModelConfig, Norm, NormPlacement, Positions, Task, TiedEmbeddings, WindowLayers
from seq2seq.configure import check, register_schemas
from seq2seq.data.batch import IGNORE
from seq2seq.data.collate import pair_batch
from seq2seq.data.tokenizer import BOS, EOS
from seq2seq.errors import ConfigError
from seq2seq.model.build import build_model
from seq2seq.model.transformer import DecoderOnlyTranslator, EncoderDecoder, LanguageModel
from seq2seq.training.loss import batch_loss

VOCAB = 23
SHAPES = ("decoder_only", "small")
TOLERANCE = dict(rtol=0.0, atol=1e-10)  # in float64
ATTENTIONS = {
    "multi_head": {},
    "grouped_query": {"num_kv_heads": 2},
    "local": {"attention_window": 2},
    "alternate": {"attention_window": 3, "window_layers": WindowLayers.alternate},
}
COMBINATIONS = list(itertools.product(ATTENTIONS, Positions, NormPlacement))
every_combination = pytest.mark.parametrize(
    "combination", COMBINATIONS, ids=["-".join(getattr(kind, "value", kind) for kind in c) for c in COMBINATIONS]
)
SOURCES = [[7, 8, 9, 4, 11, 12, EOS], [5, EOS], [6, 6, 10, 9, EOS], [EOS]]
TARGETS = [[9, 8, EOS], [4, 5, 6, 7, 8, EOS], [10, EOS], [EOS]]


@cache
def build(combination: tuple, tied: TiedEmbeddings = TiedEmbeddings.all) -> tuple[DecoderOnlyTranslator, LanguageModel]:
    """A translator of random float64 weights, and the language model that shares them."""
    attention, positions, placement = combination
    torch.manual_seed(3)
    config = ModelConfig(
        encoder_layers=0, decoder_layers=2, dim=16, num_heads=4, feed_forward_dim=12, positions=positions,
        max_length=16, norm=Norm.rms_norm, norm_placement=placement, tied_embeddings=tied, **ATTENTIONS[attention],
    )  # fmt: skip
    model = build_model(config, task=Task.translation, source_vocab_size=VOCAB, target_vocab_size=VOCAB)
    assert isinstance(model, DecoderOnlyTranslator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    model = model.double().eval()
    return model, LanguageModel(model.decoder, embedding=model.target_embedding, head=model.head)


def batch_of(rows: list[int]):
    return pair_batch(
        [torch.tensor(SOURCES[row]).numpy() for row in rows],
        [torch.tensor(TARGETS[row]).numpy() for row in rows],
        task=Task.translation,
    )


@every_combination
@pytest.mark.parametrize("rows", [[0], [0, 1, 2, 3], [3, 2, 0], [1, 1]])
def test_a_pair_is_read_as_one_text(combination: tuple, rows: list[int]) -> None:
    model, lm = build(combination)
    batch = batch_of(rows)
    logits = model(batch.source, batch.target_in, source_mask=batch.source_mask)
    for number, row in enumerate(rows):
        text = torch.tensor([[*SOURCES[row], BOS, *TARGETS[row][:-1]]])
        expected = lm(text)[0, len(SOURCES[row]) :]
        torch.testing.assert_close(logits[number, : len(TARGETS[row])], expected, **TOLERANCE)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_the_target_alone(label_smoothing: float) -> None:
    """Against one text a row, in which the labels of the source are masked by hand: the loss and every gradient."""
    model, lm = build(("multi_head", Positions.rotary, NormPlacement.pre))
    batch = batch_of([0, 1, 2, 3])
    model.zero_grad()
    loss, nats = batch_loss(model, batch, label_smoothing=label_smoothing)
    loss.backward()
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    model.zero_grad()
    expected, plain, count = torch.zeros((), dtype=torch.float64), 0.0, 0
    for source, target in zip(SOURCES, TARGETS, strict=True):
        text = torch.tensor([*source, BOS, *target])
        labels = text[1:].clone()
        labels[: len(source)] = IGNORE
        logits = lm(text[None, :-1])[0]
        expected = expected + F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing)
        plain += float(F.cross_entropy(logits, labels, reduction="sum").detach())
        count += int((labels != IGNORE).sum())
    expected.backward()
    assert batch.num_tokens == count
    torch.testing.assert_close(loss, expected)
    assert float(nats) == pytest.approx(plain)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-9, atol=1e-9)


def test_source_tokens_are_not_predicted_but_learnt_from() -> None:
    """Each table gets its gradient: the source's although none of its tokens is a label."""
    model, _ = build(("multi_head", Positions.rotary, NormPlacement.pre), TiedEmbeddings.none)
    assert model.source_embedding is not model.target_embedding
    batch = batch_of([0, 1])
    model.zero_grad()
    batch_loss(model, batch)[0].backward()
    touched = model.source_embedding.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert touched == sorted({*SOURCES[0], *SOURCES[1]})


@every_combination
@torch.no_grad()
def test_step_by_step_equals_all_at_once(combination: tuple) -> None:
    model, lm = build(combination)
    batch = batch_of([0, 1, 2, 3])
    state = model.start(batch.source, source_mask=batch.source_mask)
    sources = [list(source) for source in SOURCES]
    texts = [[BOS] for _ in sources]
    logits = model.step(torch.full((4, 1), BOS), state)
    for rows in (
        [0, 0, 1, 1, 2, 2, 3, 3],  # beams
        [1, 1, 3, 2, 4, 5, 7, 6],  # reordered within each sentence
        [5, 4, 6, 7, 0, 1],  # a sentence in the middle is dropped, the others change places
        [0, 2, 3],  # rows of a sentence in unequal numbers
        [2, 1, 0, 1],  # rows of a sentence apart
        [1, 3],  # only short sources are left, so that every row has padding
        [1, 0],
    ):
        for row, (source, text) in enumerate(zip(sources, texts, strict=True)):
            torch.testing.assert_close(logits[row], lm(torch.tensor([source + text]))[0, -1], **TOLERANCE)
        state.select(torch.tensor(rows))
        sources, texts = [sources[row] for row in rows], [texts[row] for row in rows]
        new = [(row * 7 + 3 * len(texts[0])) % VOCAB for row in range(len(rows))]
        texts = [[*text, token] for text, token in zip(texts, new, strict=True)]
        logits = model.step(torch.tensor(new)[:, None], state)
    assert logits.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("positions", Positions)
def test_going_back_behind_padding(positions: Positions) -> None:
    model, lm = build(("local", positions, NormPlacement.pre))
    batch = batch_of([0, 1, 2])
    state = model.start(batch.source, source_mask=batch.source_mask)
    before = state.length
    model.step(torch.tensor([[BOS, 4, 5]] * 3), state)
    state.truncate(before)
    logits = model.step(torch.tensor([[BOS, 6]] * 3), state)
    for row in range(3):
        torch.testing.assert_close(logits[row], lm(torch.tensor([[*SOURCES[row], BOS, 6]]))[0, -1], **TOLERANCE)


@torch.no_grad()
def test_decoding_runs_past_the_blocks_in_which_caches_and_tables_grow() -> None:
    model, lm = build(("alternate", Positions.sinusoidal, NormPlacement.pre))
    batch = batch_of([0, 1])
    state = model.start(batch.source, source_mask=batch.source_mask)
    tokens = torch.arange(150) % VOCAB
    for position, token in enumerate(tokens):
        if position % 9 == 0:  # so that columns are moved
            state.select(torch.tensor([0, 0, 1, 1]) if position % 2 else torch.arange(0, state.rows, state.beams))
        logits = model.step(token.expand(state.rows, 1), state)
    for row, source in enumerate(SOURCES[:2]):
        expected = lm(torch.cat([torch.tensor(source), tokens])[None])[0, -1]
        torch.testing.assert_close(logits[row * state.beams], expected, **TOLERANCE)


@torch.no_grad()
def test_a_learned_table_counts_no_padding() -> None:
    model, _ = build(("multi_head", Positions.learned, NormPlacement.pre))
    batch = batch_of([0, 1])  # 7 and 2 tokens; the table holds 16
    state = model.start(batch.source, source_mask=batch.source_mask)
    model.step(torch.full((2, 9), BOS), state)
    with pytest.raises(ValueError, match="17 positions"):
        model.step(torch.full((2, 1), BOS), state)
    state = model.start(batch.source, source_mask=batch.source_mask)
    state.select(torch.tensor([1]))
    model.step(torch.full((1, 14), BOS), state)
    with pytest.raises(ValueError, match="17 positions"):
        model.step(torch.full((1, 1), BOS), state)


def test_a_source_of_nothing_but_padding_gives_no_nan() -> None:
    for positions in Positions:
        model, _ = build(("multi_head", positions, NormPlacement.pre))
        source, mask = torch.tensor([[4, EOS], [0, 0]]), torch.tensor([[True, True], [False, False]])
        state = model.start(source, source_mask=mask)
        assert model.step(torch.full((2, 1), BOS), state).isfinite().all()


def test_a_decoder_is_needed() -> None:
    config = ModelConfig(encoder_layers=0, decoder_layers=0)
    with pytest.raises(ConfigError, match="needs a decoder"):
        build_model(config, task=Task.translation, source_vocab_size=VOCAB, target_vocab_size=VOCAB)


def test_the_shipped_shape_costs_about_what_small_costs() -> None:
    """Multiplications of matrices for a pair of as many source tokens as target tokens."""

    def matrices(stack: nn.Module) -> int:
        return sum(weight.numel() for weight in stack.parameters() if weight.dim() == 2)

    register_schemas()
    shapes = [check("train", ["data.train=a", "data.valid=b", f"model={name}"]).model for name in SHAPES]
    sizes = dict(task=Task.translation, source_vocab_size=200, target_vocab_size=200)
    one, two = (build_model(shape, **sizes) for shape in shapes)
    assert isinstance(one, DecoderOnlyTranslator) and isinstance(two, EncoderDecoder)
    assert not any("cross" in name for name, _ in one.named_parameters())
    assert 0.9 < 2 * matrices(one.decoder) / (matrices(two.encoder) + matrices(two.decoder)) < 1.2

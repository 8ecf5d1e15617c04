"""The laws of the models, over every combination of attention, positions, norm, placement and feed-forward."""

import copy
import itertools
from functools import cache

import pytest
import torch
from torch import Tensor

from seq2seq.config import (
    FeedForward,
    ModelConfig,
    Norm,
    NormPlacement,
    Pooling,
    Positions,
    Task,
    TiedEmbeddings,
    WindowLayers,
)
from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.build import build_model
from seq2seq.model.transformer import (
    EncoderDecoder,
    LanguageModel,
    Model,
    SequenceClassifier,
    TokenClassifier,
)

VOCAB = 23
BATCH, SOURCE, TARGET, PROMPT = 3, 7, 6, 3
TOLERANCE = dict(rtol=0.0, atol=1e-10)  # in float64

ATTENTIONS: dict[str, dict[str, object]] = {
    "multi_head": {},
    "grouped_query": {"num_kv_heads": 2},
    "multi_query": {"num_kv_heads": 1},
    "local": {"attention_window": 2},
    "alternate": {"attention_window": 2, "window_layers": WindowLayers.alternate, "num_kv_heads": 2},
}
# gelu_tanh and silu are gelu with another pointwise function; test_feed_forward.py and the parity tests hold them.
FEED_FORWARDS = (FeedForward.relu, FeedForward.gelu, FeedForward.swiglu)
COMBINATIONS = list(itertools.product(ATTENTIONS, Positions, Norm, NormPlacement, FEED_FORWARDS))
every_combination = pytest.mark.parametrize(
    "combination",
    COMBINATIONS,
    ids=["-".join(getattr(kind, "value", kind) for kind in kinds) for kinds in COMBINATIONS],
)
SOURCE_TOKENS = torch.randint(VOCAB, (BATCH, SOURCE), generator=torch.Generator().manual_seed(1))
TARGET_TOKENS = torch.randint(VOCAB, (BATCH, TARGET), generator=torch.Generator().manual_seed(2))
REAL = torch.arange(SOURCE) < torch.tensor([[SOURCE], [2], [5]])


@cache
def build(combination: tuple, task: Task) -> Model:
    """A model of random float64 weights in evaluation mode; norms and biases are random too."""
    attention, positions, norm, placement, feed_forward = combination
    config = ModelConfig(
        encoder_layers=2,
        decoder_layers=2,
        dim=16,
        num_heads=4,
        feed_forward_dim=12,
        feed_forward=feed_forward,
        positions=positions,
        max_length=16,
        norm=norm,
        norm_placement=placement,
        tied_embeddings=TiedEmbeddings.decoder,
        **ATTENTIONS[attention],
    )
    model = build_model(config, task=task, source_vocab_size=VOCAB, target_vocab_size=VOCAB)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.double().eval()


def encoder_decoder(combination: tuple) -> EncoderDecoder:
    model = build(combination, Task.translation)
    assert isinstance(model, EncoderDecoder)
    return model


def language_model(combination: tuple) -> LanguageModel:
    model = build(combination, Task.language_modelling)
    assert isinstance(model, LanguageModel)
    return model


@every_combination
@torch.no_grad()
def test_step_by_step_equals_all_at_once(combination: tuple) -> None:
    model = encoder_decoder(combination)
    expected = model(SOURCE_TOKENS, TARGET_TOKENS, source_mask=REAL)
    state = model.start(SOURCE_TOKENS, source_mask=REAL)
    torch.testing.assert_close(model.step(TARGET_TOKENS[:, :PROMPT], state), expected[:, PROMPT - 1], **TOLERANCE)
    for position in range(PROMPT, TARGET):
        logits = model.step(TARGET_TOKENS[:, position : position + 1], state)
        torch.testing.assert_close(logits, expected[:, position], **TOLERANCE)
    assert state.length == TARGET

    lm = language_model(combination)
    expected = lm(TARGET_TOKENS)
    lm_state = lm.start(BATCH)
    # Two tokens more after a prompt: more than one query, and not at the beginning.
    for start, end in [(0, PROMPT), (PROMPT, PROMPT + 2), (PROMPT + 2, TARGET)]:
        logits = lm.step(TARGET_TOKENS[:, start:end], lm_state)
        torch.testing.assert_close(logits, expected[:, end - 1], **TOLERANCE)


@every_combination
@torch.no_grad()
def test_later_target_tokens_never_change_earlier_logits(combination: tuple) -> None:
    changed = TARGET_TOKENS.clone()
    changed[:, PROMPT:] = (changed[:, PROMPT:] + 5) % VOCAB
    for logits in (
        lambda target: encoder_decoder(combination)(SOURCE_TOKENS, target, source_mask=REAL),
        lambda target: language_model(combination)(target),
    ):
        before, after = logits(TARGET_TOKENS), logits(changed)
        torch.testing.assert_close(after[:, :PROMPT], before[:, :PROMPT], rtol=0, atol=0)
        assert not torch.allclose(after[:, PROMPT:], before[:, PROMPT:])
        # Padding on the right of the target is a later token too; without it the kernel gets other shapes.
        torch.testing.assert_close(logits(TARGET_TOKENS[:, :PROMPT]), before[:, :PROMPT], **TOLERANCE)


@every_combination
@torch.no_grad()
def test_padding_and_neighbours_change_nothing(combination: tuple) -> None:
    model = encoder_decoder(combination)
    tagger = build(combination, Task.tagging)
    together = model(SOURCE_TOKENS, TARGET_TOKENS, source_mask=REAL)
    tags = tagger(SOURCE_TOKENS, source_mask=REAL)

    other_padding = SOURCE_TOKENS.masked_fill(~REAL, 4)
    torch.testing.assert_close(model(other_padding, TARGET_TOKENS, source_mask=REAL), together, **TOLERANCE)

    order = torch.tensor([2, 0, 1])
    reordered = model(SOURCE_TOKENS[order], TARGET_TOKENS[order], source_mask=REAL[order])
    torch.testing.assert_close(reordered, together[order], **TOLERANCE)

    for row in range(BATCH):
        length = int(REAL[row].sum())
        source, target = SOURCE_TOKENS[row : row + 1, :length], TARGET_TOKENS[row : row + 1]
        torch.testing.assert_close(model(source, target)[0], together[row], **TOLERANCE)
        torch.testing.assert_close(tagger(source)[0], tags[row, :length], **TOLERANCE)


@every_combination
@torch.no_grad()
def test_select_then_step_equals_step_of_the_selected(combination: tuple) -> None:
    model, lm = encoder_decoder(combination), language_model(combination)
    state = model.start(SOURCE_TOKENS, source_mask=REAL)
    lm_state = lm.start(BATCH)
    model.step(TARGET_TOKENS[:, :2], state)
    lm.step(TARGET_TOKENS[:, :2], lm_state)
    chosen, target = torch.arange(BATCH), TARGET_TOKENS[:, :2]  # the sentence and the tokens so far of each row
    for rows in (
        [0, 0, 1, 1, 2, 2],  # beams
        [1, 1, 3, 2, 4, 5],  # reordered within each sentence
        [5, 4, 0, 1],  # the sentence in the middle is dropped, the others change places
        [0, 2, 3],  # rows of a sentence in unequal numbers
        [2, 1, 0, 1],  # rows of a sentence apart
    ):
        selected = torch.tensor(rows)
        state.select(selected)
        lm_state.select(selected)
        chosen = chosen[selected]
        fresh = (torch.arange(len(rows)) * 7 + target.shape[1]) % VOCAB
        target = torch.cat([target[selected], fresh[:, None]], dim=1)
        expected = model(SOURCE_TOKENS[chosen], target, source_mask=REAL[chosen])[:, -1]
        torch.testing.assert_close(model.step(fresh[:, None], state), expected, **TOLERANCE)
        torch.testing.assert_close(lm.step(fresh[:, None], lm_state), lm(target)[:, -1], **TOLERANCE)


@every_combination
def test_the_explicit_twin_equals_the_fused_kernel(combination: tuple) -> None:
    seen: list[Tensor] = []
    for model, run in (
        (encoder_decoder(combination), lambda m: m(SOURCE_TOKENS, TARGET_TOKENS, source_mask=REAL)),
        (language_model(combination), lambda m: m(TARGET_TOKENS)),
    ):
        fused = run(model)
        fused_grads = torch.autograd.grad(fused.square().sum(), list(model.parameters()))
        attentions = [module for module in model.modules() if isinstance(module, MultiHeadAttention)]
        for attention in attentions:
            attention.watch = seen.append
        explicit = run(model)
        for attention in attentions:
            attention.watch = None
        explicit_grads = torch.autograd.grad(explicit.square().sum(), list(model.parameters()))
        torch.testing.assert_close(explicit, fused, **TOLERANCE)
        torch.testing.assert_close(explicit_grads, fused_grads, rtol=1e-9, atol=1e-9)
    assert len(seen) == 2 + 2 * 2 + 2  # encoder; decoder, self and cross; language model
    for weights in seen:
        totals = weights.sum(-1)  # 0 for padding so far from the sentence that its window holds no real token
        assert (torch.isclose(totals, torch.ones_like(totals)) | (totals == 0)).all()


@every_combination
def test_a_source_of_nothing_but_padding_gives_no_nan(combination: tuple) -> None:
    model = encoder_decoder(combination)
    mask = REAL.clone()
    mask[1] = False
    logits = model(SOURCE_TOKENS, TARGET_TOKENS, source_mask=mask)
    gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
    assert logits.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)
    alone = model(SOURCE_TOKENS[:1], TARGET_TOKENS[:1])
    torch.testing.assert_close(logits[:1], alone, **TOLERANCE)


# What the laws above do not reach.

PLAIN = ("multi_head", Positions.sinusoidal, Norm.layer_norm, NormPlacement.pre, FeedForward.relu)


def test_forward_is_the_head_over_the_features() -> None:
    model, lm = encoder_decoder(PLAIN), language_model(PLAIN)
    features = model.features(SOURCE_TOKENS, TARGET_TOKENS, source_mask=REAL)
    assert features.shape == (BATCH, TARGET, 16)
    torch.testing.assert_close(model.head(features), model(SOURCE_TOKENS, TARGET_TOKENS, source_mask=REAL))
    torch.testing.assert_close(lm.head(lm.features(TARGET_TOKENS)), lm(TARGET_TOKENS))
    assert model.head.weight.shape == (VOCAB, 16) and model.head.bias is None


@pytest.mark.parametrize(
    "positions", [kind for kind in Positions if kind is not Positions.learned]
)  # that table does not grow: next test
def test_decoding_runs_past_the_blocks_in_which_caches_and_tables_grow(positions: Positions) -> None:
    lm = language_model(("grouped_query", positions, Norm.rms_norm, NormPlacement.pre, FeedForward.swiglu))
    tokens = torch.randint(VOCAB, (2, 150))
    expected = lm(tokens)
    state = lm.start(2)
    lm.step(tokens[:, :60], state)
    for position in range(60, 150):
        logits = lm.step(tokens[:, position : position + 1], state)
        torch.testing.assert_close(logits, expected[:, position], **TOLERANCE)


def test_a_learned_table_says_when_it_is_full() -> None:
    lm = language_model(("multi_head", Positions.learned, Norm.layer_norm, NormPlacement.pre, FeedForward.relu))
    state = lm.start(1)
    lm.step(TARGET_TOKENS[:1].repeat(1, 3)[:, :16], state)
    with pytest.raises(ValueError, match=r"17 positions, .* holds 16 \(max_length\)"):
        lm.step(TARGET_TOKENS[:1, :1], state)


def test_order_matters_with_every_kind_of_positions() -> None:
    swapped = SOURCE_TOKENS[:, [1, 0, *range(2, SOURCE)]]
    assert (SOURCE_TOKENS[:, 0] != SOURCE_TOKENS[:, 1]).any()
    for positions in Positions:
        model = encoder_decoder(("multi_head", positions, Norm.layer_norm, NormPlacement.pre, FeedForward.relu))
        assert not torch.allclose(model(swapped, TARGET_TOKENS), model(SOURCE_TOKENS, TARGET_TOKENS))


@pytest.mark.parametrize("pooling", Pooling)
def test_a_classifier_sees_real_tokens_only(pooling: Pooling) -> None:
    config = ModelConfig(
        encoder_layers=2, decoder_layers=0, dim=16, num_heads=4, feed_forward_dim=12, max_length=16, pooling=pooling
    )
    model = build_model(config, task=Task.classification, source_vocab_size=VOCAB, target_vocab_size=5).double().eval()
    assert isinstance(model, SequenceClassifier)
    together = model(SOURCE_TOKENS, source_mask=REAL)
    assert together.shape == (BATCH, 5) and model.features(SOURCE_TOKENS, source_mask=REAL).shape == (BATCH, 16)
    for row in range(BATCH):
        alone = model(SOURCE_TOKENS[row : row + 1, : int(REAL[row].sum())])
        torch.testing.assert_close(alone[0], together[row], **TOLERANCE)


def test_a_tagger_labels_every_token() -> None:
    model = build(PLAIN, Task.tagging)
    assert isinstance(model, TokenClassifier)
    assert model(SOURCE_TOKENS, source_mask=REAL).shape == (BATCH, SOURCE, VOCAB)


def test_an_unknown_pooling_is_refused() -> None:
    tagger = build(PLAIN, Task.tagging)
    assert isinstance(tagger, TokenClassifier)
    with pytest.raises(ValueError, match=r"pooling \(last\) must be one of mean, first"):
        SequenceClassifier(tagger.encoder, embedding=tagger.embedding, head=tagger.head, pooling="last")


def test_dropout_acts_in_training_only_and_follows_torchs_seed() -> None:
    config = ModelConfig(encoder_layers=1, decoder_layers=1, dim=16, num_heads=4, feed_forward_dim=12, max_length=16)
    for name in ("dropout", "attention_dropout", "activation_dropout", "embedding_dropout"):
        for other in ("dropout", "attention_dropout", "activation_dropout", "embedding_dropout"):
            setattr(config, other, 0.3 if other == name else 0.0)
        model = build_model(config, task=Task.translation, source_vocab_size=VOCAB, target_vocab_size=VOCAB)

        def logits(seed: int, model: Model = model) -> Tensor:
            torch.manual_seed(seed)
            result: Tensor = model(SOURCE_TOKENS, TARGET_TOKENS, source_mask=REAL)
            return result

        torch.testing.assert_close(logits(1), logits(1), rtol=0, atol=0)
        assert not torch.allclose(logits(1), logits(2)), name
        model.eval()
        torch.testing.assert_close(logits(1), logits(2), rtol=0, atol=0)


@pytest.mark.parametrize("positions", Positions)
@pytest.mark.parametrize("norm", Norm)
def test_autocast_to_bfloat16_stays_near_and_differentiable(positions: Positions, norm: Norm) -> None:
    config = ModelConfig(
        encoder_layers=2,
        decoder_layers=2,
        dim=16,
        num_heads=4,
        num_kv_heads=2,
        feed_forward_dim=12,
        max_length=16,
        positions=positions,
        norm=norm,
        attention_dropout=0.1,
        activation_dropout=0.1,
        attention_window=3,
    )
    model = build_model(config, task=Task.translation, source_vocab_size=VOCAB, target_vocab_size=VOCAB)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(SOURCE_TOKENS, TARGET_TOKENS, source_mask=REAL).float().square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    model.eval()
    assert isinstance(model, EncoderDecoder)
    with torch.no_grad():
        expected = model(SOURCE_TOKENS, TARGET_TOKENS, source_mask=REAL)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            state = model.start(SOURCE_TOKENS, source_mask=REAL)
            logits = model.step(TARGET_TOKENS, state)
    torch.testing.assert_close(logits.float(), expected[:, -1], rtol=0.1, atol=0.1)


@pytest.mark.parametrize("positions", [Positions.rotary, Positions.alibi])
def test_the_whole_model_compiles_into_one_graph(positions: Positions) -> None:
    config = ModelConfig(
        encoder_layers=1,
        decoder_layers=1,
        dim=16,
        num_heads=4,
        feed_forward_dim=12,
        max_length=16,
        positions=positions,
        norm=Norm.rms_norm,
        attention_dropout=0.1,
        attention_window=3,
    )
    model = build_model(config, task=Task.translation, source_vocab_size=VOCAB, target_vocab_size=VOCAB)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    compiled(SOURCE_TOKENS, TARGET_TOKENS, source_mask=REAL).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    model.eval()
    logits = compiled(SOURCE_TOKENS, TARGET_TOKENS, source_mask=REAL)
    torch.testing.assert_close(logits, model(SOURCE_TOKENS, TARGET_TOKENS, source_mask=REAL), rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("positions", Positions)
def test_a_gpu_agrees_with_the_cpu(attention: str, positions: Positions) -> None:
    combination = (attention, positions, Norm.rms_norm, NormPlacement.pre, FeedForward.swiglu)
    model = copy.deepcopy(encoder_decoder(combination)).float()
    mask = REAL.clone()
    mask[1] = False
    expected = model(SOURCE_TOKENS, TARGET_TOKENS, source_mask=mask)
    model = model.cuda()
    on_gpu = [tensor.cuda() for tensor in (SOURCE_TOKENS, TARGET_TOKENS, mask)]
    logits = model(on_gpu[0], on_gpu[1], source_mask=on_gpu[2])
    torch.testing.assert_close(logits.cpu(), expected, rtol=1e-3, atol=1e-3)
    logits.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    state = model.start(on_gpu[0], source_mask=on_gpu[2])
    state.select(torch.arange(BATCH, device="cuda").repeat_interleave(2))
    stepped = model.step(on_gpu[1].repeat_interleave(2, 0), state)
    torch.testing.assert_close(stepped.cpu(), expected[:, -1].repeat_interleave(2, 0), rtol=1e-3, atol=1e-3)

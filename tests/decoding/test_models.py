"""The laws of decoding with the real models: neighbours, their order and padding change nothing; cached = at once."""

import itertools

import pytest
import torch

from seq2seq.config import DecodingConfig, ModelConfig, Positions, Search, Task
from seq2seq.decoding import generate, search
from seq2seq.model.build import build_model

PAD, BOS, EOS, UNK = 0, 1, 2, 3
VOCAB, NEW = 23, 9
ENDING = 4.0
DECODINGS = {
    "greedy": DecodingConfig(search=Search.greedy),
    "beam": DecodingConfig(beam_size=4, n_best=2),
    "sample": DecodingConfig(search=Search.sample, top_p=0.9, n_best=2),
}
KINDS = {
    "sinusoidal": {},
    "learned": dict(positions=Positions.learned, max_length=32),
    "rotary, grouped": dict(positions=Positions.rotary, num_kv_heads=2),
    "alibi, window": dict(positions=Positions.alibi, attention_window=3),
}


def model_of(kind, task, layers=2):
    torch.manual_seed(4)
    layers = 0 if task is Task.language_modelling else layers
    config = ModelConfig(
        encoder_layers=layers, decoder_layers=2, dim=16, num_heads=4, feed_forward_dim=32, dropout=0.1, **KINDS[kind]
    )
    model = build_model(config, task=task, source_vocab_size=VOCAB, target_vocab_size=VOCAB).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.7  # away from uniform
    model.head.bias = torch.nn.Parameter(torch.zeros(VOCAB, dtype=torch.float64))
    model.head.bias.data[EOS] = ENDING  # outputs end before their limit about half of the time
    return model


def run(model, state, prompt, decoding, rows):
    return search(
        model,
        state,
        prompt,
        config=DECODINGS[decoding],
        eos_id=EOS,
        forbidden_ids=(PAD, BOS, UNK),
        max_length=[NEW - row % 4 for row in rows],
        row_seeds=rows,
    )


def sources():
    generator = torch.Generator().manual_seed(6)
    lengths = torch.randint(1, 8, (12,), generator=generator).tolist()
    return [torch.randint(4, VOCAB, (length,), generator=generator) for length in lengths]


def translate(model, rows, decoding, *, padding=0):
    """The given sources in one batch, with so many columns of padding more than needed."""
    chosen = [sources()[row] for row in rows]
    longest = max(len(source) for source in chosen) + padding
    source = torch.full((len(rows), longest), PAD)
    for row, ids in enumerate(chosen):
        source[row, : len(ids)] = ids
    mask = source != PAD
    state = model.start(source, source_mask=None if mask.all() else mask)
    return run(model, state, torch.full((len(rows), 1), BOS), decoding, rows)


def write_on(model, rows, decoding):
    prompts = torch.randint(4, VOCAB, (12, 3), generator=torch.Generator().manual_seed(8))
    return run(model, model.start(len(rows)), prompts[rows], decoding, rows)


def assert_same(batch, rows, expected):
    for row, hypotheses, margin in zip(rows, batch.hypotheses, batch.margins, strict=True):
        wanted, wanted_margin = expected[row]
        assert [(h.tokens, h.finished) for h in hypotheses] == [(h.tokens, h.finished) for h in wanted]
        assert [h.score for h in hypotheses] == pytest.approx([h.score for h in wanted], abs=1e-9)
        assert margin == pytest.approx(wanted_margin, abs=1e-6)


def alone(results):
    return [(result.hypotheses[0], result.margins[0]) for result in results]


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [2, 0], ids=["encoder-decoder", "decoder-only"])
def test_a_translation_does_not_depend_on_its_batch(kind, decoding, layers):
    model = model_of(kind, Task.translation, layers)
    expected = alone(translate(model, [row], decoding) for row in range(12))
    ended = [hypotheses[0].finished for hypotheses, _ in expected]
    assert any(ended) and not all(ended)  # sentences leave the batch at different steps
    assert len({len(hypotheses[0].tokens) for hypotheses, _ in expected}) > 2
    for rows, padding in [(range(12), 0), (range(11, -1, -1), 2), ([5, 0, 7], 1), ([3, 3], 3)]:
        assert_same(translate(model, list(rows), decoding, padding=padding), rows, expected)


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_continuation_does_not_depend_on_its_batch(kind, decoding):
    model = model_of(kind, Task.language_modelling)
    expected = alone(write_on(model, [row], decoding) for row in range(12))
    for rows in [range(12), range(11, -1, -1), [5, 0, 7]]:
        assert_same(write_on(model, list(rows), decoding), rows, expected)


class Uncached:
    """The same model without a cache: every step reads everything again."""

    class State:
        def __init__(self, source, mask, rows):
            self.source, self.mask, self.read = source, mask, torch.empty(rows, 0, dtype=torch.long)

        def select(self, rows):
            self.read = self.read[rows]
            if self.source is not None:
                self.source, self.mask = self.source[rows], self.mask[rows]

    def __init__(self, model):
        self.model = model

    def step(self, tokens, state):
        state.read = torch.cat([state.read, tokens], dim=1)
        with torch.no_grad():
            if state.source is None:
                return self.model(state.read)[:, -1]
            return self.model(state.source, state.read, source_mask=state.mask)[:, -1]


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("task", "layers"),
    [(Task.translation, 2), (Task.translation, 0), (Task.language_modelling, 0)],
    ids=["encoder-decoder", "decoder-only", "language model"],
)
def test_cached_search_equals_a_search_that_reads_everything_again(kind, decoding, task, layers):
    model = model_of(kind, task, layers)
    rows = list(range(5))
    if task is Task.translation:
        source = torch.nn.utils.rnn.pad_sequence(sources()[:5], batch_first=True, padding_value=PAD)
        prompt, mask = torch.full((5, 1), BOS), source != PAD
        state, uncached = model.start(source, source_mask=mask), Uncached.State(source, mask, 5)
    else:
        prompt = torch.randint(4, VOCAB, (5, 4), generator=torch.Generator().manual_seed(1))
        state, uncached = model.start(5), Uncached.State(None, None, 5)
    slow = run(Uncached(model), uncached, prompt, decoding, rows)
    assert_same(run(model, state, prompt, decoding, rows), rows, list(zip(slow.hypotheses, slow.margins, strict=True)))


@pytest.mark.parametrize("decoding", ["greedy", "sample"])
def test_a_stream_does_not_read_ahead_and_does_not_end_early(decoding):
    model = model_of("rotary, grouped", Task.language_modelling)
    prompt = torch.tensor([[7, 8, 9]])
    settings = dict(config=DECODINGS[decoding], eos_id=EOS, forbidden_ids=(PAD, BOS, UNK, EOS))
    some = list(itertools.islice(generate(model, model.start(1), prompt, max_length=10**4, **settings), 6))
    assert some == list(generate(model, model.start(1), prompt, max_length=6, **settings))

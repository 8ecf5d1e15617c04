import math
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import seq2seq
from seq2seq.data.tokenizer import BOS, EOS
from seq2seq.evaluation.coverage import Forcer
from seq2seq.model.attention import MultiHeadAttention
from seq2seq.translator import Translator

Make = Callable[..., Path]


@pytest.fixture(scope="module", params=[{}, {"decoder_layers": 2, "num_kv_heads": 1}], ids=["one", "grouped"])
def translator(request: pytest.FixtureRequest, tiny_checkpoint: Make) -> Translator:
    return seq2seq.load(tiny_checkpoint(**request.param), device="cpu")


def rows(count: int) -> tuple[list[list[int]], list[list[int]]]:
    chance = random.Random(3)
    sources = [[*chance.choices(range(4, 20), k=chance.randint(1, 20)), EOS] for _ in range(count)]
    outputs = [chance.choices(range(4, 20), k=chance.randint(0, 20)) + [EOS] * chance.randint(0, 1) for _ in sources]
    return sources, outputs


def slow_coverage(model: nn.Module, source: list[int], output: list[int]) -> float:
    """As its formula says, in loops, over weights that the attention of the paper gives for its own inputs."""
    layers: list[Tensor] = []

    def watch(module: MultiHeadAttention, inputs: tuple[Tensor, ...]) -> None:
        x, memory = inputs[0][0], inputs[1][0]
        queries, keys, _ = module.input_projections()
        query_bias, (key_bias, _) = module.query.bias, module.key_value.bias.chunk(2)
        query, key = x @ queries.T + query_bias, memory @ keys.T + key_bias
        groups = module.num_heads // module.num_kv_heads
        for head in range(module.num_heads):
            size, kv_head = module.head_dim, head // groups
            q, k = query[:, head * size : (head + 1) * size], key[:, kv_head * size : (kv_head + 1) * size]
            layers.append((q @ k.T / math.sqrt(size)).softmax(dim=1))

    hooks = [
        module.register_forward_pre_hook(watch)
        for module in model.modules()
        if isinstance(module, MultiHeadAttention) and module.cross
    ]
    model.features(torch.tensor([source]), torch.tensor([[BOS, *output[:-1]]]))  # type: ignore[operator]
    for hook in hooks:
        hook.remove()
    mean = sum(layers) / len(layers)
    assert isinstance(mean, Tensor) and mean.shape == (len(output), len(source))
    length = len(source) - 1
    return sum(min(1.0, sum(float(mean[i, j]) for i in range(len(output)))) for j in range(length)) / length


@torch.no_grad()
def test_coverage_is_its_formula(translator: Translator) -> None:
    sources, outputs = rows(12)
    for source, output, said in zip(sources, outputs, Forcer(translator.model)(sources, outputs), strict=True):
        if not output:
            assert said.coverage is None and said.log_probs == ()
            continue
        assert said.coverage == pytest.approx(slow_coverage(translator.model, source, output), abs=1e-5)
        assert 0 < said.coverage <= 1


def test_a_row_does_not_depend_on_its_neighbours(translator: Translator) -> None:
    sources, outputs = rows(12)
    for source, output, said in zip(sources, outputs, Forcer(translator.model)(sources, outputs), strict=True):
        (alone,) = Forcer(translator.model)([source], [output])
        assert said.coverage == pytest.approx(alone.coverage, abs=1e-5)
        assert said.log_probs == pytest.approx(alone.log_probs, abs=1e-4)


def test_log_probs_are_those_of_scoring(translator: Translator) -> None:
    sources, targets = ["the dog", "a cat is here", "x"], ["dog the", "is a cat", "yy"]
    encode = translator.tokenizers.source.encode
    said = Forcer(translator.model)(
        [[*encode(text), EOS] for text in sources], [[*encode(text), EOS] for text in targets]
    )
    for score, one in zip(translator.score(targets, sources), said, strict=True):
        assert score.log_probs == pytest.approx(one.log_probs, abs=1e-5)


def test_the_model_itself_is_not_watched_and_several_threads_may_watch(translator: Translator) -> None:
    forcer, (sources, outputs) = Forcer(translator.model), rows(12)
    assert all(m.watch is None for m in translator.model.modules() if isinstance(m, MultiHeadAttention))
    pairs = [([source], [output]) for source, output in zip(sources, outputs, strict=True)] * 5
    expected = [forcer(*pair) for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda pair: forcer(*pair), pairs)) == expected


def test_of_other_models_nothing_is_known(tiny_checkpoint: Make) -> None:
    model = seq2seq.load(tiny_checkpoint("language_modelling"), device="cpu").model
    (said,) = Forcer(model)([[4, EOS]], [[5, EOS]])
    assert said.coverage is None and said.log_probs == ()

import pytest
import torch
from torch import Tensor

import seq2seq
from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.twin import twin


@pytest.fixture(params=["float32", "int8"])
def model(request, tiny_checkpoint):
    """Tied embeddings, two decoder layers."""
    folder = tiny_checkpoint(decoder_layers=2)
    return seq2seq.load(folder, device="cpu", precision=request.param).model


def logits(model, source: Tensor, target: Tensor) -> list[Tensor]:
    with torch.no_grad():
        state = model.start(source)
        return [model(source, target), *(model.step(column[:, None], state) for column in target.T)]


def test_a_twin_computes_what_the_model_does_by_the_same_weights(model) -> None:
    other = twin(model)
    source, target = torch.randint(4, 20, (3, 6)), torch.randint(4, 20, (3, 5))
    for found, expected in zip(logits(other, source, target), logits(model, source, target), strict=True):
        assert torch.equal(found, expected)
    assert [name for name, _ in other.named_modules()] == [name for name, _ in model.named_modules()]
    assert not set(map(id, other.modules())) & set(map(id, model.modules()))
    assert list(map(id, other.parameters())) == list(map(id, model.parameters()))
    before = logits(other, source, target)[0]
    model.target_embedding.weight.data.mul_(2)
    assert not torch.equal(logits(other, source, target)[0], before)


def test_only_the_twin_is_watched_and_hooks_see_both(model) -> None:
    other, seen, heads = twin(model), [], []
    for module in other.modules():
        if isinstance(module, MultiHeadAttention):
            module.watch = seen.append
    model.head.register_forward_hook(lambda module, inputs, output: heads.append(output))
    source, target = torch.randint(4, 20, (3, 6)), torch.randint(4, 20, (3, 2))
    logits(model, source, target)
    assert not seen and len(heads) == 3
    logits(other, source, target)
    # At once: the encoder's layer, two decoder layers with two attentions each; for the state the encoder's again,
    # then two steps.
    assert len(seen) == 5 + 1 + 2 * 4 and len(heads) == 6

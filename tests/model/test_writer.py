import itertools

import pytest
import torch
from torch import Tensor, nn

import seq2seq
from seq2seq.model.writer import new_logits


class Head(nn.Module):
    """Gives what it is given, so that one can see what becomes of it."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_logits_are_copied_only_where_a_hook_may_have_kept_them() -> None:
    head, x = Head(), torch.randn(2, 3)
    assert new_logits(head, x) is x
    hook = head.register_forward_hook(lambda *call: None)
    assert torch.equal(new_logits(head, x), x) and new_logits(head, x).data_ptr() != x.data_ptr()
    hook.remove()
    assert new_logits(head, x) is x


@pytest.mark.parametrize(
    ("folders", "settings"),
    [
        *itertools.product(
            [1, 2], [{"search": "greedy"}, {"beam_size": 3}, {"search": "sample", "temperature": 0.5}, {}]
        ),
        (1, {"coverage_penalty": 0.2}),  # for one model
    ],
)
def test_a_hook_of_the_head_may_keep_the_logits(tiny_checkpoint, folders: int, settings: dict) -> None:
    model = seq2seq.load([tiny_checkpoint()] * folders, device="cpu")
    lines = ["the dog", "a lazy fox", "over"]
    without = model.translate(lines, **settings)
    head = (model.model if folders == 1 else model.model.members[0]).head
    kept: list[tuple[Tensor, Tensor]] = []
    head.register_forward_hook(lambda module, inputs, output: kept.append((output, output.clone())))
    if settings:
        assert model.translate(lines, **settings) == without
    else:
        model.score(lines, lines)
    assert kept and all(torch.equal(output, then) for output, then in kept)


@pytest.mark.parametrize("settings", [{"search": "greedy"}, {"search": "sample"}])
@pytest.mark.parametrize("drafted", [False, True])
def test_a_hook_of_a_language_models_head_may_keep_the_logits(tiny_checkpoint, drafted: bool, settings: dict) -> None:
    model = seq2seq.load(tiny_checkpoint("language_modelling"), device="cpu")
    draft = seq2seq.load(tiny_checkpoint("language_modelling"), device="cpu").as_draft() if drafted else None
    kept: list[tuple[Tensor, Tensor]] = []
    model.model.head.register_forward_hook(lambda module, inputs, output: kept.append((output, output.clone())))
    "".join(model.generate("the dog", draft=draft, max_new_tokens=12, **settings))
    assert kept and all(torch.equal(output, then) for output, then in kept)

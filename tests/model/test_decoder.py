"""What a decoder's state holds; its numbers are held by parity and by the laws."""

import torch

from seq2seq.model.decoder import Decoder
from seq2seq.model.layers import LayerSpec

SPEC = LayerSpec(dim=16, num_heads=4, feed_forward_dim=20)


def test_a_window_reaches_that_many_positions_behind() -> None:
    length, window = 9, 2
    decoder = Decoder(SPEC, num_layers=1, cross=False, window=window)
    x = torch.randn(1, length, 16, requires_grad=True)
    for position in range(length):
        gradient = torch.autograd.grad(decoder(x)[0, position].square().sum(), x)[0][0]
        behind = position - torch.arange(length)
        assert ((gradient.abs().sum(-1) > 0) == ((behind >= 0) & (behind <= window))).all()


def test_nothing_of_a_state_is_kept_on_the_module() -> None:
    decoder = Decoder(SPEC, num_layers=2).eval()
    memory, x = torch.randn(2, 5, 16), torch.randn(2, 3, 16)
    before = {name: id(value) for module in decoder.modules() for name, value in vars(module).items()}
    first, second = decoder.start(2, memory), decoder.start(2, memory)
    with torch.no_grad():
        once = decoder.step(x, first)
        decoder.step(torch.randn(2, 1, 16), first)
        torch.testing.assert_close(decoder.step(x, second), once, rtol=0, atol=0)
    assert before == {name: id(value) for module in decoder.modules() for name, value in vars(module).items()}


def test_memory_is_projected_once_for_each_layer_and_sentence() -> None:
    decoder = Decoder(SPEC, num_layers=2)
    state = decoder.start(3, torch.randn(3, 5, 16))
    state.select(torch.tensor([0, 0, 0, 0, 2, 2, 2, 2]))
    assert [layer.key.shape[0] for layer in state.memory] == [2, 2]
    assert Decoder(SPEC, num_layers=2, cross=False).start(3).memory == []

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import FeedForward, ModelConfig, Norm, NormPlacement, Positions, Task, TiedEmbeddings
from seq2seq.model.build import build_model
from seq2seq.planning.parameters import parameters_by_part

ENCODER = {"encoder attention", "encoder feed-forward"}
DECODER = {"decoder attention", "decoder feed-forward"}
PARTS = {
    Task.translation: ENCODER | DECODER | {"cross-attention"},
    Task.language_modelling: DECODER,
    Task.classification: ENCODER,
    Task.tagging: ENCODER,
}


@settings(max_examples=60)
@given(
    task=st.sampled_from(Task),
    layers=st.integers(1, 2),
    kv_heads=st.sampled_from([None, 1, 2]),
    positions=st.sampled_from(Positions),
    norm=st.sampled_from(Norm),
    placement=st.sampled_from(NormPlacement),
    feed_forward=st.sampled_from(FeedForward),
    tied=st.sampled_from(TiedEmbeddings),
    bias=st.booleans(),
    encoder=st.booleans(),
)
def test_the_parts_make_up_the_whole_of_every_model(
    task: Task,
    layers: int,
    kv_heads: int | None,
    positions: Positions,
    norm: Norm,
    placement: NormPlacement,
    feed_forward: FeedForward,
    tied: TiedEmbeddings,
    bias: bool,
    encoder: bool,
) -> None:
    config = ModelConfig(
        encoder_layers=0 if task is Task.language_modelling or task is Task.translation and not encoder else layers,
        decoder_layers=layers if task in (Task.translation, Task.language_modelling) else 0,
        dim=16,
        num_heads=4,
        num_kv_heads=kv_heads,
        feed_forward_dim=24,
        positions=positions,
        max_length=12,
        norm=norm,
        norm_placement=placement,
        feed_forward=feed_forward,
        tied_embeddings=tied,
        bias=bias,
    )
    model = build_model(config, task=task, source_vocab_size=20, target_vocab_size=20)
    parts = parameters_by_part(model)
    assert sum(parts.values()) == sum(parameter.numel() for parameter in model.parameters())
    learned = {"positions"} if positions is Positions.learned else set()
    expected = PARTS[task] if encoder or task is not Task.translation else DECODER
    assert parts.keys() == expected | learned | {"embeddings", "norms", "head"}
    assert all(count > 0 for name, count in parts.items() if name != "head")


def test_each_part_is_what_its_name_says() -> None:
    config = ModelConfig(encoder_layers=1, decoder_layers=2, dim=8, num_heads=2, feed_forward_dim=16)
    model = build_model(config, task=Task.translation, source_vocab_size=10, target_vocab_size=10)
    attention, feed_forward = 4 * (8 * 8 + 8), 8 * 16 + 16 + 16 * 8 + 8
    assert parameters_by_part(model) == {
        "embeddings": 80,
        "encoder attention": attention,
        "encoder feed-forward": feed_forward,
        "decoder attention": 2 * attention,
        "cross-attention": 2 * attention,
        "decoder feed-forward": 2 * feed_forward,
        "norms": (2 + 1 + 2 * 3 + 1) * 2 * 8,
        "head": 0,  # the embeddings' own matrix
    }


def test_a_part_that_nobody_named_has_its_modules_name() -> None:
    model = torch.nn.Sequential()
    model.add_module("extra", torch.nn.Linear(2, 3))
    assert parameters_by_part(model) == {"extra": 9}

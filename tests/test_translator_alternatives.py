"""Alternatives at a place of a translation, through Python and the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import seq2seq
from seq2seq.cli.main import translate
from seq2seq.data.tokenizer import BOS, EOS, NUM_SPECIALS
from seq2seq.errors import DecodingError
from seq2seq.translator import Translator

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def translator(tiny_checkpoint: Make) -> Translator:
    return seq2seq.load(tiny_checkpoint(), device="cpu")


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_the_likeliest_next_letters_each_completed(translator: Translator, search: str) -> None:
    found = translator.alternatives("a man is here.", "the qui", count=4, search=search)
    source, target = translator.tokenizers.source, translator.tokenizers.target
    with torch.no_grad():
        logits = translator.model(
            torch.tensor([[*source.encode("a man is here."), EOS]]), torch.tensor([[BOS, *target.encode("the qui")]])
        )[0]
    log_probs = logits.log_softmax(dim=-1)
    word = log_probs[range(4, 7), target.encode("qui")].sum() + log_probs[3, target.encode(" ")[0]]
    last = log_probs[-1].clone()
    last[[token for token in range(NUM_SPECIALS) if token != EOS]] = -torch.inf
    best = last.topk(4)
    assert [candidate.score for candidate in found] == pytest.approx((best.values + word).tolist(), abs=1e-4)
    for token, candidate in zip(best.indices.tolist(), found, strict=True):
        longer = "the qui" + target.decode([token])
        if token == EOS:
            assert candidate.text == longer
        elif not longer.endswith(" "):
            assert [candidate.text] == translator.translate(["a man is here."], prefixes=[longer], search=search)


def test_without_a_prefix_and_beside_other_lines(translator: Translator) -> None:
    lines, prefixes = ["the dog", "", "one two. three four, five six seven eight nine ten."], ["", "so ", "the"]
    together = list(translator.translate_stream(lines, prefixes=prefixes, alternatives=3))
    for line, prefix, answer in zip(lines, prefixes, together, strict=True):
        assert len(answer.candidates) == 3
        assert all(candidate.text.startswith(prefix) for candidate in answer.candidates)
        alone = translator.alternatives(line, prefix, count=3)
        assert alone == list(dict.fromkeys(answer.candidates))
        assert len(alone) == (3 if line else 1)
    assert [answer.text for answer in together] != translator.translate(lines)
    with pytest.raises(DecodingError, match="n_best has no effect with alternatives"):
        translator.alternatives("the dog", n_best=2)


def test_command_line(tiny_checkpoint: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_text("the dog\n\n")
    (tmp_path / "prefixes").write_text("a q\n\n")
    words = ["--ckpt", str(tiny_checkpoint()), "--threads", "1", "--quiet", "--input", str(tmp_path / "in")]
    words += ["--prefix", str(tmp_path / "prefixes"), "--alternatives", "3"]
    assert translate(words) == 0
    lines = [line.split(" ||| ") for line in capfd.readouterr().out.splitlines()]
    assert [int(line[0]) for line in lines] == [0] * 3 + [1] * 3
    assert all(line[1].startswith("a q") for line in lines[:3]) and len({line[1] for line in lines[:3]}) == 3
    scores = [float(line[2]) for line in lines[:3]]
    assert scores == sorted(scores, reverse=True)
    assert translate([*words, "--json"]) == 0
    first = json.loads(capfd.readouterr().out.splitlines()[0])
    assert [one["text"] for one in first["n_best"]] == [line[1] for line in lines[:3]]
    for more, message in [
        (["--n-best", "2"], "--n-best has no effect with --alternatives"),
        (["--mbr", "chrf"], "--mbr has no effect with --alternatives"),
        (["--scores"], "--scores has no effect with --alternatives"),
    ]:
        assert translate([*words, *more]) == 2
        assert message in capfd.readouterr().err

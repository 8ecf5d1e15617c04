"""All pairs at once are, bit for bit, what sacreBLEU says of each pair."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.evaluation import pairwise
from seq2seq.evaluation.pairwise import pairwise_bleu, pairwise_chrf

FAST = {"chrf": pairwise_chrf, "bleu": pairwise_bleu}
SLOW = {"chrf": sacrebleu.sentence_chrf, "bleu": sacrebleu.sentence_bleu}

WORDS = ["der", "Mann", "Männer", "die", "Frau,", ".", "(x)", "10.5", "&quot;", "aaaaaaaa", "\U0001f600", "\u3000", "-"]
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)


def slow(metric: str, texts: list[str]) -> np.ndarray:
    return np.array([[SLOW[metric](hypothesis, [reference]).score for reference in texts] for hypothesis in texts])


@pytest.mark.parametrize("metric", FAST)
@given(texts=st.lists(SENTENCES | st.text(max_size=15), min_size=1, max_size=6))
def test_as_sacrebleu(metric: str, texts: list[str]) -> None:
    assert (FAST[metric](texts) == slow(metric, texts)).all()


@pytest.mark.parametrize("metric", FAST)
def test_large_tables_are_made_in_parts(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["ein Mann und eine Frau", "eine Frau und ein Mann", "ein Mann und ein Mann und ein Mann", "und"]
    whole = FAST[metric](texts)
    monkeypatch.setattr(pairwise, "CHUNK", 20)
    assert (FAST[metric](texts) == whole).all()
    assert (whole == slow(metric, texts)).all()

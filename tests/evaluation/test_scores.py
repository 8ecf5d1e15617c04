import math
from collections import Counter

import pytest
import sacrebleu

from seq2seq.evaluation.scores import Score, SentenceBleu, SentenceChrf, bleu, chrf, ter

HYPOTHESES = ["the cat sat on the mat", "there is a dog in the garden", "he read the old book yesterday evening"]
REFERENCES = ["the cat is on the mat", "a dog is in the big garden", "he read the book yesterday in the evening"]


def ngrams(items: list[str] | str, order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(items[start : start + order]) for start in range(len(items) - order + 1))


def papineni(hypotheses: list[str], references: list[str]) -> float:
    """BLEU-4 by the definition of Papineni et al. 2002 for text that splits at spaces and has matches of all orders."""
    log_precision = 0.0
    for order in range(1, 5):
        matches = total = 0
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            found = ngrams(hypothesis.split(), order)
            matches += (found & ngrams(reference.split(), order)).total()
            total += found.total()
        log_precision += math.log(matches / total) / 4
    longer = sum(len(line.split()) for line in references) / sum(len(line.split()) for line in hypotheses)
    return 100 * math.exp(log_precision + min(0.0, 1 - longer))


def popovic(hypotheses: list[str], references: list[str], *, beta: float = 2.0, orders: int = 6) -> float:
    """chrF by the definition of Popović 2015, counts summed over the corpus, spaces left out."""
    precision = recall = 0.0
    for order in range(1, orders + 1):
        matches = found = wanted = 0
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            ours, theirs = (ngrams(line.replace(" ", ""), order) for line in (hypothesis, reference))
            matches += (ours & theirs).total()
            found += ours.total()
            wanted += theirs.total()
        precision += matches / found / orders
        recall += matches / wanted / orders
    return 100 * (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def test_bleu_by_its_definition() -> None:
    hypotheses = [*HYPOTHESES, "we saw the small house near the river"]
    references = [*REFERENCES, "we saw the small house by the river today"]
    assert bleu(hypotheses, references).value == pytest.approx(papineni(hypotheses, references), abs=1e-9)


def test_chrf_by_its_definition() -> None:
    assert chrf(HYPOTHESES, REFERENCES).value == pytest.approx(popovic(HYPOTHESES, REFERENCES), abs=1e-9)


def test_bleu_counted_by_hand() -> None:
    """System and first reference of the example in sacreBLEU's README; punctuation is a token of its own."""
    hypotheses = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    references = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    matches, totals = (6 + 2 + 4, 5 + 0 + 1, 4 + 0 + 0, 3 + 0 + 0), (6 + 4 + 7, 5 + 3 + 6, 4 + 2 + 5, 3 + 1 + 4)
    precisions = [match / total for match, total in zip(matches, totals, strict=True)]
    brevity = math.exp(min(0.0, 1 - (6 + 5 + 6) / (6 + 4 + 7)))
    expected = 100 * brevity * math.prod(precisions) ** 0.25
    assert bleu(hypotheses, references).value == pytest.approx(expected, abs=1e-9)


def test_perfect_and_hopeless() -> None:
    for metric in (bleu, chrf):
        assert metric(REFERENCES, REFERENCES).value == pytest.approx(100)
        assert metric(["x y z q"] * 3, REFERENCES).value < 5


def test_case_counts() -> None:
    assert bleu([line.upper() for line in REFERENCES], REFERENCES).value < 1


def test_empty_output_is_scored() -> None:
    assert bleu(["", "", ""], REFERENCES).value == 0
    assert chrf(["", "", ""], REFERENCES).value == 0


@pytest.mark.parametrize("bootstrap", [False, True])
def test_signatures_hold_what_comparison_needs(bootstrap: bool) -> None:
    signature = dict(part.split(":") for part in bleu(HYPOTHESES, REFERENCES, bootstrap=bootstrap).signature.split("|"))
    assert {**signature, "version": ""} == {
        "nrefs": "1", "case": "mixed", "eff": "no", "tok": "13a", "smooth": "exp", "version": "",
        **({"bs": "1000", "seed": "12345"} if bootstrap else {}),
    }  # fmt: skip
    signature = dict(part.split(":") for part in chrf(HYPOTHESES, REFERENCES, bootstrap=bootstrap).signature.split("|"))
    assert {"nrefs": "1", "case": "mixed", "nc": "6", "nw": "0"}.items() <= signature.items()
    assert signature["version"]


def test_another_tokenizer_is_in_the_signature() -> None:
    assert "tok:char" in bleu(HYPOTHESES, REFERENCES, tokenize="char").signature


def test_interval_by_resampling() -> None:
    hypotheses, references = HYPOTHESES * 20, REFERENCES * 20
    plain, sampled = bleu(hypotheses, references), bleu(hypotheses, references, bootstrap=True)
    assert plain.confidence is None and plain.mean is None
    assert sampled.value == plain.value
    assert sampled.confidence is not None and sampled.mean is not None
    assert 0 < sampled.confidence < 15
    assert abs(sampled.mean - sampled.value) < sampled.confidence
    assert bleu(hypotheses, references, bootstrap=True) == sampled  # the seed is fixed


def test_interval_narrows_with_more_text() -> None:
    few = chrf(HYPOTHESES * 4, REFERENCES * 4, bootstrap=True).confidence
    many = chrf(HYPOTHESES * 64, REFERENCES * 64, bootstrap=True).confidence
    assert few is not None and many is not None
    assert many == pytest.approx(few / 4, rel=0.3)  # one over the root of the number of sentences


def test_one_line_for_people() -> None:
    assert str(Score("BLEU", 35.126, "nrefs:1")) == "BLEU 35.13  nrefs:1"
    assert str(Score("BLEU", 35.126, "nrefs:1", confidence=0.911, mean=35.1)) == "BLEU 35.13 ± 0.91  nrefs:1"


@pytest.mark.parametrize("metric", [bleu, chrf])
def test_wrong_arguments(metric: type[Score]) -> None:
    with pytest.raises(ValueError, match="1 hypotheses for 3 references"):
        metric(["a"], REFERENCES)
    with pytest.raises(ValueError, match="no hypotheses to score"):
        metric([], [])


def test_an_interval_of_a_few_lines_of_which_some_score_nothing() -> None:
    hypotheses = ["a b c d e", "x", "", "a b c d f"]
    references = ["a b c d e", "y", "z", "a b c d e"]
    for metric in (bleu, chrf):
        assert metric(hypotheses, references, bootstrap=True).confidence is not None


def test_ter_and_the_chrf_of_a_sentence_are_sacrebleus() -> None:
    score = ter(HYPOTHESES, REFERENCES, bootstrap=True)
    assert score.value == sacrebleu.corpus_ter(HYPOTHESES, [REFERENCES]).score
    assert score.signature.startswith("nrefs:1|bs:1000|seed:12345|case:lc|tok:tercom") and score.name == "TER"
    assert ter([line.upper() for line in REFERENCES], REFERENCES).value == 0  # case does not count
    ours = SentenceChrf([REFERENCES, HYPOTHESES])
    for index, references in enumerate(zip(REFERENCES, HYPOTHESES, strict=True)):
        assert ours(index, "the cat") == sacrebleu.sentence_chrf("the cat", list(references)).score
        assert ours(index, HYPOTHESES[index]) == pytest.approx(100)


def test_the_bleu_of_a_sentence_is_sacrebleus() -> None:
    ours = SentenceBleu()
    for hypothesis, reference in (("the cat sat", "the cat sat"), ("a cat", "the cat sat here"), ("", "a"), ("x", "")):
        assert ours(hypothesis, reference) == sacrebleu.sentence_bleu(hypothesis, [reference]).score

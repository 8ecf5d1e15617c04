"""Rules of the searches from the command line: what is asked for is so in what is written."""

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from seq2seq.cli.main import main

Run = Callable[..., str]


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Standard output of a command, or its error message where the exit code must be another."""

    def run(*words: str, code: int = 0) -> str:
        assert main([*words, "--threads", "1", "--quiet"]) == code
        captured = capfdbinary.readouterr()
        return (captured.err if code else captured.out).decode()

    return run


@pytest.fixture(scope="module")
def translator(tiny_checkpoint: Callable[..., Path]) -> Path:
    return tiny_checkpoint(tokenizer="characters")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_text("the dog\nthe cat sleeps\n\nover a lazy fox.\n")
    return path


@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_translate_without_repetition(run: Run, translator: Path, text: Path, search: str) -> None:
    words = ["translate", "--ckpt", str(translator), "--input", str(text), "--search", search, "--min-length", "8"]
    free, once = run(*words), run(*words, "--no-repeat-ngram-size", "1")
    assert free.count("\n") == once.count("\n") == 4
    assert any(len(set(line)) < len(line) for line in free.splitlines())
    letters = [line.replace(" ", "") for line in once.splitlines()]  # a newline is written as a space, as spaces are
    assert all(len(set(line)) == len(line) for line in letters)
    assert run(*words, "--repetition-penalty", "50") != free


def test_generate_without_repetition_beyond_the_context(run: Run, tiny_checkpoint: Callable[..., Path]) -> None:
    """The context is 16 tokens; what has left it, the prompt too, is still not written again."""
    model = tiny_checkpoint("language_modelling", tokenizer="characters", max_length=16, documents="file")
    words = ["generate", "--ckpt", str(model), "--prompt", "the dog and", "--max-new-tokens", "120"]
    for search in ("greedy", "beam", "sample"):
        written = run(*words, "--search", search, "--no-repeat-ngram-size", "2").removesuffix("\n")
        pairs = [written[at : at + 2] for at in range(len(written) - 1)]
        assert len(written) == 131 and len(set(pairs)) == len(pairs)


def joins(character: str) -> bool:
    """Whether it goes on with a word."""
    return bool(character) and (character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M")


@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
@pytest.mark.parametrize("tokenizer", ["characters", "bytes", "unigram"])
def test_suppressed_text_and_tokens(
    run: Run, tiny_checkpoint: Callable[..., Path], text: Path, search: str, tokenizer: str
) -> None:
    words = ["translate", "--ckpt", str(tiny_checkpoint(tokenizer=tokenizer)), "--input", str(text), "--search", search]
    words += ["--max-length-ratio", "9"]
    free = run(*words)
    piece = max(set(free) - {" ", "\n"}, key=free.count)  # an untrained model writes it again and again
    runs = sorted(set(re.findall(r"\w+", free)) | set(re.findall(r"[^\w\s\ufffd]", free)))
    assert runs
    suppressed = run(*words, "--suppress-text", *runs)
    assert suppressed.count("\n") == 4
    for word in runs:
        for found in re.finditer(re.escape(word), suppressed):
            before, after = suppressed[found.start() - 1 : found.start()], suppressed[found.end()]
            assert joins(word[0]) and (joins(before) or joins(after)), (word, before, after)
    if tokenizer == "characters":
        assert piece not in run(*words, "--suppress-tokens", piece)


def test_generated_text_has_no_suppressed_word(run: Run, tiny_checkpoint: Callable[..., Path]) -> None:
    """Nor one that the prompt begins."""
    model = tiny_checkpoint("language_modelling", tokenizer="characters", max_length=16, documents="file")
    words = ["generate", "--ckpt", str(model), "--max-new-tokens", "60", "--search", "greedy", "--prompt"]
    free = run(*words, "the d")
    first = re.findall(r"\w+", free)[1]
    text = run(*words, "the d", "--suppress-text", first)
    assert first.startswith("d") and first not in re.findall(r"\w+", text)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--suppress-tokens", "</s>", "--suppress-tokens (</s>) is a special token"),
        ("--suppress-tokens", "dog", "--suppress-tokens (dog) is no piece of the target's vocabulary"),
        ("--suppress-text", " ", "--suppress-text holds a blank text"),
        ("--repetition-penalty", "0", "--repetition-penalty (0.0) must be above 0"),
        ("--no-repeat-ngram-size", "-1", "--no-repeat-ngram-size (-1) must be at least 0"),
    ],
)
def test_impossible_values(run: Run, translator: Path, text: Path, option: str, value: str, sentence: str) -> None:
    error = run("translate", "--ckpt", str(translator), "--input", str(text), option, value, code=2)
    assert sentence in error and error.count("\n") == 1

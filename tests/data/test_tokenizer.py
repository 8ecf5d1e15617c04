import io
import shutil
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from seq2seq.config import Documents, Task, TokenizerConfig, TokenizerKind
from seq2seq.data.corpus import Corpus
from seq2seq.data.tokenizer import (
    BOS,
    EOS,
    NUM_SPECIALS,
    PAD,
    SPACE,
    SPECIALS,
    UNK,
    ByteTokenizer,
    CharacterTokenizer,
    LabelVocabulary,
    SentencePieceTokenizer,
    Tokenizer,
    Tokenizers,
    load_tokenizer,
)
from seq2seq.data.tokenizer_training import train_tokenizers
from seq2seq.errors import DataError

CHARACTERS = st.characters(blacklist_categories=["Cs"])
TEXT = st.text(st.one_of(CHARACTERS, st.sampled_from("▁ \t\nthe<>s/…ｱ\u2028\u00a0\ufeff\0")))
SYMBOLS = ["<br>", "seven old"]


@pytest.fixture(scope="session")
def every_kind(listed, sentences, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:  # type: ignore[no-untyped-def]
    """A tokenizer of each kind of text that gives all text back."""
    source = listed(sentences)
    kinds: dict[str, Tokenizer] = {"bytes": ByteTokenizer()}
    for kind in (TokenizerKind.unigram, TokenizerKind.bpe):
        for documents in Documents:
            for task in (Task.translation, Task.language_modelling):
                kinds[f"{kind.value}, {documents.value}, {task.value}"] = train_tokenizers(
                    TokenizerConfig(kind=kind, vocab_size=320, user_symbols=SYMBOLS),
                    Corpus([source], source, None, "files", documents=documents),
                    task=task,
                    cache_dir=tmp_path_factory.mktemp("cache"),
                ).target
    return kinds


@given(text=TEXT)
@example(text="</s> <s> <pad> <unk> <0x41>")
@example(text="  two  spaces, a tab\tand a break\n")
@example(text="▁already marked▁")
@example(text="日本語 عربى 🙂‍↔️")
def test_decode_gives_the_normalised_text_back(every_kind: dict[str, Tokenizer], text: str) -> None:
    for name, tokenizer in every_kind.items():
        ids = tokenizer.encode(text)
        # No text spells a special token.
        assert all(NUM_SPECIALS <= token < tokenizer.vocab_size for token in ids), name
        normal = tokenizer.normalise(text)
        assert tokenizer.decode(ids) == normal, name
        assert tokenizer.decode(tokenizer.encode(normal)) == normal, name


@given(lines=st.lists(st.text(CHARACTERS)))
def test_whole_files_may_be_encoded_line_by_line(every_kind: dict[str, Tokenizer], lines: list[str]) -> None:
    lines = [line.replace("\n", "") + "\n" for line in lines]
    for name in ("unigram, file, language_modelling", "bpe, file, language_modelling"):
        tokenizer = every_kind[name]
        joined = [token for ids in tokenizer.encode_batch(lines) for token in ids]
        assert tokenizer.decode(joined) == tokenizer.decode(tokenizer.encode("".join(lines)))
        assert tokenizer.decode(joined).count("\n") == len(lines)


@given(texts=st.lists(TEXT, max_size=5))
def test_many_at_once_is_one_by_one(every_kind: dict[str, Tokenizer], texts: list[str]) -> None:
    for tokenizer in every_kind.values():
        assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


def test_specials_are_not_shown(every_kind: dict[str, Tokenizer]) -> None:
    for tokenizer in every_kind.values():
        ids = tokenizer.encode("the cat")
        assert tokenizer.decode([BOS, *ids, EOS, PAD, UNK, PAD]) == "the cat"


def test_every_id_has_a_piece(every_kind: dict[str, Tokenizer]) -> None:
    kinds = [*every_kind.values(), CharacterTokenizer("ab é\n")]
    for tokenizer in kinds:
        pieces = tokenizer.pieces(range(tokenizer.vocab_size))
        assert tuple(pieces[:NUM_SPECIALS]) == SPECIALS
        assert len(set(pieces)) == tokenizer.vocab_size  # each is told from the others
    assert CharacterTokenizer("ab é\n").pieces([NUM_SPECIALS, NUM_SPECIALS + 4, UNK]) == ["\n", "é", "<unk>"]
    assert ByteTokenizer().pieces(ByteTokenizer().encode("é a\n")) == ["<0xC3>", "<0xA9>", " ", "a", "<0x0A>"]
    assert LabelVocabulary(["x", "y"], per_word=True).pieces([1, 0]) == ["y", "x"]


def test_user_symbols_are_one_token(every_kind: dict[str, Tokenizer]) -> None:
    for name, tokenizer in every_kind.items():
        if isinstance(tokenizer, SentencePieceTokenizer):
            pieces = tokenizer.pieces(tokenizer.encode("the<br>seven old dog"))
            assert {symbol.replace(" ", SPACE) for symbol in SYMBOLS} <= set(pieces), name


def test_sentencepiece_normalises_to_nfkc_and_single_spaces(tokenizers: Tokenizers) -> None:
    assert tokenizers.source.normalise("  ﬁnd\u00a0\u2028 the…  ") == "find the..."


def test_characters() -> None:
    tokenizer = CharacterTokenizer("banana")
    assert (tokenizer.characters, tokenizer.vocab_size) == ("abn", 7)
    assert tokenizer.encode("ban?") == [5, 4, 6, UNK]
    assert tokenizer.decode(tokenizer.encode("ban?")) == "ban"
    assert tokenizer.fingerprint == CharacterTokenizer("nab").fingerprint != CharacterTokenizer("na").fingerprint


def test_bytes() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.vocab_size == 260
    assert tokenizer.encode("ü") == [4 + 0xC3, 4 + 0xBC]
    assert tokenizer.decode([4 + 0xC3]) == "\ufffd"
    assert tokenizer.encode("\ud800") == tokenizer.encode("?")
    assert tokenizer.normalise("\ud800") == "?"


def test_labels() -> None:
    labels = LabelVocabulary(["de", "en", "old english", "de"], per_word=False)
    assert labels.vocab_size == 3
    assert labels.encode(" old english ") == [2]
    assert labels.decode([2]) == "old english"
    tags = LabelVocabulary(["O", "N"], per_word=True)
    assert tags.encode("O  N O") == [1, 0, 1]
    assert tags.decode([1, 0]) == tags.normalise(" O  N") == "O N"
    with pytest.raises(DataError, match="'VERB' does not occur in the training text, which has 2: N, O"):
        tags.encode("O VERB")


def test_saved_and_loaded_in_another_folder(every_kind: dict[str, Tokenizer], tmp_path: Path) -> None:
    kinds = [*every_kind.values(), CharacterTokenizer("ab\u2028\n"), LabelVocabulary(["x", "y"], per_word=True)]
    for index, tokenizer in enumerate(kinds):
        there = tmp_path / str(index)
        there.mkdir()
        Tokenizers(tokenizer, tokenizer).save(there)
        moved = shutil.move(there, tmp_path / f"moved-{index}")
        loaded = Tokenizers.load(Path(moved))
        assert loaded.joint
        assert type(loaded.source) is type(tokenizer)
        assert loaded.source.fingerprint == tokenizer.fingerprint
        assert loaded.source.encode("x") == tokenizer.encode("x")


def test_two_vocabularies_are_two_files(tokenizers: Tokenizers, tmp_path: Path) -> None:
    both = Tokenizers(tokenizers.source, LabelVocabulary(["x"], per_word=False))
    both.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["source_tokenizer.model", "target_tokenizer.json"]
    loaded = Tokenizers.load(tmp_path)
    assert not loaded.joint
    assert (loaded.source.fingerprint, loaded.target.fingerprint) == (both.source.fingerprint, both.target.fingerprint)


def test_damage_is_one_sentence_with_the_file(tokenizers: Tokenizers, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no tokenizer here; expected tokenizer.model"):
        Tokenizers.load(tmp_path)
    tokenizers.save(tmp_path)
    path = tmp_path / "tokenizer.model"
    content = path.read_bytes()
    for bad in (b"", b"garbage", content[: len(content) // 2]):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=r"tokenizer\.model: .*damaged"):
            Tokenizers.load(tmp_path)
    path = tmp_path / "a.json"
    for text in ("", "{", "[]", "{}", '{"kind": "labels"}', '{"kind": "characters", "characters": 3}'):
        path.write_text(text)
        with pytest.raises(DataError, match=r"a\.json: the tokenizer is damaged"):
            load_tokenizer(path)
    path.write_text('{"kind": "morse"}')
    with pytest.raises(DataError, match="'morse', which this version does not know"):
        load_tokenizer(path)
    with pytest.raises(DataError, match=r"b\.json: the tokenizer cannot be read \(No such file"):
        load_tokenizer(tmp_path / "b.json")


def test_foreign_special_ids_are_refused() -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words"] * 20),
        model_writer=model,
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=3,
    )
    with pytest.raises(DataError, match=r"the ids \(-1, 1, 2, 0\), not \(0, 1, 2, 3\)"):
        SentencePieceTokenizer(model.getvalue())

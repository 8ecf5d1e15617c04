"""Same weights, same output: our searches beside Hugging Face `generate`, token for token."""

import warnings

import pytest
import torch

from seq2seq.config import DecodingConfig, LengthNormalisation, Search
from seq2seq.decoding import beam_search, greedy_search, search
from seq2seq.decoding.logits import keep_above_epsilon, keep_min_p, keep_top_k, keep_top_p, temper
from seq2seq.interop.huggingface import from_gpt2, from_marian

transformers = pytest.importorskip("transformers")

INPUTS, BATCH = 200, 44  # a tenth more than needed: near ties are not counted
PAD, EOS, UNK = 58, 0, 1  # Marian's layout: padding is the last id, and starts a translation
NEW = 16


def marian():
    torch.manual_seed(1)
    config = transformers.MarianConfig(
        vocab_size=59,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
        forced_eos_token_id=None,
        scale_embedding=True,
        init_std=0.3,  # far from uniform, or every beam would be a near tie
    )
    model = transformers.MarianMTModel(config).double().eval()
    model.final_logits_bias.normal_(std=0.3)
    model.final_logits_bias[0, EOS] += 3  # about half of the outputs end before NEW tokens
    with torch.no_grad():  # an untrained decoder repeats one token for ever unless the last one counts for more
        for layer in model.model.decoder.layers:
            layer.encoder_attn.out_proj.weight *= 0.3
    return model


def gpt2():
    torch.manual_seed(2)
    config = transformers.GPT2Config(
        vocab_size=59,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        bos_token_id=EOS,
        eos_token_id=EOS,
        initializer_range=0.4,
    )
    model = transformers.GPT2LMHeadModel(config).double().eval()
    with torch.no_grad():  # the embedding is the head's too: a common direction makes the end token likelier
        model.transformer.ln_f.bias += 0.2 * model.transformer.wte.weight[EOS]
    return model


def their_output(model, inputs, **settings):
    """Token ids after the prompt, up to and without the end token, and scores where the search has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers about itself
        output = model.generate(
            **inputs,
            max_new_tokens=NEW,
            pad_token_id=PAD,
            eos_token_id=EOS,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            **settings,
        )
    prompt = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    outputs = []
    for ids in output.sequences[:, prompt:].tolist():
        outputs.append(tuple(ids[: ids.index(EOS)] if EOS in ids else ids))
    return outputs, getattr(output, "sequences_scores", None)


def batches(kind):
    """Inputs as theirs, with (state, prompt) as ours."""
    model = marian() if kind == "marian" else gpt2()
    ours = from_marian(model) if kind == "marian" else from_gpt2(model)
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        if kind == "marian":
            lengths = torch.randint(1, 12, (BATCH, 1), generator=generator)
            source = torch.randint(2, PAD, (BATCH, 12), generator=generator)
            mask = torch.arange(12) < lengths
            source = source.masked_fill(~mask, PAD)
            inputs = {"input_ids": source, "attention_mask": mask.long()}
            yield model, inputs, ours, ours.start(source, source_mask=mask), torch.full((BATCH, 1), PAD)
        else:
            length = int(torch.randint(1, 12, (1,), generator=generator))
            prompt = torch.randint(2, PAD, (BATCH, length), generator=generator)
            inputs = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
            yield model, inputs, ours, ours.start(BATCH), prompt


# Hugging Face decides in float32 whatever the model computes in: decisions narrower than its rounding are not counted.
ROUNDING = 1e-5


def compare(result, theirs, n_best=1):
    """Returns how many inputs were compared, and of how many the best ended by itself."""
    compared = ended = 0
    for row, (hypotheses, margin) in enumerate(zip(result.hypotheses, result.margins, strict=True)):
        if margin > ROUNDING:
            assert [h.tokens for h in hypotheses] == theirs[row * n_best : (row + 1) * n_best]
            compared += 1
        ended += hypotheses[0].finished
    return compared, ended


@pytest.mark.parametrize("kind", ["marian", "gpt2"])
def test_greedy(kind):
    compared = ended = 0
    for model, inputs, ours, state, prompt in batches(kind):
        result = greedy_search(ours, state, prompt, eos_id=EOS, forbidden_ids=(PAD,), max_length=NEW)
        theirs, _ = their_output(model, inputs, num_beams=1, bad_words_ids=[[PAD]])
        counts = compare(result, theirs)
        compared, ended = compared + counts[0], ended + counts[1]
    assert compared >= INPUTS
    assert 20 <= ended <= compared - 10  # both ways to end are tested


@pytest.mark.parametrize("kind", ["marian", "gpt2"])
@pytest.mark.parametrize(
    ("alpha", "normalisation", "min_length", "n_best", "patience"),
    [
        (1.0, LengthNormalisation.average, 0, 1, 0),
        (1.0, LengthNormalisation.average, 0, 1, 1),
        (0.6, LengthNormalisation.average, 4, 5, 0),
        (0.6, LengthNormalisation.average, 4, 5, 1),
        (0.0, LengthNormalisation.none, 0, 3, 0),
    ],
)
def test_beam_5(kind, alpha, normalisation, min_length, n_best, patience):
    compared = ended = 0
    for model, inputs, ours, state, prompt in batches(kind):
        result = beam_search(
            ours,
            state,
            prompt,
            beam_size=5,
            n_best=n_best,
            eos_id=EOS,
            forbidden_ids=(PAD, UNK),
            min_length=min_length,
            max_length=NEW,
            length_normalisation=normalisation,
            length_penalty=alpha,
            patience=patience,
        )
        theirs, scores = their_output(
            model,
            inputs,
            num_beams=5,
            num_return_sequences=n_best,
            early_stopping=True if patience else "never",
            length_penalty=alpha,
            bad_words_ids=[[PAD], [UNK]],
            **({"min_new_tokens": min_length} if min_length else {}),
        )
        counts = compare(result, theirs, n_best)
        compared, ended = compared + counts[0], ended + counts[1]
        ours_scores = torch.tensor([h.score for hypotheses in result.hypotheses for h in hypotheses])
        torch.testing.assert_close(ours_scores, scores, atol=1e-4, rtol=1e-4)
    assert compared >= INPUTS
    assert ended >= 20


def under_rules(kind, config, **theirs):
    """Counts of inputs compared; theirs counts the prompt of a language model as written too."""
    compared = 0
    for model, inputs, ours, state, prompt in batches(kind):
        texts, _ = their_output(model, inputs, **theirs)
        arguments = dict(config=config, eos_id=EOS, forbidden_ids=(PAD,), max_length=NEW)
        if kind == "marian":
            compared += compare(search(ours, state, prompt, **arguments), texts)[0]
            continue
        for row in range(0, len(prompt), 2):
            found = search(ours, ours.start(1), prompt[row : row + 1], past=prompt[row].tolist(), **arguments)
            compared += 2 * compare(found, texts[row : row + 1])[0]
    return compared


@pytest.mark.parametrize("kind", ["marian", "gpt2"])
@pytest.mark.parametrize(("size", "penalty"), [(2, 1.0), (0, 1.3), (3, 1.1)])
def test_beam_search_against_repetition(kind, size, penalty):
    rules = {"no_repeat_ngram_size": size, "repetition_penalty": penalty}
    config = DecodingConfig(patience=0, **rules)
    assert under_rules(kind, config, num_beams=5, early_stopping="never", bad_words_ids=[[PAD]], **rules) >= INPUTS


@pytest.mark.parametrize("kind", ["marian", "gpt2"])
def test_greedy_search_against_repetition(kind):
    """Theirs penalises logits by their sign; given log-probabilities it must do as we do."""
    processors = transformers.LogitsProcessorList(
        [
            transformers.LogitNormalization(),
            transformers.RepetitionPenaltyLogitsProcessor(1.3),
            transformers.NoBadWordsLogitsProcessor([[PAD]]),
        ]
    )
    config = DecodingConfig(search=Search.greedy, repetition_penalty=1.3)
    assert under_rules(kind, config, num_beams=1, logits_processor=processors) >= INPUTS


@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.08])
@pytest.mark.parametrize("min_p", [0.0, 0.1, 0.6])
def test_what_is_sampled_from(min_p, epsilon):
    logits = 3 * torch.randn(300, 40, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    theirs = transformers.LogitsProcessorList(
        [
            transformers.TemperatureLogitsWarper(1.3),
            transformers.TopKLogitsWarper(30),
            transformers.TopPLogitsWarper(0.95),
            *([transformers.MinPLogitsWarper(min_p)] if min_p else []),
            *([transformers.EpsilonLogitsWarper(epsilon)] if epsilon else []),
        ]
    )(torch.zeros(300, 1, dtype=torch.long), logits)
    ours = keep_top_p(keep_top_k(temper(logits, 1.3), 30), 0.95)
    ours = keep_above_epsilon(keep_min_p(ours, min_p), epsilon)
    torch.testing.assert_close(ours, theirs)

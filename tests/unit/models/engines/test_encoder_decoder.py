"""Encoder-decoders: one pass of the encoder for all answers to a prompt, and what the model itself would say."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from keeptune.batching.pairs import pair_batch, plan_pairs
from keeptune.batching.trie import ScoringRequest
from keeptune.core.errors import DataError, ModelError
from keeptune.data.examples import Encoded
from keeptune.inference.generate import generate, sample
from keeptune.inference.score import choice_logprobs, ranked_logprobs, row_nats, text_nats
from keeptune.models.causal import draw_tokens, probe_logits
from keeptune.models.engines.encoder_decoder import EncoderDecoderEngine
from keeptune.models.language_model import LanguageModel
from keeptune.models.outputs import logits, target_logprobs, target_nll
from keeptune.train.loop import TrainConfig, fit

Build = Callable[..., Any]
KINDS = ["t5", "bart"]


@pytest.fixture(params=KINDS)
def pairs(request: pytest.FixtureRequest, build: Build, tokenizer: Any) -> LanguageModel:
    return LanguageModel.wrap(build(request.param), tokenizer, name=request.param)


def rows_of(n: int, seed: int = 0, *, prompts: int = 5) -> list[Encoded]:
    """Rows of which several have the same prompt; every answer ends in EOS."""
    draw = random.Random(seed)
    asked = [tuple(draw.randrange(3, 320) for _ in range(draw.randint(2, 30))) for _ in range(prompts)]
    made = []
    for number in range(n):
        answer = tuple(draw.randrange(3, 320) for _ in range(draw.randint(1, 9)))
        made.append(Encoded(str(number), draw.choice(asked), (*answer, 2)))
    return made


def expected_logprobs(lm: LanguageModel, row: Encoded) -> torch.Tensor:
    """[targets] by transformers alone: one row, its labels, its shift."""
    start = list(lm.engine.start)
    fed = torch.tensor([[*start, *row.completion_ids[:-1]]])
    output = lm.model(input_ids=torch.tensor([row.prompt_ids]), decoder_input_ids=fed)
    at = torch.arange(len(row.completion_ids))
    return output.logits[0, len(start) - 1 :].log_softmax(-1)[at, torch.tensor(row.completion_ids)]


def test_facts(pairs: LanguageModel) -> None:
    assert pairs.encoder_decoder
    assert (pairs.engine.name, pairs.engine.reference.name) == ("encoder-decoder", "padded")
    assert pairs.context == 128
    assert pairs.prompt_room(20) == 128 and pairs.prompt_room(128) == 0


@torch.no_grad()
def test_scores_are_those_of_transformers_row_by_row(pairs: LanguageModel) -> None:
    rows = rows_of(20)
    for row, found in zip(rows, row_nats(pairs, rows, token_budget=200), strict=True):
        assert found == pytest.approx(-float(expected_logprobs(pairs, row).sum()), rel=1e-5)


@pytest.mark.parametrize("budget", [40, 150, 10_000])
def test_grouping_changes_nothing(pairs: LanguageModel, budget: int) -> None:
    rows = rows_of(17, seed=1)
    expected = row_nats(pairs, rows)
    assert row_nats(pairs, rows, token_budget=budget) == pytest.approx(expected, rel=1e-5)
    with pairs.using("padded"):
        assert row_nats(pairs, rows, token_budget=budget) == pytest.approx(expected, rel=1e-5)


def test_loss_and_gradient_are_those_of_the_reference(pairs: LanguageModel) -> None:
    rows = rows_of(12, seed=2)
    found = {}
    for engine in ("flat", "padded"):
        pairs.model.requires_grad_(True).zero_grad()
        with pairs.using(engine):
            batches = pairs.engine.train_batches(pairs, rows, 200)
            assert len(batches) > 1
            loss = sum(target_nll(pairs, batch, 0.5) for batch in batches)
        loss.backward()
        found[engine] = loss.detach(), {n: p.grad.clone() for n, p in pairs.model.named_parameters()}
    torch.testing.assert_close(found["flat"][0], found["padded"][0], rtol=1e-5, atol=1e-5)
    for name, gradient in found["padded"][1].items():
        torch.testing.assert_close(found["flat"][1][name], gradient, rtol=1e-4, atol=1e-4, msg=name)


def test_a_prompt_is_read_once_for_all_its_answers(pairs: LanguageModel) -> None:
    read: list[int] = []
    pairs.model.get_encoder().register_forward_hook(
        lambda module, args, kwargs, output: read.append(output.last_hidden_state.shape[0]), with_kwargs=True
    )
    requests = [ScoringRequest((5, 6, 7), [(8, 9), (10,), (11, 12, 13)]), ScoringRequest((5, 9), [(8,), (9,)])]
    first = choice_logprobs(pairs, requests)
    assert sum(read) == 2
    again = [choice_logprobs(pairs, [ScoringRequest(r.prompt_ids, [c])])[0][0] for r in requests for c in r.choices]
    assert [each for sums in first for each in sums] == pytest.approx(again, rel=1e-5)
    with pairs.using("padded"):
        assert [s for sums in choice_logprobs(pairs, requests) for s in sums] == pytest.approx(again, rel=1e-5)


def test_logits_and_their_log_probabilities_agree(pairs: LanguageModel) -> None:
    (batch,) = pairs.engine.score_batches(rows_of(6), 10_000)
    with torch.no_grad():
        found = target_logprobs(pairs, batch)
        whole = logits(pairs, batch).float().log_softmax(-1)[batch.sources, batch.labels]
        torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            pairs.engine.reference.logits(pairs, batch), logits(pairs, batch), rtol=1e-4, atol=1e-4
        )
    torch.testing.assert_close(target_logprobs(pairs, batch).detach(), whole, rtol=1e-5, atol=1e-5)


def test_masked_stretches_of_an_answer_are_fed_and_not_scored(pairs: LanguageModel) -> None:
    row = rows_of(1)[0]
    row = Encoded("gap", row.prompt_ids, (9, 10, 11, 12, 2), gaps=((0, 2), (3, 4)))
    (batch,) = pairs.engine.score_batches([row], 10_000)
    assert batch.labels.tolist() == [11, 2]
    with torch.no_grad():
        each = expected_logprobs(pairs, Encoded("", row.prompt_ids, row.completion_ids))
    assert row_nats(pairs, [row])[0] == pytest.approx(-float(each[2] + each[4]), rel=1e-5)


def test_ranks_say_whether_greedy_decoding_says_it(pairs: LanguageModel) -> None:
    prompt = (5, 6, 7, 20)
    (said,) = generate(pairs, [prompt], 4)
    choices = [said or (2,), (*said[:-1], (said[-1] + 1) % 300 + 3) if said else (9,)]
    for engine in ("flat", "padded"):
        with pairs.using(engine):
            ((_, greedy), (_, other)) = ranked_logprobs(pairs, [ScoringRequest(prompt, choices)])[0]
        assert greedy and not other


def test_generation_is_that_of_transformers_one_by_one(pairs: LanguageModel) -> None:
    prompts = [row.prompt_ids for row in rows_of(9, seed=3, prompts=9)]
    limits = [3 + number for number in range(9)]
    found = generate(pairs, prompts, 12, limits=limits, token_budget=120)
    for prompt, limit, ids in zip(prompts, limits, found, strict=True):
        output = pairs.model.generate(
            input_ids=torch.tensor([prompt]),
            decoder_input_ids=torch.tensor([pairs.engine.start]),
            max_new_tokens=limit,
            do_sample=False,
        )[0, len(pairs.engine.start) :].tolist()
        assert list(ids) == [id for id in output if id != 2]


def test_samples_depend_on_seed_and_place_alone(pairs: LanguageModel) -> None:
    prompts = [row.prompt_ids for row in rows_of(6, seed=4, prompts=6)]
    together = sample(pairs, prompts, 8, seed=3)
    assert sample(pairs, prompts, 8, seed=3, token_budget=30) == together
    assert sample(pairs, prompts, 8, seed=4) != together


def test_prompt_and_answer_have_windows_of_their_own(pairs: LanguageModel) -> None:
    long = tuple(5 + at % 300 for at in range(128))
    assert len(generate(pairs, [long], 20)) == 1
    with pytest.raises(ValueError, match="do not fit 128 tokens"):
        generate(pairs, [(*long, 7)], 20)
    with pytest.raises(ValueError, match="its context has 128"):
        choice_logprobs(pairs, [ScoringRequest((*long, 7), [(9,)])])


def test_what_has_no_prompt_is_refused(pairs: LanguageModel, tmp_path: Any) -> None:
    with pytest.raises(ModelError, match="free text has no likelihood under an encoder-decoder"):
        text_nats(pairs, [(5, 6, 7)])
    from keeptune.methods.full import FullConfig

    with pytest.raises(DataError, match="a row without a prompt has nothing for the encoder"):
        fit(pairs, FullConfig().build(), [Encoded("a", (), (5, 2))], [], TrainConfig(), tmp_path, lr=1e-3)


def test_a_bart_decoder_starts_behind_the_token_that_its_texts_begin_with(build: Build, tokenizer: Any) -> None:
    from copy import deepcopy

    from tokenizers.processors import TemplateProcessing

    framed = deepcopy(tokenizer)
    framed.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    lm = LanguageModel.wrap(build("bart"), framed)
    assert lm.engine.start == (2, 1)
    plain = LanguageModel.wrap(build("bart"), tokenizer)
    assert plain.engine.start == (2,)
    model = build("bart")
    model.generation_config.forced_bos_token_id = 7
    assert LanguageModel.wrap(model, framed).engine.start == (2, 7)
    model.config.decoder_start_token_id = None
    with pytest.raises(ModelError, match="does not say what the decoder starts from"):
        LanguageModel.wrap(model, framed)


def test_a_head_of_another_kind_runs_by_the_models_own_forward(
    build: Build, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = build("bart")
    with torch.no_grad():
        model.final_logits_bias.normal_(std=5.0)
    lm = LanguageModel.wrap(model, tokenizer, name="biased")
    assert lm.engine.name == "padded" and "reads every prompt anew" in caplog.text
    row = rows_of(1)[0]
    with torch.no_grad():
        assert row_nats(lm, [row])[0] == pytest.approx(-float(expected_logprobs(lm, row).sum()), rel=1e-5)


def test_each_row_has_dropout_of_its_own(build: Build, tokenizer: Any) -> None:
    lm = LanguageModel.wrap(build("t5", dropout_rate=0.5), tokenizer)
    rows = [Encoded("a", (5, 6), (7, 2)), Encoded("b", (5, 6), (8, 2))]
    assert isinstance(lm.engine, EncoderDecoderEngine)
    assert len(lm.engine.train_batches(lm, rows, 100)[0].input_ids) == 1
    lm.model.train()
    assert len(lm.engine.train_batches(lm, rows, 100)[0].input_ids) == 2


@pytest.mark.parametrize("share", [True, False])
def test_plans_keep_to_their_budget_and_hold_every_row_once(share: bool) -> None:
    rows = rows_of(60, seed=5, prompts=20)
    groups = plan_pairs(rows, 120, share=share)
    assert sorted(index for group in groups for index in group) == list(range(60))
    for group in groups:
        batch = pair_batch([rows[index] for index in group], group, (0,), share=share)
        assert batch.computed <= 120 or len(group) == 1
        assert batch.tokens == sum(len(rows[index]) for index in group)
    shared = sum(pair_batch([rows[i] for i in g], g, (0,), share=share).computed for g in groups)
    assert shared < 1.5 * sum(len(row) for row in rows)


def test_an_adapted_model_generates_by_no_settings_of_its_own_either(build: Build, tokenizer: Any) -> None:
    from keeptune.methods.lora import LoraConfig

    for kind in KINDS:
        lm = LanguageModel.wrap(build(kind), tokenizer, name=kind)
        prompts = [row.prompt_ids for row in rows_of(5, seed=6, prompts=5)]
        plain, method = generate(lm, prompts, 12), LoraConfig(rank=2).build()
        own = lm.model.generation_config
        own.no_repeat_ngram_size, own.num_beams = 1, 3
        assert generate(lm, prompts, 12) == plain
        lm.adapt(method)  # B is zero: it is the base
        assert generate(lm, prompts, 12) == plain
        lm.restore(method)
        assert lm.model.generation_config is own


def test_two_start_tokens_count_in_the_decoders_window(build: Build, tokenizer: Any) -> None:
    model = build("bart")
    model.generation_config.forced_bos_token_id = 7
    lm = LanguageModel.wrap(model, tokenizer)
    assert len(lm.engine.start) == 2
    fits = tuple(5 + at % 300 for at in range(127))
    assert len(choice_logprobs(lm, [ScoringRequest((5, 6), [fits])])) == 1
    with pytest.raises(ValueError, match="its context has 128"):
        choice_logprobs(lm, [ScoringRequest((5, 6), [(*fits, 9)])])


def test_an_adapter_that_is_merged_is_compared_by_the_models_own_engine(build: Build, tokenizer: Any) -> None:
    for kind in KINDS:
        lm = LanguageModel.wrap(build(kind), tokenizer, name=kind)
        with torch.no_grad():
            (batch,) = lm.engine.score_batches([Encoded("", tuple(draw_tokens(lm, 33)), (5, 6))], 100)
            assert probe_logits(lm, lm.engine).shape == (31, logits(lm, batch).shape[-1])

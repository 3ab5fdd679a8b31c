"""Test-time training: what each adaptation may see, and when; audited from outside, for all of the catalog."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jobs.adapting import SharedSteps, agreed_sha256, only_training, rate_groups, row_batches, weights_sha256
from jobs.contract.records import PRE_EVAL, SCORE_FIRST
from jobs.dialect import snake_case
from jobs.model import IGNORED, Transformer
from jobs.scoring import StreamEvent
from jobs.techniques.adaptation.two_phase import last_block_names, scale_names
from jobs.techniques.evaluation.aligned import Aligned
from jobs.techniques.evaluation.sliding import Sliding
from platform.program.knobs import Scalar, nested_family
from platform.program.recipe import entry_program, load
from tests.jobs import tiny
from tests.jobs.adapted import score_adapted, setting_of
from tests.jobs.tiny import ALONE, LENGTH, ROOT, VOCABULARY, Case, every, model_of, noisy, small, state_of, technique

CASES = every("adaptation", switched=True)
LEARNERS = [case for case in CASES if case.name != "no_adaptation"]
SCORE_FIRST_CASES = [case for case in LEARNERS if case.made().protocol == SCORE_FIRST]
PRE_EVAL_CASES = [case for case in LEARNERS if case.made().protocol == PRE_EVAL]
NONE = technique("adaptation", "no_adaptation")
STREAM = tiny.stream(301)


def losses(adaptation: Any, tokens: Tensor = STREAM, **options: Any) -> Tensor:
    return score_adapted(adaptation, tokens, **options)[0].nll_N


def at_rate_zero(family: str, name: str, **given: Any) -> Any:
    """The technique with every learning rate 0, those of the techniques in it too."""
    knobs = dict(given)
    for knob in tiny.catalog().technique(family, name).knobs.values():
        inner = nested_family(knob.kind)
        if inner:
            knobs[knob.name] = at_rate_zero(inner, tiny.NESTED[inner])
        elif isinstance(knob.kind, Scalar) and knob.kind.name == "float" and knob.name.endswith("learning_rate"):
            knobs[knob.name] = 0.0
    return technique(family, name, **knobs)


# Every adaptation


@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_name_an_adaptation_as_recipes_do(case: Case) -> None:
    assert snake_case(type(case.made()).__name__) == case.name
    assert case.made().protocol in (SCORE_FIRST, PRE_EVAL)


@pytest.mark.parametrize("case", LEARNERS, ids=str)
def test_it_learns_something(case: Case) -> None:
    plain, rate_zero = losses(at_rate_zero(case.family, case.name, **case.knobs)), losses(case.made())
    assert not torch.equal(plain, rate_zero)
    assert rate_zero.isfinite().all()


@pytest.mark.parametrize("case", LEARNERS, ids=str)
def test_at_rate_zero_nothing_changes(case: Case) -> None:
    """Bit for bit: the weights, and the losses of a model that never learns in the same windows."""
    adaptation = at_rate_zero(case.family, case.name, **case.knobs)
    model = noisy(model_of(small()))
    before = state_of(model)
    scores, _ = score_adapted(adaptation, STREAM, model=model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    plain, _ = score_adapted(adaptation, STREAM, watched=PlainDocuments.of)
    assert torch.equal(scores.nll_N, plain.nll_N)
    if not isinstance(PlainDocuments.of(learner_of(adaptation)), PlainDocuments):
        assert torch.equal(scores.nll_N, losses(NONE))


def learner_of(adaptation: Any) -> Any:
    return None if adaptation.protocol == PRE_EVAL else adaptation.learner(noisy(model_of(small())), setting_of())


class PlainDocuments:
    """The windows of a learner of documents, scored by the model alone."""

    def __init__(self, learner: Any) -> None:
        self.model: Transformer = noisy(model_of(small()))
        self.chunk_targets, self.context_tokens = learner.chunk_targets, learner.context_tokens
        self.batch_documents = learner.batch_documents

    @staticmethod
    def of(learner: Any) -> Any:
        """In place of a learner of documents; other learners go on as they are."""
        return PlainDocuments(learner) if hasattr(learner, "batch_documents") else learner

    def begin(self, starts: list[int]) -> None: ...

    def score(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        logits_BTV = self.model.logits(self.model.hidden(ids_BT))
        return nn.functional.cross_entropy(logits_BTV.transpose(1, 2), targets_BT, reduction="none")

    def learn(self, loss_BT: Tensor, weight_BT: Tensor) -> None: ...


@pytest.mark.parametrize("case", LEARNERS, ids=str)
def test_the_same_stream_gives_the_same_losses(case: Case) -> None:
    assert torch.equal(losses(case.made()), losses(case.made()))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("num_targets", [1, LENGTH - 1, LENGTH, LENGTH + 1, 79, 81])
def test_streams_of_any_length(case: Case, num_targets: int) -> None:
    """79 and 81 are a chunk of 80 less and more than one; what has one chunk only is scored by the plain model."""
    tokens = STREAM[: num_targets + 1]
    scores, model = score_adapted(case.made(), tokens)
    assert scores.nll_N.shape == (num_targets,) and scores.nll_N.isfinite().all()
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    if num_targets == 1 and case.made().protocol == SCORE_FIRST:
        torch.testing.assert_close(scores.nll_N, losses(NONE, tokens), rtol=0, atol=1e-6)


# Causality


def changed_from(place: int) -> Tensor:
    """The stream with other tokens from ``place`` on; documents begin where they did."""
    tokens = STREAM.clone()
    tokens[place:] = 4 + (tokens[place:] - 4 + 17) % (VOCABULARY - 4)
    tokens[STREAM == 1] = 1
    return tokens


# a quarter, half, three quarters; inside a chunk of 80 and at its borders; in the last window
PLACES = [2, 75, 80, 81, 150, 225, 299]


@pytest.mark.parametrize("case", [*SCORE_FIRST_CASES, Case("adaptation", "no_adaptation")], ids=str)
@pytest.mark.parametrize("evaluation", [Aligned(), Sliding(stride=16)], ids=["aligned", "sliding"])
def test_no_loss_depends_on_a_later_token(case: Case, evaluation: Any) -> None:
    """The probe that pre-eval training fails: other tokens from k on, and no loss before k moves by a bit."""
    original = losses(case.made(), evaluation=evaluation)
    for place in PLACES:
        found = losses(case.made(), changed_from(place), evaluation=evaluation)
        assert torch.equal(found[: place - 1], original[: place - 1]), f"a loss before token {place} saw it"
        assert not torch.equal(found[place - 1 :], original[place - 1 :])


@pytest.mark.parametrize("case", PRE_EVAL_CASES, ids=str)
def test_the_probe_finds_what_trains_on_the_stream_first(case: Case) -> None:
    original = losses(case.made())
    for place in (75, 150, 225):
        found = losses(case.made(), changed_from(place))
        assert float((found[: place - 1] - original[: place - 1]).abs().max()) > 1e-4


@pytest.mark.parametrize("case", SCORE_FIRST_CASES, ids=str)
def test_random_tokens_cannot_be_predicted(case: Case) -> None:
    """Uniform random tokens: whoever scores below ln V, by more than chance, has seen them before."""
    tokens = torch.randint(0, VOCABULARY, (1201,), generator=torch.Generator().manual_seed(5))
    found = losses(case.made(), tokens, model=model_of(small())).double()
    assert float(found.mean()) > math.log(VOCABULARY) - 5 * float(found.std()) / math.sqrt(len(found))


def test_random_tokens_can_be_memorised() -> None:
    tokens = torch.randint(0, VOCABULARY, (1201,), generator=torch.Generator().manual_seed(5))
    adaptation = technique("adaptation", "pre_eval", epochs=20, learning_rate=0.01, batch_sequences=8)
    found = losses(adaptation, tokens, model=model_of(small())).double()
    assert float(found.mean()) < math.log(VOCABULARY) - 5 * float(found.std()) / math.sqrt(len(found))


# The ledger


class Spy:
    """Hands a chunk learner what the loop hands it, and keeps it."""

    def __init__(self, learner: Any) -> None:
        self.learner, self.chunk_targets = learner, learner.chunk_targets
        self.received: list[Tensor] = []
        self.places: list[tuple[int, int]] = []

    def learn(self, tokens: Tensor, *, chunk: int, num_chunks: int) -> None:
        self.received.append(tokens)
        self.places.append((chunk, num_chunks))
        self.learner.learn(tokens, chunk=chunk, num_chunks=num_chunks)


def audit(events: Sequence[StreamEvent], num_targets: int) -> None:
    """Every target is scored once, and nothing is trained on before it is scored."""
    scored = [0] * num_targets
    for event in events:
        span = range(event.begin, event.end)
        assert len(span) > 0
        if event.kind == "score":
            for target in span:
                scored[target] += 1
        else:
            assert all(scored[target] for target in span), f"{event} before it was scored"
    assert scored == [1] * num_targets


@pytest.mark.parametrize("case", SCORE_FIRST_CASES, ids=str)
@pytest.mark.parametrize("num_targets", [1, 31, 80, 81, 160, 300])
def test_the_ledger_is_in_order(case: Case, num_targets: int) -> None:
    scores, _ = score_adapted(case.made(), STREAM[: num_targets + 1], evaluation=Sliding(stride=8))
    audit(scores.events, num_targets)
    trained = {target for event in scores.events if event.kind == "train" for target in range(event.begin, event.end)}
    assert num_targets - 1 not in trained, "the last chunk teaches nothing that is used"
    assert num_targets < 81 or trained


@pytest.mark.parametrize("case", [case for case in SCORE_FIRST_CASES if case.name != "document_lora"], ids=str)
@pytest.mark.parametrize("num_targets", [80, 81, 160, 300])
def test_a_learner_gets_just_what_was_scored(case: Case, num_targets: int) -> None:
    """The very tokens of the chunk, in a memory of their own: nothing to look beyond."""
    spies: list[Spy] = []

    def watched(learner: Any) -> Spy:
        spies.append(Spy(learner))
        return spies[0]

    tokens = STREAM[: num_targets + 1]
    scores, _ = score_adapted(case.made(), tokens, evaluation=Sliding(stride=8), watched=watched)
    trained = [event for event in scores.events if event.kind == "train"]
    num_chunks = sum(event.kind == "score" for event in scores.events)
    assert spies[0].places == [(chunk, num_chunks) for chunk in range(num_chunks - 1)]
    for event, received in zip(trained, spies[0].received, strict=True):
        assert torch.equal(received, tokens[event.begin : event.end + 1])
        assert received.untyped_storage().nbytes() == received.numel() * received.itemsize


# Shared steps


def targets_of(rows: int, *, count: int | None = None) -> tuple[Tensor, Tensor]:
    tokens = STREAM[: (count or rows * LENGTH) + 1]
    [(inputs, targets)] = row_batches(tokens, sequence_length=LENGTH, batch_sequences=rows)
    return inputs, targets


def sgd_steps(model: nn.Module, *, clip_norm: float = 0.0) -> SharedSteps:
    optimizer = torch.optim.SGD(rate_groups(model, {}), lr=0.0)
    return SharedSteps(model, optimizer, clip_norm=clip_norm, setting=setting_of())


@pytest.mark.parametrize("clip_norm", [0.0, 0.25])
def test_a_step_follows_the_mean_over_the_targets(clip_norm: float) -> None:
    """70 targets in three rows of 32: the mean is over 70, and clipping comes after it."""
    model, other = noisy(model_of(small())), noisy(model_of(small()))
    inputs, targets = targets_of(3, count=70)
    loss = sgd_steps(model, clip_norm=clip_norm).take(inputs, targets, learning_rate=0.1)
    assert int((targets != IGNORED).sum()) == 70
    mean = other(inputs, targets) / 70
    mean.backward()
    assert loss == pytest.approx(float(mean.detach()), rel=1e-6)
    gradients = [parameter.grad for parameter in other.parameters() if parameter.grad is not None]
    norm = float(torch.stack([one.norm() for one in gradients]).norm())
    factor = min(1.0, clip_norm / norm) if clip_norm else 1.0
    assert norm > 0.25
    for parameter, wanted in zip(model.parameters(), other.parameters(), strict=True):
        assert wanted.grad is not None
        torch.testing.assert_close(parameter, wanted - 0.1 * factor * wanted.grad, rtol=0, atol=1e-6)


def test_rows_leave_out_no_target() -> None:
    batches = row_batches(STREAM[:151], sequence_length=LENGTH, batch_sequences=2)
    assert [len(inputs) for inputs, _ in batches] == [2, 2, 1]
    targets = torch.cat([targets.flatten() for _, targets in batches])
    assert torch.equal(targets[:150], STREAM[1:151]) and bool((targets[150:] == IGNORED).all())


def test_rates_by_name() -> None:
    model = model_of(small())
    groups = rate_groups(model, {"feed_forward.down": 3.0, "feed_forward": 0.5})
    found = {id(parameter): group["multiplier"] for group in groups for parameter in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        expected = 3.0 if "feed_forward.down" in name else 0.5 if "feed_forward" in name else 1.0
        assert found[id(parameter)] == expected


def test_frozen_blocks_are_left_out() -> None:
    model = model_of(small())
    trained = {id(parameter) for group in rate_groups(model, {}, frozen_blocks=1) for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in trained) == (not name.startswith("blocks.0."))


def test_a_name_that_no_parameter_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'mlp\.proj' is part of no parameter's name"):
        rate_groups(model_of(small()), {"mlp.proj": 3.0})


def test_only_the_named_are_trained_inside_and_all_again_after() -> None:
    model = model_of(small())
    with pytest.raises(RuntimeError, match="inside"), only_training(model, ["table.weight"]) as chosen:
        assert [id(parameter) for parameter in chosen] == [id(model.table.weight)]
        assert [name for name, one in model.named_parameters() if one.requires_grad] == ["table.weight"]
        raise RuntimeError("inside")
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_name_of_the_weights_sees_every_bit() -> None:
    model = noisy(model_of(small()))
    before = weights_sha256(model)
    assert weights_sha256(noisy(model_of(small()))) == before == agreed_sha256(model, ALONE)
    with torch.no_grad():
        value = model.blocks[1].attention.q_gain[3]
        value.copy_(torch.nextafter(value, torch.tensor(10.0)))
    assert weights_sha256(model) != before


# Single techniques


@pytest.mark.parametrize("decay", ["none", "cosine", "epoch_cosine"])
def test_the_rate_of_pre_eval_falls_and_never_rises_again(decay: str) -> None:
    """Progress stops at 1: in PR #518 there was one step too many, and the cosine turned."""
    adaptation = technique("adaptation", "pre_eval", decay=decay, epochs=4, learning_rate=1.0, final_fraction=0.1)
    rates = [adaptation._rate(epoch, step, 5) for epoch in range(4) for step in range(5)]
    for place, rate in enumerate(rates):
        progress = {"none": 0.0, "cosine": place / 20, "epoch_cosine": place // 5 / 4}[decay]
        assert rate == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))


def test_pre_eval_is_plain_training_on_the_stream() -> None:
    """Two epochs of SGD over rows of 32, three a step, written out."""
    model, other = noisy(model_of(small())), noisy(model_of(small()))
    adaptation = technique("adaptation", "pre_eval", optimizer="sgd", learning_rate=0.1, momentum=0.0, clip_norm=0.0)
    adaptation.adapt(model, STREAM, setting_of())
    for _ in range(2):
        for begin in range(0, 300, 3 * LENGTH):
            rows = STREAM[begin : begin + 3 * LENGTH + 1]
            loss = torch.zeros(())
            for start in range(0, len(rows) - 1, LENGTH):
                row = rows[start : start + LENGTH + 1]
                loss = loss + other(row[None, :-1], row[None, 1:])
            other.zero_grad()
            (loss / (len(rows) - 1)).backward()
            with torch.no_grad():
                for parameter in other.parameters():
                    assert parameter.grad is not None
                    parameter.sub_(0.1 * parameter.grad)
    for parameter, wanted in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter, wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("case", every("residual"), ids=str)
def test_the_first_phase_trains_the_scales_of_any_residual(case: Case) -> None:
    model = model_of(tiny.with_technique(small(), "residual", case.made()))
    own = {f"blocks.{at}.residual.{name}" for at, one in enumerate(model.blocks) for name in one.residual.state_dict()}
    assert set(scale_names(model)) == own and own


def test_two_phases_train_what_the_record_trained() -> None:
    """In its own shape: 22,528 scales and mixes, then 7,624,728 parameters with three blocks, 5,265,424 with two."""
    recipe = tiny.recipe_of(entry_program(load(ROOT / "recipes" / "two_phase.yaml")))
    with torch.device("meta"):
        model = Transformer(recipe)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sum(sizes[name] for name in scale_names(model)) == 22_528
    assert sum(sizes[name] for name in last_block_names(model, 3)) == 7_624_728
    assert sum(sizes[name] for name in last_block_names(model, 2)) == 5_265_424


@pytest.mark.parametrize(("phases", "trained"), [("first", 0), ("second", 1)])
def test_a_phase_leaves_the_rest_alone(phases: str, trained: int) -> None:
    model = noisy(model_of(small()))
    before = state_of(model)
    technique("adaptation", "two_phase", phases=phases).adapt(model, STREAM, setting_of())
    names = [scale_names(model), last_block_names(model, 1)][trained]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in names), name


def test_an_untied_head_is_trained_with_the_last_blocks() -> None:
    untied = model_of(replace(small(), shape=replace(tiny.SHAPE, tied_embeddings=False)))
    assert "head.weight" in last_block_names(untied, 1)


def test_sharpness_aware_steps_of_no_radius_are_plain_ones() -> None:
    inner = technique("adaptation", "score_first")
    found = {
        radius: losses(technique("adaptation", "sharpness_aware", inner=inner, radius=radius)) for radius in (0.0, 0.5)
    }
    assert torch.equal(found[0.0], losses(inner))
    assert not torch.equal(found[0.5], found[0.0])


def test_a_sharpness_aware_step_written_out() -> None:
    """The gradient at w + r g / |g|, applied at w."""
    model, other = noisy(model_of(small())), noisy(model_of(small()))
    inputs, targets = targets_of(2)
    steps = SharedSteps(
        model,
        torch.optim.SGD(rate_groups(model, {}), lr=0.0),
        clip_norm=0.0,
        setting=replace(setting_of(), sam_radius=0.3),
    )
    steps.take(inputs, targets, learning_rate=0.1)
    before = state_of(other)
    (other(inputs, targets) / 64).backward()
    gradients = {name: one.grad.clone() for name, one in other.named_parameters() if one.grad is not None}
    norm = torch.stack([one.norm() for one in gradients.values()]).norm()
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.add_(0.3 * gradients[name] / norm)
    other.zero_grad()
    (other(inputs, targets) / 64).backward()
    for (name, parameter), sharp in zip(model.named_parameters(), other.parameters(), strict=True):
        assert sharp.grad is not None
        torch.testing.assert_close(parameter.detach(), before[name] - 0.1 * sharp.grad, rtol=0, atol=1e-5)


# Adapters of documents


def test_documents_know_nothing_of_each_other() -> None:
    """Other text in one of three documents moves the losses of that one, and of no other."""
    original = losses(technique("adaptation", "document_lora"))
    tokens = STREAM.clone()
    tokens[101:200] = changed_from(101)[101:200]
    found = losses(technique("adaptation", "document_lora"), tokens)
    assert torch.equal(found[:100], original[:100]) and torch.equal(found[200:], original[200:])
    assert not torch.equal(found[116:199], original[116:199])


def test_documents_may_be_batched_in_any_way() -> None:
    """Up to rounding: other batches are other shapes."""
    one, two, all_ = (losses(technique("adaptation", "document_lora", batch_documents=count)) for count in (1, 2, 64))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-4)
    torch.testing.assert_close(one, all_, rtol=0, atol=1e-4)


def test_the_first_chunk_of_a_document_is_scored_by_the_plain_model() -> None:
    found = losses(technique("adaptation", "document_lora"))
    plain = score_adapted(technique("adaptation", "document_lora"), STREAM, watched=PlainDocuments.of)[0].nll_N
    for start in (0, 100, 200):
        assert torch.equal(found[start : start + 16], plain[start : start + 16])
        assert not torch.equal(found[start + 16 : start + 100], plain[start + 16 : start + 100])


def test_the_weights_of_the_model_stay() -> None:
    _, model = score_adapted(technique("adaptation", "document_lora"), STREAM)
    assert weights_sha256(model) == weights_sha256(noisy(model_of(small())))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_a_step_in_pieces_is_the_step() -> None:
    """Rows beyond what one forward pass may hold are taken one piece after the other, into one gradient."""
    stepped = []
    for most in (10**6, 2 * LENGTH, 1):
        model = noisy(model_of(small()))
        optimizer = torch.optim.SGD([{"params": list(model.parameters()), "multiplier": 1.0}], lr=0.1)
        setting = replace(setting_of(), max_micro_batch_tokens=most)
        steps = SharedSteps(model, optimizer, clip_norm=0.0, setting=setting)
        ((inputs, targets),) = row_batches(STREAM[: 7 * LENGTH], sequence_length=LENGTH, batch_sequences=7)
        loss = steps.take(inputs, targets, learning_rate=0.1)
        stepped.append((loss, torch.cat([one.detach().flatten() for one in model.parameters()])))
    for loss, weights in stepped[1:]:
        assert loss == pytest.approx(stepped[0][0], rel=1e-6)
        torch.testing.assert_close(weights, stepped[0][1], rtol=1e-5, atol=1e-6)


def test_a_context_is_at_least_a_chunk() -> None:
    """Its first targets would be scored by nobody."""
    short = losses(technique("adaptation", "document_lora", chunk_targets=32, context_tokens=16))
    assert torch.equal(short, losses(technique("adaptation", "document_lora", chunk_targets=32, context_tokens=32)))

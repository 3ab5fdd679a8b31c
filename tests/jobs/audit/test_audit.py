"""The audit's parts, and that it sees what is broken in the real loop; `test_confusion.py` has all cases."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jobs import job
from jobs.audit.command import PLAIN, verdict
from jobs.audit.detectors import Examination, Finding, evaluated, probe_tokens
from jobs.audit.ledger import Ledger, Stream
from jobs.audit.ranks import Followed, Partner, agreement
from jobs.audit.streams import chance, changed_from, documents, with_token
from jobs.audit.toy import CANARY, LENGTH, PROBE, VOCABULARY, declared_protocol, evaluation_of, made_small
from jobs.contract.records import PRE_EVAL, SCORE_FIRST
from jobs.contract.shards import BOS_TOKEN
from jobs.scoring import Scores, StreamEvent
from jobs.techniques.adaptation.document_lora import DocumentLora
from jobs.techniques.adaptation.pre_eval import PreEval
from jobs.techniques.adaptation.score_first import ScoreFirst
from jobs.techniques.adaptation.sharpness_aware import SharpnessAware
from jobs.techniques.adaptation.two_phase import TwoPhase
from jobs.techniques.evaluation.sliding import Sliding
from jobs.world import World
from platform.program.sizes import AUDITED
from tests.benchmarks.audit_confusion import DETECTORS, Findings
from tests.jobs.audit.audit_cases import cases
from tests.jobs.tiny import ROOT, Case, catalog, every

PASSED = Finding(passed=True, figure=0.0, threshold=0.0, about="")
FIRED = Finding(passed=False, figure=1.0, threshold=0.0, about="")


# The real loop, broken


@pytest.fixture
def score_first(tmp_path: Path) -> Callable[[], Findings]:
    """Examines the recipe's own score-first evaluation, as jobs/ is now."""
    case = cases()["score first, SGD"]
    probe, canary = case.made(tmp_path)
    return lambda: Examination(
        evaluate=case.evaluate, plain=evaluation_of(PLAIN), probe=probe, canary=canary
    ).findings()


def test_a_loop_that_learns_a_chunk_before_it_scores_it(
    score_first: Callable[[], Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = job.score_stream

    def broken(model: Any, tokens: Tensor, *given: Any, learner: Any, **options: Any) -> Scores:
        if learner is None:
            return honest(model, tokens, *given, learner=None, **options)
        size = tokens.numel() - 1
        for begin in range(0, size, 32):
            learner.learn(tokens[begin : min(begin + 32, size) + 1], chunk=0, num_chunks=9)
        scores = honest(model, tokens, *given, learner=None, **options)
        return replace(scores, events=[StreamEvent(kind="train", begin=0, end=size), *scores.events])

    monkeypatch.setattr(job, "score_stream", broken)
    findings = score_first()
    assert {"D2", "D3", "D7"} <= {name for name, finding in findings.items() if not finding.passed}
    assert verdict(findings).startswith("violates")


def test_a_loop_that_scores_the_tail_twice(
    score_first: Callable[[], Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = job.score_stream

    def broken(*given: Any, **options: Any) -> Scores:
        scores = honest(*given, **options)
        return replace(scores, events=[*scores.events, StreamEvent(kind="score", begin=140, end=150)])

    monkeypatch.setattr(job, "score_stream", broken)
    assert verdict(score_first()) == "violates D7"


def test_an_adaptation_that_learns_early_is_a_diagnostic_whatever_it_declares(
    score_first: Callable[[], Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its learner finds the validation tokens in the data folder, beside both doors."""
    honest = ScoreFirst.learner

    def sly(self: ScoreFirst, model: nn.Module, setting: Any) -> Any:
        tokens = job.validation_tokens(setting.log.folder.parent / "data")
        PreEval(epochs=1, batch_sequences=4).adapt(model, tokens, setting)
        return honest(self, model, setting)

    monkeypatch.setattr(ScoreFirst, "learner", sly)
    findings = score_first()
    assert verdict(findings) == PRE_EVAL
    assert {"D2", "D3", "D5"} <= {name for name, finding in findings.items() if not finding.passed}


def test_the_protocol_is_that_of_the_result(tmp_path: Path) -> None:
    for name in ("pre-eval SGD", "score first, SGD"):
        case = cases()[name]
        probe, _ = case.made(tmp_path)
        evaluated(case.evaluate, probe, probe_tokens())
        assert declared_protocol(probe, "arm") == case.verdict


def test_losses_that_are_no_losses(tmp_path: Path) -> None:
    case = cases()["aligned"]
    probe, canary = case.made(tmp_path)

    def diverged(models: Any, stream: Stream, ledger: Ledger) -> Tensor:
        losses: Tensor = case.evaluate(models, stream, ledger)
        losses[7] = math.nan
        losses[9] = 0.0
        return losses

    examination = Examination(evaluate=diverged, plain=case.evaluate, probe=probe, canary=canary)
    assert examination.intervals().figure == 2
    for finding in (examination.causality(), examination.random_canary(), examination.repeated_stream()):
        assert not finding.passed and finding.figure is None
    with pytest.raises(ValueError, match=r"150 targets gave losses of shape \[149\]"):
        evaluated(lambda *given: case.evaluate(*given)[1:], probe, probe_tokens())


# Parts


@pytest.mark.parametrize(
    ("fired", "said"),
    [
        ([], SCORE_FIRST),
        (["D2", "D5"], PRE_EVAL),
        (["D2", "D6"], PRE_EVAL),
        (["D2", "D3", "D5", "D6", "D8", "D9"], PRE_EVAL),
        (["D2"], "violates D2"),  # and yet the weights are the artifact's: not what a pre_eval arm does
        (["D5"], "violates D5"),
        (["D2", "D5", "D7"], "violates D2, D5, D7"),
        (["D2", "D5", "D13"], "violates D2, D5, D13"),
        (["D1", "D2", "D5"], "violates D1, D2, D5"),
        (["D4"], "violates D4"),
    ],
)
def test_verdict(fired: list[str], said: str) -> None:
    assert verdict({name: FIRED if name in fired else PASSED for name in DETECTORS}) == said


def test_ranks_agree_or_not() -> None:
    one = Followed(weights=["a", "b", "c"], losses="l")
    assert agreement([one, one]) == replace(agreement([one, one]), passed=True, figure=0.0)
    assert agreement([one, replace(one, weights=["a", "x", "c"])]).figure == 1
    assert agreement([one, replace(one, weights=["a", "b"])]).figure == 1
    assert agreement([one, replace(one, losses="m")]).figure == 1
    assert "no end" in agreement([one, None]).about and not agreement([one, None]).passed
    complaint = agreement([one, replace(one, complaint="the ranks' weights differ\nsome more")])
    assert not complaint.passed and complaint.about.endswith("; the ranks' weights differ")


def test_a_rank_that_dies_is_a_finding(tmp_path: Path) -> None:
    """The evaluations before it have their answer lost with it: nothing of the pair can be believed."""
    script = tmp_path / "dies.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import os; from pathlib import Path\n"
        "from jobs.audit.ranks import accompany\n"
        "from tests.jobs.audit.audit_cases import cases\n"
        "case = cases()['aligned']\n"
        "trunk = case.trunks(Path(sys.argv[1]))[0]\n"
        "dies = lambda *given: case.evaluate(*given) if given[2].world.is_main else os._exit(1)\n"
        "accompany({'well': (case.evaluate, trunk), 'dies': (dies, trunk)}, Path(sys.argv[1]))\n"
    )
    case = cases()["aligned"]
    with Partner([sys.executable, str(script)], tmp_path) as partner:
        assert partner.agreements({}) == {}
        probe, _ = case.made(tmp_path)
        found = partner.agreements({"well": (case.evaluate, probe), "dies": (case.evaluate, probe)})
    assert not found["well"].passed and not found["dies"].passed and found["dies"].figure is None


@pytest.mark.parametrize("position", [1, 75, 76, 149, 150])
def test_other_tokens_from_a_position_on(position: int) -> None:
    tokens = probe_tokens()
    other = changed_from(tokens, position, vocab_size=VOCABULARY, seed=3)
    assert torch.equal(other[:position], tokens[:position])
    bos = tokens == BOS_TOKEN
    assert torch.equal(other == BOS_TOKEN, bos)
    assert bool((other != tokens)[position:][~bos[position:]].all())
    assert int(other.min()) == BOS_TOKEN and int(other.max()) < VOCABULARY


def test_streams() -> None:
    tokens = documents((3, 1, 4), vocab_size=8, seed=0)
    assert tokens.numel() == 9 and (tokens == BOS_TOKEN).nonzero().flatten().tolist() == [0, 3, 4]
    assert torch.equal(tokens, documents((3, 1, 4), vocab_size=8, seed=0))
    assert not torch.equal(tokens, documents((3, 1, 4), vocab_size=8, seed=1))
    counts = torch.bincount(chance(64_000, vocab_size=64, seed=2), minlength=64)
    assert counts.numel() == 64 and int((counts - 1000).abs().max()) < 6 * math.sqrt(1000)
    changed = with_token(tokens, 2, 7)
    assert changed[2] == 7 and int((changed != tokens).sum()) <= 1 and changed is not tokens


def test_made_small() -> None:
    """Sizes fall, also inside; the recipe's own where they are smaller; choices and shares stay."""
    sam = SharpnessAware(inner=ScoreFirst(optimizer="adamw", chunk_targets=16, epochs=9), radius=0.3)
    small = made_small(sam, PROBE)
    assert (small.radius, small.inner.optimizer, small.inner.chunk_targets) == (0.3, "adamw", 16)
    assert (small.inner.epochs, small.inner.learning_rate, small.inner.sequence_length) == (2, 0.002, None)
    canary = made_small(PreEval(epochs=30, learning_rate_groups={"up": 3.0}), CANARY)
    assert (canary.epochs, canary.learning_rate, canary.learning_rate_groups) == (5, 5e-3, {"up": 3.0})
    phases = made_small(TwoPhase(), CANARY)
    assert (phases.first_epochs, phases.second_epochs, phases.last_blocks) == (5, 5, 3)
    assert (phases.first_learning_rate, phases.second_learning_rate) == (0.1, 0.05)
    lora = made_small(DocumentLora(), PROBE)
    assert lora.chunk_targets <= lora.context_tokens
    assert made_small(Sliding(stride=64, length=2048), PROBE) == Sliding(stride=16, length=32)


def test_a_technique_is_as_small_as_its_own_class_says() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Own:
        inner: ScoreFirst
        steps: int = 100
        few: int = 2
        none: int | None = None
        also: int | None = None
        rate: float = 0.5

        audit = {"probe": {"steps": 7, "few": 7, "none": 7, "also": {"times": 3}, "rate": {"times": 3}}}  # noqa: RUF012

    small = made_small(Own(inner=ScoreFirst()), PROBE)
    assert (small.steps, small.few, small.none, small.rate, small.inner.chunk_targets) == (7, 2, None, 1.5, 32)
    assert made_small(Own(inner=ScoreFirst()), CANARY).steps == 100
    assert (PROBE, CANARY) == AUDITED


@pytest.mark.parametrize("case", every("evaluation", "adaptation"), ids=str)
@pytest.mark.parametrize("sizes", AUDITED)
def test_no_technique_reads_further_than_the_sequences_of_an_audit(case: Case, sizes: str) -> None:
    """However long a recipe has them."""
    lengths = {"length", "sequence_length"} & catalog().technique(case.family, case.name).knobs.keys()
    small = made_small(case.made(**dict.fromkeys(lengths, 2048)), sizes)
    assert all(getattr(small, name) == LENGTH for name in lengths)


def test_the_ledger_counts_what_happens_to_tokens() -> None:
    weight = nn.Parameter(torch.ones(2))
    ledger = Ledger(world=World())
    stream = Stream(documents((4, 4), vocab_size=8, seed=0), ledger)

    def step() -> None:
        weight.grad = torch.ones(2)
        torch.optim.SGD([weight], lr=0.1).step()

    with ledger.observing():
        step()
        assert (stream.num_targets, stream.document_starts) == (8, [0, 4])
        assert not ledger.handed_out and ledger.steps_on_tokens == 0
        assert stream.tokens.numel() == 9
        step()
        ledger.packed(nn.Linear(2, 2))
        step()
    step()
    assert (ledger.steps_on_tokens, ledger.steps_before_artifact, len(ledger.artifacts)) == (2, 1, 2)


def test_the_probes_reach_what_they_are_for(tmp_path: Path) -> None:
    """Tokens change inside a chunk, at its border and in the last window; documents have one, two and three chunks."""
    case = cases()["document LoRA"]
    probe, canary = case.made(tmp_path)
    examination = Examination(evaluate=case.evaluate, plain=case.evaluate, probe=probe, canary=canary)
    scored = [event for event in examination.base.ledger.events if event.kind == "score"]
    assert sorted(event.end - event.begin for event in scored) == [11, 20, 23, 32, 32, 32]
    positions = list(examination.changed)
    assert any(k - 1 in {event.end for event in scored} for k in positions)
    assert any(event.begin + 1 < k <= event.end for event in scored for k in positions)
    assert max(positions) == 148 and all(1 < k < 150 for k in positions)

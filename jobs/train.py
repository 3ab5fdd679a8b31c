"""A job from start to end: train the trunk unless it is there, then score each arm from it.

The phases stand in ``main``, ``train_trunk`` and ``score_arm`` in the order in which they happen.
"""

import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from jobs.adapting import Setting, agreed_sha256
from jobs.artifact import Encoded, load_into, pack, unpack
from jobs.calibration import Calibration
from jobs.contract.assignment import ARTIFACT_FILE, LOG_FILE, RESULT_FILE, TRUNK_FILE, WEIGHTS_FILE, Assignment
from jobs.contract.events import ArmChange, ScoreSoFar
from jobs.contract.files import write_bytes, write_record
from jobs.contract.records import ARTIFACT_LIMIT_BYTES, PRE_EVAL, ArmResult, TrunkRecord, read_result, read_trunk
from jobs.contract.shards import BOS_TOKEN, data_sha256, file_sha256
from jobs.data.byte_counts import ByteCounts
from jobs.data.shards import training_shards, validation_tokens
from jobs.dialect import (
    described,
    machine_of,
    snake_case,
    where_bytes_went,
    write_average,
    write_header,
    write_score,
    write_sizes,
)
from jobs.log import Log
from jobs.loop import train
from jobs.model import Transformer, build_model, compile_in_place, tensor_kinds
from jobs.recipe import Evaluation, Recipe
from jobs.scoring import DocumentLearner, LanguageModel, Learner, Scores, score_documents, score_stream
from jobs.techniques.evaluation.aligned import Aligned
from jobs.world import World, joined_world

TOKENS_CHECKED = 2**20  # of the training shards: enough to see that they were made with another tokenizer


class Job:
    """What is the same for the trunk and every arm of one job."""

    def __init__(self, recipe: Recipe, assignment: Assignment, program: Path, world: World) -> None:
        self.assignment, self.program, self.world = assignment, program, world
        if assignment.max_wallclock_seconds is not None:
            recipe = replace(recipe, budget=replace(recipe.budget, train_seconds=assignment.max_wallclock_seconds))
        self.recipe = recipe
        self.program_sha256 = file_sha256(program)
        self.code_bytes = program.stat().st_size
        self.data_sha256 = data_sha256(assignment.data_path)
        byte_counts = ByteCounts.of_tokenizer(assignment.tokenizer_path, recipe.shape.vocab_size)
        self.tokenizer_sha256 = file_sha256(assignment.tokenizer_path)
        self.tokens = validation_tokens(assignment.data_path)
        shards = training_shards(assignment.data_path)
        first = shards.read(0, min(shards.num_tokens, TOKENS_CHECKED))
        for kind, tokens in (("validation", self.tokens), ("training", first)):
            if int(tokens.max()) >= recipe.shape.vocab_size:
                raise ValueError(
                    f"{assignment.data_path}: {kind} token {int(tokens.max())} is beyond the vocabulary of "
                    f"{recipe.shape.vocab_size}: shards and tokenizer do not belong together"
                )
        self.document_starts = (self.tokens == BOS_TOKEN).nonzero().flatten().tolist()
        self.bytes_N = byte_counts.of_targets(self.tokens)

    def new_model(self) -> Transformer:
        """The model at step 0, the same on every rank; compiled where there is a GPU."""
        model = build_model(self.recipe, seed=self.assignment.seed, device=self.world.device)
        if self.world.device.type == "cuda":
            torch.compiler.reset()  # of what an arm before this one compiled: the number of graphs is limited
            compile_in_place(model)
        return model

    def score(
        self,
        model: LanguageModel,
        evaluation: Evaluation,
        log: Log | None,
        learner: Learner | DocumentLearner | None = None,
    ) -> Scores:
        """The whole validation stream under ``evaluation``; with ``log``, its running score becomes events.

        A learner of documents has its own context and takes the place of ``evaluation``.
        """
        length = self.recipe.budget.sequence_length

        def progress(position: int, running_bpb: float) -> None:
            if log:
                log.event(ScoreSoFar(position=position, running_bpb=running_bpb, seconds=log.seconds()))

        if isinstance(learner, DocumentLearner):
            return score_documents(
                self.tokens, self.bytes_N, self.document_starts, learner=learner, world=self.world, progress=progress
            )
        return score_stream(
            model,
            self.tokens,
            self.bytes_N,
            evaluation.windows(self.tokens.numel() - 1, length, self.document_starts),
            world=self.world,
            batch_tokens=self.recipe.budget.max_micro_batch_tokens,
            learner=learner,
            progress=progress,
        )

    def packed(self, model: nn.Module, path: Path, log: Log) -> int:
        """Quantize and pack ``model`` into ``path``, by rank 0; its bytes. On return every rank can read it."""
        for name, tensor in model.state_dict().items():
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{name}: some weights are NaN or infinite: the training diverged, nothing is packed")
        recipe, compressor, kinds = self.recipe, self.recipe.compressor, tensor_kinds(model)
        calibration = Calibration(
            world=self.world,
            data_path=self.assignment.data_path,
            sequence_length=recipe.budget.sequence_length,
            vocab_size=recipe.shape.vocab_size,
            seed=self.assignment.seed,
        )
        begun = log.seconds()
        statistics = recipe.quantizer.calibrate(model, calibration)
        if statistics:
            log.line(f"calibration:{log.seconds() - begun:.1f}s reserved:{recipe.quantizer.reserve_seconds:.1f}s")
        if self.world.is_main:
            state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            if recipe.pruning:
                state, line = recipe.pruning.prune(state, kinds)
                log.line(line)
            tensors = recipe.quantizer.encode(state, kinds, statistics)

            def packed_bytes(candidates: list[Encoded]) -> int:
                return len(pack(candidates, compressor.codec, compressor.compress))

            if recipe.fitting:
                tensors, line = recipe.fitting.fit(tensors, packed_bytes, code_bytes=self.code_bytes)
                log.line(line)
            artifact = pack(tensors, compressor.codec, compressor.compress)
            if len(artifact) + self.code_bytes > ARTIFACT_LIMIT_BYTES:
                for line in where_bytes_went(tensors, kinds, packed_bytes):
                    log.line(line)
            write_bytes(path, artifact)
        self.world.wait()
        return path.stat().st_size


def main(recipe: Recipe, program: str) -> None:
    """Run the job that the environment describes; the program's last line calls this.

    Exits with 2, after one clear message, where the recipe, the data or the environment is wrong.
    """
    try:
        assignment = Assignment.from_environment(dict(os.environ))
        unknown = [name for name in assignment.arms if name not in recipe.arms]
        if unknown:
            raise ValueError(f"ARMS: no arm {', '.join(unknown)} in {recipe.name}; it has {', '.join(recipe.arms)}")
        with joined_world() as world:
            try:
                run(Job(recipe, assignment, Path(program), world))
            except ValueError as error:  # told here: leaving the world may take as long as the other ranks wait
                sys.exit(refused(program, error))
    except ValueError as error:
        sys.exit(refused(program, error))


def run(job: Job) -> None:
    """Train the trunk unless it is there, then score the arms that have no result."""
    trunk, trained_here = find_trunk(job), False
    if trunk is None:
        trunk, trained_here = train_trunk(job), True
    for arm in job.assignment.arms or job.recipe.arms:
        if not is_scored(job, trunk, arm):
            score_arm(job, trunk, arm, end_to_end=trained_here and len(job.recipe.arms) == 1)


def refused(program: str, error: ValueError) -> int:
    """Say what is wrong; the exit status. The ranks say the same, so that one of them is heard even if it is alone."""
    rank = os.environ.get("RANK", "0")
    print(f"{program}: {f'rank {rank}: ' if rank != '0' else ''}{error}", file=sys.stderr, flush=True)
    return 2


def find_trunk(job: Job) -> TrunkRecord | None:
    """The trunk that is already at TRUNK_PATH, checked; None where there is none.

    Raises:
        ValueError: it is of another seed or other data, or its files are not the ones that were written.
    """
    path = job.assignment.trunk_path
    if not (path / TRUNK_FILE).is_file():
        return None
    trunk = read_trunk(path / TRUNK_FILE)
    wanted = (job.assignment.seed, job.data_sha256, job.tokenizer_sha256)
    if (trunk.seed, trunk.data_sha256, trunk.tokenizer_sha256) != wanted:
        raise ValueError(
            f"{path}: the trunk there is of another seed, data set or tokenizer; choose another TRUNK_PATH"
        )
    written = {WEIGHTS_FILE: trunk.weights_sha256, ARTIFACT_FILE: trunk.artifact_sha256, LOG_FILE: None}
    for name, expected in written.items():
        if not (path / name).is_file() or (expected and file_sha256(path / name) != expected):
            raise ValueError(f"{path / name}: missing or changed since it was written; remove {path} to train again")
    return trunk


def train_trunk(job: Job) -> TrunkRecord:
    """Train, average, quantize and pack; leaves the trunk's files, its record last."""
    recipe, world, path = job.recipe, job.world, job.assignment.trunk_path
    log = Log(path, writes=world.is_main)
    with log.phase("setup"):
        model = job.new_model()
        parameters = sum(parameter.numel() for parameter in model.parameters())
        write_header(
            log,
            recipe=recipe,
            assignment=job.assignment,
            world=world,
            program_sha256=job.program_sha256,
            parameters=parameters,
            num_targets=job.tokens.numel() - 1,
        )

    def validate() -> tuple[float, float]:
        scores = job.score(model, Aligned(), None)
        return scores.loss_nats, scores.bpb

    with log.phase("train"):
        trained = train(recipe, model, job.assignment.data_path, world=world, log=log, validate=validate)
    log.line(f"weights_sha256:{agreed_sha256(model, world)} after training, equal on all ranks")
    if world.device.type == "cuda":
        peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        log.line(f"peak memory allocated: {peak >> 20} MiB reserved: {reserved >> 20} MiB")
    if recipe.averaging:
        with log.phase("validate_averaged"):
            loss, bpb = validate()
        milliseconds = 1000 * log.phases["validate_averaged"]
        write_average(log, recipe, loss_nats=loss, bpb=bpb, milliseconds=milliseconds)
    with log.phase("pack"):
        if world.is_main:
            part = path / f"{WEIGHTS_FILE}.part"
            torch.save(model.state_dict(), part)
            part.replace(path / WEIGHTS_FILE)
        model_bytes = job.packed(model, path / ARTIFACT_FILE, log)
    log.line(f"Serialized model: {(path / WEIGHTS_FILE).stat().st_size} bytes")
    write_sizes(log, recipe, model_bytes=model_bytes, code_bytes=job.code_bytes)
    weights_sha256, artifact_sha256 = file_sha256(path / WEIGHTS_FILE), file_sha256(path / ARTIFACT_FILE)
    record = TrunkRecord(
        trunk_sha256=hashlib.sha256(f"{weights_sha256} {artifact_sha256}".encode()).hexdigest(),
        program_sha256=job.program_sha256,
        weights_sha256=weights_sha256,
        artifact_sha256=artifact_sha256,
        recipe=recipe.name,
        scale=recipe.scale,
        seed=job.assignment.seed,
        data_sha256=job.data_sha256,
        tokenizer_sha256=job.tokenizer_sha256,
        parameters=parameters,
        model_bytes=model_bytes,
        steps=trained.steps,
        train_tokens=trained.steps * recipe.budget.batch_tokens,
        train_seconds=trained.train_seconds,
        step_ms_mean=trained.step_ms_mean,
        step_ms_median=trained.step_ms_median,
        phases=log.phases,
        machine=machine_of(world),
    )
    if world.is_main:
        write_record(path / TRUNK_FILE, record)
    world.wait()
    return record


def score_arm(job: Job, trunk: TrunkRecord, arm: str, *, end_to_end: bool) -> None:
    """Adapt as the arm says, score what was read back from disk, and leave the arm's result."""
    recipe, world, trunk_path = job.recipe, job.world, job.assignment.trunk_path
    folder, adaptation = job.assignment.output_path / arm, recipe.arms[arm]
    log = Log(folder, writes=world.is_main, begin_with=(trunk_path / LOG_FILE).read_text())
    log.event(ArmChange(arm=arm, state="start"))
    log.line(f"arm:{arm} adaptation:{described(adaptation)} trunk:{trunk.trunk_sha256}")
    if trunk.machine is not None and trunk.machine != machine_of(world):
        log.line(f"trunk trained elsewhere: {trunk.machine}; scored here: {machine_of(world)}")
    artifact = trunk_path / ARTIFACT_FILE
    with log.phase("load"):
        model = job.new_model()
    setting = Setting(
        training_length=recipe.budget.sequence_length,
        seed=job.assignment.seed,
        world=world,
        log=log,
        max_micro_batch_tokens=recipe.budget.max_micro_batch_tokens,
    )
    if adaptation.before_quantization:
        model.load_state_dict(torch.load(trunk_path / WEIGHTS_FILE, map_location=world.device, weights_only=True))
        with log.phase("adapt"):
            adaptation.adapt(model, job.tokens, setting)
        artifact = folder / ARTIFACT_FILE
        with log.phase("pack"):
            job.packed(model, artifact, log)
    with log.phase("load"):
        load_into(model, unpack(artifact))
    total = write_sizes(log, recipe, model_bytes=artifact.stat().st_size, code_bytes=job.code_bytes)
    if total > ARTIFACT_LIMIT_BYTES and not job.assignment.force:
        raise ValueError(
            f"{artifact}: {total} bytes with the code are {total - ARTIFACT_LIMIT_BYTES} above the limit of "
            f"{ARTIFACT_LIMIT_BYTES}, so it is not scored; {trunk_path / LOG_FILE} says where the bytes went. "
            f"Fewer bits or a fitting technique help; --force scores it all the same, for no record to claim"
        )
    learner: Learner | DocumentLearner | None = None
    if adaptation.protocol == PRE_EVAL and not adaptation.before_quantization:
        with log.phase("adapt"):
            adaptation.adapt(model, job.tokens, setting)
    elif adaptation.protocol != PRE_EVAL:
        learner = adaptation.learner(model, setting)
    with log.phase("score"):
        scores = job.score(model, recipe.evaluation, log, learner)
    aligned_bpb = None
    if learner is None and not isinstance(recipe.evaluation, Aligned):
        with log.phase("diagnose"):  # not part of the score, and not of its time: so it comes when all is compiled
            aligned = job.score(model, Aligned(), None)
        aligned_bpb = aligned.bpb
        seconds = log.phases["diagnose"]
        write_score(log, recipe, adaptation, Aligned().label(), aligned, milliseconds=1000 * seconds)
    log.line(f"weights_sha256:{agreed_sha256(model, world)} after scoring, equal on all ranks")
    eval_seconds = sum(seconds for name, seconds in log.phases.items() if name != "diagnose")
    write_score(log, recipe, adaptation, recipe.evaluation.label(), scores, milliseconds=1000 * eval_seconds)
    result = ArmResult(
        recipe=recipe.name,
        scale=recipe.scale,
        arm=arm,
        adaptation=snake_case(type(adaptation).__name__),
        protocol=adaptation.protocol,
        seed=job.assignment.seed,
        program_sha256=job.program_sha256,
        trunk=trunk,
        data_sha256=job.data_sha256,
        tokenizer_sha256=job.tokenizer_sha256,
        val_loss_nats=scores.loss_nats,
        val_bpb=scores.bpb,
        scored_tokens=scores.nll_N.numel(),
        scored_bytes=int(scores.bytes_N.sum()),
        aligned_val_bpb=aligned_bpb,
        artifact_bytes=artifact.stat().st_size + job.code_bytes,
        model_bytes=artifact.stat().st_size,
        code_bytes=job.code_bytes,
        adapt_seconds=log.phases.get("adapt", 0.0),
        eval_seconds=eval_seconds,
        phases=log.phases,
        end_to_end=end_to_end,
        machine=machine_of(world),
    )
    if world.is_main:
        write_record(folder / RESULT_FILE, result)
    log.event(ArmChange(arm=arm, state="end"))
    world.wait()


def is_scored(job: Job, trunk: TrunkRecord, arm: str) -> bool:
    """Whether the arm's result is there, by this program from this trunk."""
    path = job.assignment.output_path / arm / RESULT_FILE
    if not path.is_file():
        return False
    result = read_result(path)
    return (result.program_sha256, result.trunk.trunk_sha256) == (job.program_sha256, trunk.trunk_sha256)

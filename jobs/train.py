"""A job from start to end: train the trunk unless it is there, then score each arm from it.

The phases stand in ``main``, ``train_trunk`` and ``score_arm`` in the order in which they happen.
"""

import hashlib
import os
import sys
from pathlib import Path

import torch

from jobs.adapting import Setting, agreed_sha256
from jobs.artifact import load_into, unpack
from jobs.contract.assignment import ARTIFACT_FILE, LOG_FILE, RESULT_FILE, TRUNK_FILE, WEIGHTS_FILE, Assignment
from jobs.contract.errors import Diverged, Refused
from jobs.contract.events import ArmChange
from jobs.contract.files import write_record
from jobs.contract.records import ARTIFACT_LIMIT_BYTES, PRE_EVAL, ArmResult, TrunkRecord, read_result, read_trunk
from jobs.contract.shards import file_sha256
from jobs.dialect import (
    described,
    machine_of,
    snake_case,
    write_average,
    write_header,
    write_score,
    write_sizes,
)
from jobs.job import Job, job_of
from jobs.log import COMPILE, Log
from jobs.loop import train
from jobs.recipe import Recipe
from jobs.scoring import DocumentLearner, Learner
from jobs.techniques.evaluation.aligned import Aligned
from jobs.world import joined_world


def main(recipe: Recipe, program: str) -> None:
    """Run the job that the environment describes; the program's last line calls this.

    Exits with 2, after one clear message, where the recipe, the data or the environment is wrong, and with 1, after
    one as well, where the training diverged. Every other exception keeps its traceback.
    """
    try:
        assignment = Assignment.from_environment(dict(os.environ))
        unknown = [name for name in assignment.arms if name not in recipe.arms]
        if unknown:
            raise Refused(f"ARMS: no arm {', '.join(unknown)} in {recipe.name}; it has {', '.join(recipe.arms)}")
        with joined_world() as world:
            try:
                run(job_of(recipe, assignment, Path(program), world))
            except (Refused, Diverged) as error:  # told here: leaving the world may take as long as other ranks wait
                sys.exit(told(program, error))
    except Refused as error:
        sys.exit(told(program, error))


def run(job: Job) -> None:
    """Train the trunk unless it is there, then score the arms that have no result."""
    trunk, trained_here = find_trunk(job), False
    if trunk is None:
        trunk, trained_here = train_trunk(job), True
    for arm in job.assignment.arms or job.recipe.arms:
        if not is_scored(job, trunk, arm):
            score_arm(job, trunk, arm, end_to_end=trained_here and len(job.recipe.arms) == 1)


def told(program: str, error: Refused | Diverged) -> int:
    """Say what is wrong; the exit status. The ranks say the same, so that one of them is heard even if it is alone."""
    rank = os.environ.get("RANK", "0")
    print(f"{program}: {f'rank {rank}: ' if rank != '0' else ''}{error}", file=sys.stderr, flush=True)
    return error.exit_status


def find_trunk(job: Job) -> TrunkRecord | None:
    """The trunk that is already at TRUNK_PATH, checked; None where there is none.

    Raises:
        Refused: it is of another seed or other data, or its files are not the ones that were written.
    """
    path = job.assignment.trunk_path
    if not (path / TRUNK_FILE).is_file():
        return None
    trunk = read_trunk(path / TRUNK_FILE)
    wanted = (job.assignment.seed, job.names.data_sha256, job.names.tokenizer_sha256)
    if (trunk.seed, trunk.data_sha256, trunk.tokenizer_sha256) != wanted:
        raise Refused(f"{path}: the trunk there is of another seed, data set or tokenizer; choose another TRUNK_PATH")
    written = {WEIGHTS_FILE: trunk.weights_sha256, ARTIFACT_FILE: trunk.artifact_sha256, LOG_FILE: None}
    for name, expected in written.items():
        if not (path / name).is_file() or (expected and file_sha256(path / name) != expected):
            raise Refused(f"{path / name}: missing or changed since it was written; remove {path} to train again")
    return trunk


def train_trunk(job: Job) -> TrunkRecord:
    """Train, average, quantize and pack; leaves the trunk's files, its record last."""
    recipe, world, path = job.recipe, job.world, job.assignment.trunk_path
    log = Log(path, writes=world.is_main, compiles=world.compiles)
    with log.phase("setup"):
        model = job.models.new()
        parameters = sum(parameter.numel() for parameter in model.parameters())
        write_header(
            log,
            recipe=recipe,
            assignment=job.assignment,
            world=world,
            program_sha256=job.names.program_sha256,
            parameters=parameters,
            num_targets=job.stream.bytes_N.numel(),
            kernel=str(job.kernel),
        )

    def validate() -> tuple[float, float]:
        scores = job.scoring.score(model, Aligned(), None)
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
        model_bytes = job.packing.pack(model, path / ARTIFACT_FILE, log)
    log.line(f"Serialized model: {(path / WEIGHTS_FILE).stat().st_size} bytes")
    write_sizes(log, recipe, model_bytes=model_bytes, code_bytes=job.names.code_bytes)
    weights_sha256, artifact_sha256 = file_sha256(path / WEIGHTS_FILE), file_sha256(path / ARTIFACT_FILE)
    record = TrunkRecord(
        trunk_sha256=hashlib.sha256(f"{weights_sha256} {artifact_sha256}".encode()).hexdigest(),
        program_sha256=job.names.program_sha256,
        weights_sha256=weights_sha256,
        artifact_sha256=artifact_sha256,
        recipe=recipe.name,
        scale=recipe.scale,
        seed=job.assignment.seed,
        data_sha256=job.names.data_sha256,
        tokenizer_sha256=job.names.tokenizer_sha256,
        parameters=parameters,
        model_bytes=model_bytes,
        steps=trained.steps,
        train_tokens=trained.steps * recipe.budget.batch_tokens,
        train_seconds=trained.train_seconds,
        step_ms_mean=trained.step_ms_mean,
        step_ms_median=trained.step_ms_median,
        phases=log.phases,
        machine=machine_of(world),
        kernel=job.kernel.kernel,
    )
    if world.is_main:
        write_record(path / TRUNK_FILE, record)
    world.wait()
    return record


def score_arm(job: Job, trunk: TrunkRecord, arm: str, *, end_to_end: bool) -> None:
    """Adapt as the arm says, score what was read back from disk, and leave the arm's result."""
    recipe, world, trunk_path = job.recipe, job.world, job.assignment.trunk_path
    folder, adaptation = job.assignment.output_path / arm, recipe.arms[arm]
    trunk_log = (trunk_path / LOG_FILE).read_text()
    log = Log(folder, writes=world.is_main, begin_with=trunk_log, compiles=world.compiles)
    log.event(ArmChange(arm=arm, state="start"))
    log.line(f"arm:{arm} adaptation:{described(adaptation)} trunk:{trunk.trunk_sha256}")
    if trunk.machine is not None and trunk.machine != machine_of(world):
        log.line(f"trunk trained elsewhere: {trunk.machine}; scored here: {machine_of(world)}")
    if trunk.kernel != job.kernel.kernel:
        log.line(f"attention_kernel:{job.kernel} trained with {trunk.kernel}")
    artifact = trunk_path / ARTIFACT_FILE
    with log.phase("load"):
        model = job.models.new()
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
            adaptation.adapt(model, job.stream.tokens, setting)
        artifact = folder / ARTIFACT_FILE
        with log.phase("pack"):
            job.packing.pack(model, artifact, log)
    with log.phase("load"):
        load_into(model, unpack(artifact))
    total = write_sizes(log, recipe, model_bytes=artifact.stat().st_size, code_bytes=job.names.code_bytes)
    if total > ARTIFACT_LIMIT_BYTES and not job.assignment.force:
        raise Refused(
            f"{artifact}: {total} bytes with the code are {total - ARTIFACT_LIMIT_BYTES} above the limit of "
            f"{ARTIFACT_LIMIT_BYTES}, so it is not scored; {trunk_path / LOG_FILE} says where the bytes went. "
            f"Fewer bits or a fitting technique help; --force scores it all the same, for no record to claim"
        )
    learner: Learner | DocumentLearner | None = None
    if adaptation.protocol == PRE_EVAL and not adaptation.before_quantization:
        with log.phase("adapt"):
            adaptation.adapt(model, job.stream.tokens, setting)
    elif adaptation.protocol != PRE_EVAL:
        learner = adaptation.learner(model, setting)
    with log.phase("score"):
        scores = job.scoring.score(model, recipe.evaluation, log, learner)
    eval_seconds = sum(seconds for name, seconds in log.phases.items() if name != COMPILE)  # which is inside of them
    compile_seconds = log.phases.get(COMPILE, 0.0)
    aligned_bpb = None
    if learner is None and not isinstance(recipe.evaluation, Aligned):
        with log.phase("diagnose"):  # not part of the score, and not of its time: so it comes when all is compiled
            aligned = job.scoring.score(model, Aligned(), None)
        aligned_bpb = aligned.bpb
        seconds = log.phases["diagnose"]
        write_score(log, recipe, adaptation, Aligned().label(), aligned, milliseconds=1000 * seconds)
    log.line(f"weights_sha256:{agreed_sha256(model, world)} after scoring, equal on all ranks")
    write_score(log, recipe, adaptation, recipe.evaluation.label(), scores, milliseconds=1000 * eval_seconds)
    result = ArmResult(
        recipe=recipe.name,
        scale=recipe.scale,
        arm=arm,
        adaptation=snake_case(type(adaptation).__name__),
        protocol=adaptation.protocol,
        seed=job.assignment.seed,
        program_sha256=job.names.program_sha256,
        trunk=trunk,
        data_sha256=job.names.data_sha256,
        tokenizer_sha256=job.names.tokenizer_sha256,
        val_loss_nats=scores.loss_nats,
        val_bpb=scores.bpb,
        scored_tokens=scores.nll_N.numel(),
        scored_bytes=int(scores.bytes_N.sum()),
        aligned_val_bpb=aligned_bpb,
        artifact_bytes=artifact.stat().st_size + job.names.code_bytes,
        model_bytes=artifact.stat().st_size,
        code_bytes=job.names.code_bytes,
        adapt_seconds=log.phases.get("adapt", 0.0),
        eval_seconds=eval_seconds,
        compile_seconds=compile_seconds,
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
    return (result.program_sha256, result.trunk.trunk_sha256) == (job.names.program_sha256, trunk.trunk_sha256)

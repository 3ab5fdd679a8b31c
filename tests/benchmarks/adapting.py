"""What adaptation costs: score-first against scoring alone, adapters for many documents against one by one."""

from dataclasses import replace

import torch

from jobs.adapting import Setting
from jobs.contract.shards import BOS_TOKEN
from jobs.data.shards import validation_tokens
from jobs.log import Log
from jobs.model import build_model
from jobs.scoring import score_documents, score_stream
from jobs.techniques.adaptation.document_lora import DocumentLora
from jobs.techniques.adaptation.score_first import ScoreFirst
from jobs.world import World

from .measure import in_turn, ratio
from .recipes import ROOT, embedded_corpus, recipe_object

CHUNKS, CHUNK_TARGETS = 4, 2048
DOCUMENTS, LONGEST = 32, 512


def main() -> None:
    torch.set_num_threads(1)
    recipe = recipe_object("leaky_cosine", "laptop")
    world = World()
    stream = validation_tokens(embedded_corpus().data_path)
    length = recipe.budget.sequence_length
    setting = Setting(training_length=length, seed=1, world=world, log=Log(ROOT, writes=False))

    def scored(adaptation: ScoreFirst | None) -> None:
        model = build_model(recipe, seed=1337, device=world.device)
        tokens = stream[: CHUNKS * CHUNK_TARGETS + 1]
        score_stream(
            model,
            tokens,
            torch.ones(tokens.numel() - 1, dtype=torch.int64),
            recipe.evaluation.windows(tokens.numel() - 1, length, []),
            world=world,
            batch_tokens=8192,
            learner=adaptation.learner(model, setting) if adaptation else None,
        )

    learned = ScoreFirst(chunk_targets=CHUNK_TARGETS)
    with_learning, alone = in_turn(lambda: scored(learned), lambda: scored(None), rounds=5)
    what = f"score-first, {CHUNKS} chunks of {CHUNK_TARGETS}, 3 epochs each"
    print(f"  {what}: {ratio(with_learning, alone)} x scoring alone")

    model = build_model(recipe, seed=1337, device=world.device)
    lengths = torch.randint(64, LONGEST, (DOCUMENTS,), generator=torch.Generator().manual_seed(0)).tolist()
    starts = [sum(lengths[:number]) for number in range(DOCUMENTS)]
    tokens = stream[: sum(lengths) + 1].clone()
    tokens[starts] = BOS_TOKEN
    lora = DocumentLora(chunk_targets=128, context_tokens=256, batch_documents=32)

    def documents(adaptation: DocumentLora) -> float:
        learner = adaptation.learner(model, setting)
        ones = torch.ones(tokens.numel() - 1, dtype=torch.int64)
        return score_documents(tokens, ones, starts, learner=learner, world=world).loss_nats

    single = replace(lora, batch_documents=1)
    assert abs(documents(lora) - documents(single)) < 1e-4
    batched, one_by_one = in_turn(lambda: documents(lora), lambda: documents(single), rounds=3)
    rate = len(starts) / sorted(batched)[len(batched) // 2]
    print(f"  LoRA: {rate:.1f} documents of 64 to {LONGEST} tokens a second")
    print(f"  LoRA, {DOCUMENTS} documents batched / one by one: {ratio(batched, one_by_one)}")


if __name__ == "__main__":
    main()

"""Newton-Schulz over all matrices of one shape in one batch, against one matrix after the other."""

import torch

from jobs.muon import orthogonalized

from .measure import in_turn, milliseconds, ratio

SHAPES = {"laptop": [(8, 128, 128), (4, 384, 128)], "full": [(22, 512, 512), (11, 1536, 512)]}


def main() -> None:
    torch.set_num_threads(1)
    for scale, shapes in SHAPES.items():
        for shape in shapes:
            update = torch.randn(shape, generator=torch.Generator().manual_seed(0))

            def batched(update: torch.Tensor = update) -> None:
                orthogonalized(update, steps=5, dtype=torch.float32)

            def one_by_one(update: torch.Tensor = update) -> None:
                for matrix in update:
                    orthogonalized(matrix, steps=5, dtype=torch.float32)

            times = in_turn(batched, one_by_one, rounds=20 if scale == "laptop" else 3)
            shown = " x ".join(map(str, shape))
            print(f"  {scale:7} {shown:16} batched {milliseconds(times[0])}, batched / one by one {ratio(*times)}")


if __name__ == "__main__":
    main()

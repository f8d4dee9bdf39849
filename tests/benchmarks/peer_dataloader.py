"""The loop that one writes by hand: DataLoader, Pillow, torchvision's preset and network, Parquet.

python -m tests.benchmarks.peer_dataloader TRACE FOLDER OUTPUT
"""

import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.models import Inception_V3_Weights, inception_v3

from tests.benchmarks.trace import Tracer

BATCH_SIZE = 32


class Photos(Dataset):
    """The JPEGs of a folder, each with its path."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.glob("*.jpg"))
        self._transform = Inception_V3_Weights.IMAGENET1K_V1.transforms()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[str, torch.Tensor]:
        path = self._paths[index]
        return str(path), self._transform(Image.open(path).convert("RGB"))


@torch.inference_mode()
def main(trace: str, folder: str, output: str) -> None:
    categories = Inception_V3_Weights.IMAGENET1K_V1.meta["categories"]
    network = inception_v3(weights=None, transform_input=True, init_weights=False).eval()
    loader = DataLoader(Photos(Path(folder)), BATCH_SIZE, num_workers=os.cpu_count() or 1)
    tracer, rows = Tracer(trace), []
    for paths, batch in loader:
        scores, indices = network(batch).softmax(dim=1).topk(5)
        for path, some, best in zip(paths, scores.tolist(), indices.tolist(), strict=True):
            rows.append({"path": path, "scores": some, "labels": [categories[i] for i in best]})
        tracer.batch(len(paths))
    pq.write_table(pa.Table.from_pylist(rows), output)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The pipeline that one writes with Daft, by its own guide: download, decode, a batched class UDF.

python -m tests.benchmarks.peer_daft TRACE FOLDER OUTPUT
"""

import sys

import daft
import torch
from daft import DataType
from daft.functions import decode_image, download
from torchvision.models import Inception_V3_Weights, inception_v3

from tests.benchmarks.trace import Tracer

BATCH_SIZE = 32
LABELS = DataType.struct(
    {"labels": DataType.list(DataType.string()), "scores": DataType.list(DataType.float64())}
)


@daft.cls(max_concurrency=1)  # more would each use all cores, and slow each other down
class Labeller:
    """The network, loaded once."""

    def __init__(self, trace: str) -> None:
        weights = Inception_V3_Weights.IMAGENET1K_V1
        self._categories = weights.meta["categories"]
        self._transform = weights.transforms()
        self._network = inception_v3(weights=None, transform_input=True, init_weights=False).eval()
        self._tracer = Tracer(trace)

    @daft.method.batch(return_dtype=LABELS, batch_size=BATCH_SIZE)
    @torch.inference_mode()
    def label(self, images: daft.Series) -> list[dict[str, list[str] | list[float]]]:
        pixels = [torch.tensor(image).permute(2, 0, 1) for image in images.to_pylist()]
        batch = torch.stack([self._transform(image) for image in pixels])
        scores, indices = self._network(batch).softmax(dim=1).topk(5)
        self._tracer.batch(len(batch))
        return [
            {"labels": [self._categories[i] for i in best], "scores": some}
            for some, best in zip(scores.tolist(), indices.tolist(), strict=True)
        ]


def main(trace: str, folder: str, output: str) -> None:
    labeller = Labeller(trace)
    photos = daft.from_glob_path(f"{folder}/*.jpg")
    images = photos.with_column("image", decode_image(download(photos["path"])))
    labelled = images.with_column("label", labeller.label(images["image"]))
    labelled.select("path", "label").write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])

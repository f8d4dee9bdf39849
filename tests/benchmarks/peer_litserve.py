"""LitServe with the service's own preprocessing, network and batch size; JPEGs come as forms.

python -m tests.benchmarks.peer_litserve PORT WORKERS
"""

import sys
from typing import Any

import litserve
import numpy as np
from fastapi import Request

from model_repo.inception_v3 import (
    Classifier,
    find_weights,
    load_model,
    postprocess,
    preprocess,
)


class Labels(litserve.LitAPI):
    """What its guide calls an API, one for each worker process."""

    def setup(self, device: str) -> None:
        model = load_model()
        self._labels = model.spec.labels
        self._classifier = Classifier.load(model, find_weights(model, "untrained"))

    def decode_request(self, request: Request) -> Any:
        return preprocess(request["image"].file.read()).pixels

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        return self._classifier.predict(x).logits

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        best = postprocess(output[None], self._labels)[0].labels
        return {"labels": [{"label": each.label, "score": each.score} for each in best]}


def main(port: int, workers: int) -> None:
    """Serve until the process is ended."""
    api = Labels(max_batch_size=load_model().spec.max_batch_size, batch_timeout=0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers, timeout=60)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

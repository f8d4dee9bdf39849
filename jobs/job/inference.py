"""What decides a prediction, resolved: all that decoding and predicting need to know of a job."""

from dataclasses import dataclass

from jobs.dataset.schema import Origin, row_bytes
from model_repo.inception_v3.options import RuntimeOptions
from model_repo.inception_v3.repository.locate import ModelSource
from model_repo.inception_v3.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSpec:
    """How an image becomes a prediction.

    Attributes:
        model: what predicts, and how images are prepared for it.
        source: where the model and its weights lie; paths are absolute.
        weights_sha256: of the weights that every worker must load.
        options: how the network runs; nothing is left at `auto`.
        max_pixels: larger images are errors.
        image_column: the Parquet column that holds the images; None takes the only binary one.
    """

    model: ModelSpec
    source: ModelSource
    weights_sha256: str
    options: RuntimeOptions
    batch_size: int
    top_k: int
    max_pixels: int
    image_column: str | None = None

    @property
    def origin(self) -> Origin:
        """Return what every row says about what made it."""
        model, precision = self.model, self.options.precision
        return Origin(model.name, model.version, self.weights_sha256, precision)

    @property
    def row_bytes(self) -> int:
        """Return how many bytes the arrays of one row take."""
        return row_bytes(self.options.outputs)

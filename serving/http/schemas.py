"""What `/docs` shows: the text at its top, the bodies of `/v1`, and the errors of all paths."""

from typing import Any

from pydantic import BaseModel, Field

from model_repo.inception_v3.decoding.formats import READ
from model_repo.inception_v3.postprocess import Label

# A test runs its examples.
DESCRIPTION = """
Inception V3 behind HTTP: images in, labels out.

Label one image, or several:

    curl --data-binary @photo.jpg 'http://127.0.0.1:8000/v1/classify?top_k=3'
    curl -F image=@photo.jpg -F image=@scan.png http://127.0.0.1:8000/v1/classify

`/v2` is the Open Inference Protocol, as Triton speaks it: `tritonclient` and `perf_analyzer` work
as they are. `inception_v3` takes pixels (`UINT8 [B, 3, 299, 299]`), `inception_v3_image` takes
encoded images (`BYTES [B, 1]`):

    curl http://127.0.0.1:8000/v2/models/inception_v3
    echo '{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": ["'$(base64 -w0 photo.jpg)'"]}], "outputs": [{"name": "classification", "parameters": {"classification": 3}}]}' | curl --json @- http://127.0.0.1:8000/v2/models/inception_v3_image/infer

Every error has the body `{"error": "…"}`. If the service asks for a token,
send it as `Authorization: Bearer …`.
"""  # noqa: E501


class Error(BaseModel):
    """The body of every error."""

    error: str = Field(examples=["JPEG cannot be decoded: premature end of file"])


class Timing(BaseModel):
    """How long an image took; the forward pass is that of its whole batch."""

    decode_ms: float
    queue_ms: float
    forward_ms: float
    batch_size: int


class Prediction(BaseModel):
    """One image: its labels, best first; or, among several images, why it has none."""

    name: str | None = Field(description="The file's name, in a form.")
    width: int = Field(default=0, description="Of the original image, upright.")
    height: int = 0
    flags: list[str] = Field(default=[], description="What the decoder had to do, or found odd.")
    label: str = ""
    score: float = 0.0
    labels: list[Label] = []
    embedding: list[float] = []
    timing: Timing | None = None
    error_kind: str = Field(default="", description="`not_an_image`, `unreadable` or `too_large`.")
    error: str = ""


class Classification(BaseModel):
    """The predictions of one request, in the order of its images."""

    model: str
    model_version: str
    weights_sha256: str
    predictions: list[Prediction]


class ServedModel(BaseModel):
    """One model that is served."""

    name: str
    version: str
    weights_sha256: str = Field(description="`untrained:<seed>` for untrained weights.")
    classes: int


class ModelList(BaseModel):
    """The models that are served."""

    models: list[ServedModel]


_MEANINGS = {
    400: "The request is malformed.",
    401: "A valid bearer token is required.",
    404: "There is no such model.",
    413: "Too many bytes or pixels.",
    415: "The declared type of the body is not an image.",
    422: "What was sent is no image, or cannot be decoded.",
    501: "This part of the protocol is not supported.",
    503: "Overloaded; `Retry-After` says when to try again.",
    504: "The time limit is up.",
}


def describe_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of errors with these statuses; without any, of all."""
    return {
        status: {"model": Error, "description": _MEANINGS[status]}
        for status in statuses or _MEANINGS
    }


def describe_object(*required: str, **properties: Any) -> dict[str, Any]:
    """Return the schema of a JSON object."""
    return {"type": "object", "required": list(required), "properties": properties}


def describe_array(items: dict[str, Any], **limits: int) -> dict[str, Any]:
    """Return the schema of a JSON array."""
    return {"type": "array", "items": items, **limits}


_BYTES = {"type": "string", "format": "binary"}
BINARY = {"schema": _BYTES}
CLASSIFY_BODY: dict[str, Any] = {
    "required": True,
    "description": f"An image's bytes ({READ}), or several in a form.",
    "content": {
        **dict.fromkeys(("image/jpeg", "image/png", "image/webp"), BINARY),
        "application/octet-stream": BINARY,
        "multipart/form-data": {"schema": describe_object("image", image=describe_array(_BYTES))},
    },
}

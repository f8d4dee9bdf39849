"""The bodies of the HTTP answers, as `/docs` shows them."""

from typing import Any

from pydantic import BaseModel, Field


class Error(BaseModel):
    """Every answer that is no success."""

    error: str = Field(examples=["JPEG cannot be decoded: premature end of file"])


class Label(BaseModel):
    """One class; `index` is its place in labels.txt, `score` the softmax score."""

    index: int
    label: str
    score: float


class Timing(BaseModel):
    """What an image cost; the forward pass is that of its whole batch."""

    decode_ms: float
    queue_ms: float
    forward_ms: float
    batch_size: int


class Prediction(BaseModel):
    """One image: its labels, best first; or, of several images, why it has none."""

    name: str | None = Field(description="The file's name, in a form.")
    width: int = Field(default=0, description="Of the original image, upright.")
    height: int = 0
    flags: list[str] = Field(default=[], description="What decoding had to do, or found odd.")
    label: str = ""
    score: float = 0.0
    labels: list[Label] = []
    embedding: list[float] = []
    timing: Timing | None = None
    error_kind: str = Field(default="", description="`unreadable` or `too_large`.")
    error: str = ""


class Classification(BaseModel):
    """The predictions of one request, in the order of its images."""

    model: str
    model_version: str
    weights_sha256: str
    predictions: list[Prediction]


class ServedModel(BaseModel):
    """One model that can be asked."""

    name: str
    version: str
    weights_sha256: str = Field(description="`untrained:<seed>` for a trial's.")
    classes: int


class ModelList(BaseModel):
    """The models that can be asked."""

    models: list[ServedModel]


_MEANINGS = {
    400: "The request is not what it must be.",
    401: "A bearer token is wanted.",
    404: "There is no such model.",
    413: "Too many bytes, or pixels.",
    415: "The body is declared to be no image.",
    422: "The image cannot be decoded.",
    503: "Too much to do; `Retry-After` says when to come back.",
    504: "The time for the answer is over.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": meaning} for status, meaning in _MEANINGS.items()
}

_BINARY = {"schema": {"type": "string", "format": "binary"}}
CLASSIFY_BODY: dict[str, Any] = {
    "required": True,
    "description": "An image's bytes (JPEG, PNG, WebP, GIF, BMP or TIFF), or several in a form.",
    "content": {
        "image/jpeg": _BINARY,
        "image/png": _BINARY,
        "image/webp": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {"type": "array", "items": {"type": "string", "format": "binary"}}
                },
            }
        },
    },
}

_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "data": {"type": "array", "items": {}},
        "parameters": {"type": "object"},
    },
}
INFER_BODY: dict[str, Any] = {
    "required": True,
    "description": (
        "JSON, or JSON with the tensors' bytes behind it (`Inference-Header-Content-Length`); in "
        "JSON, encoded images are base64."
    ),
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": {"type": "string"},
                    "inputs": {"type": "array", "items": _TENSOR},
                    "outputs": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {
                                "name": {"type": "string"},
                                "parameters": {"type": "object"},
                            },
                        },
                    },
                    "parameters": {"type": "object"},
                },
            }
        },
        "application/octet-stream": _BINARY,
    },
}
INFER_RESPONSE: dict[str, Any] = {
    "description": "The outputs, in the form that was asked for.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["model_name", "outputs"],
                "properties": {
                    "id": {"type": "string"},
                    "model_name": {"type": "string"},
                    "model_version": {"type": "string"},
                    "outputs": {"type": "array", "items": _TENSOR},
                },
            }
        },
        "application/octet-stream": _BINARY,
    },
}

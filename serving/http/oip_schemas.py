"""The bodies of the Open Inference Protocol over HTTP, as `/docs` shows them.

Options are validated with these models; tensors are read by `serving.protocol.http_codec`.
"""

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from serving.http.schemas import BINARY, describe_array, describe_object
from serving.protocol.metadata import IMAGE_INPUT_NAME, INPUT_NAME
from serving.protocol.outputs import OUTPUT_NAME

ModelName = Annotated[str, Path(examples=["inception_v3_image"])]
ModelVersion = Annotated[str, Path(examples=["1"])]


class ServerMetadata(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """One input or output; -1 stands for the batch size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A model's inputs and outputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelConfig(BaseModel):
    """A model's config.pbtxt, with all of its fields."""

    model_config = ConfigDict(extra="allow")

    name: str
    max_batch_size: int


class Duration(BaseModel):
    """How often, and how long in total."""

    count: int
    ns: int


class InferenceStatistics(BaseModel):
    """How requests ended, and where their time went."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration = Field(description="Decoding.")
    compute_infer: Duration
    compute_output: Duration


class BatchStatistics(BaseModel):
    """The forward passes of one batch size."""

    batch_size: int
    compute_infer: Duration


class ModelStatistics(BaseModel):
    """The statistics of one version of a model."""

    name: str
    version: str
    last_inference: int = Field(description="Milliseconds since 1970; 0 means never.")
    inference_count: int = Field(description="Images.")
    execution_count: int = Field(description="Forward passes.")
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


class StatisticsList(BaseModel):
    """The statistics of models, over all replicas."""

    model_stats: list[ModelStatistics]


class RepositoryModel(BaseModel):
    """One model of the repository."""

    name: str
    version: str
    state: str = Field(description="`READY` or `UNAVAILABLE`.")
    reason: str


class IndexOptions(BaseModel):
    """Which models to list."""

    model_config = ConfigDict(strict=True)

    ready: bool = Field(default=False, description="Only those that are loaded.")


class LoadOptions(BaseModel):
    """How to load or unload a model: Triton's parameters, none of which is supported."""

    model_config = ConfigDict(strict=True)

    parameters: dict[str, Any] = {}


def describe_options(options: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI description of an optional body."""
    schema = options.model_json_schema()
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


_STRING = {"type": "string"}
_PARAMETERS = {"type": ["object", "null"]}


def _describe_tensor(names: list[str], datatypes: list[str]) -> dict[str, Any]:
    return describe_object(
        *("name", "datatype", "shape"),
        name=_STRING | {"enum": names},
        datatype=_STRING | {"enum": datatypes},
        shape=describe_array({"type": "integer", "minimum": 1}, minItems=1, maxItems=4),
        data=describe_array({}),
        parameters=_PARAMETERS,
    )


_INPUT = _describe_tensor([INPUT_NAME, IMAGE_INPUT_NAME], ["UINT8", "FP32", "BYTES"])
_OUTPUT = _describe_tensor([OUTPUT_NAME], ["FP32", "BYTES"])
_REQUESTED = describe_object("name", name=_STRING | {"enum": [OUTPUT_NAME]}, parameters=_PARAMETERS)
_REQUEST = describe_object(
    "inputs",
    id=_STRING,
    inputs=describe_array(_INPUT, minItems=1, maxItems=1),
    outputs=describe_array(_REQUESTED),
    parameters=_PARAMETERS,
)
_RESPONSE = describe_object(
    *("model_name", "outputs"),
    id=_STRING,
    model_name=_STRING,
    model_version=_STRING,
    outputs=describe_array(_OUTPUT),
)
_PIXEL = (  # an image of one colour
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mM8UaHBgA0wMeAAg1MCAB4nAXgllso1AAAA"
    "AElFTkSuQmCC"
)
_EXAMPLE = {
    "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [_PIXEL]}],
    "outputs": [{"name": "classification", "parameters": {"classification": 3}}],
}
INFER_BODY: dict[str, Any] = {
    "required": True,
    "description": (
        "JSON, or JSON followed by the tensors' bytes (`Inference-Header-Content-Length`); in "
        "JSON, encoded images are base64."
    ),
    "content": {
        "application/json": {"schema": _REQUEST, "example": _EXAMPLE},
        "application/octet-stream": BINARY,
    },
}
INFER_RESPONSE: dict[str, Any] = {
    "description": "The outputs, in the form that the request asks for.",
    "content": {"application/json": {"schema": _RESPONSE}, "application/octet-stream": BINARY},
}

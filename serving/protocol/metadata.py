"""What the protocol says of a model, of its image variant, and of the service."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from google.protobuf.message import Message
from tritonclient.grpc import model_config_pb2, service_pb2

from model_repo.inception_v3.spec import ModelSpec
from serving.protocol.outputs import OUTPUT_NAME

INPUT_NAME = "pixels"
IMAGE_INPUT_NAME = "image"
IMAGE_SUFFIX = "_image"
SERVER_NAME = "labelmill"
SERVER_VERSION = version("labelmill")
EXTENSIONS = (
    "classification",
    "model_repository",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)


def complete_config(
    config: model_config_pb2.ModelConfig, spec: ModelSpec
) -> model_config_pb2.ModelConfig:
    """Return `config` with the actual values for what its author left out or set to -1."""
    complete = model_config_pb2.ModelConfig()
    complete.CopyFrom(config)
    complete.name = spec.name
    complete.max_batch_size = spec.max_batch_size
    if not (complete.platform or complete.backend):
        complete.backend = "python"
    label_filename = next((o.label_filename for o in config.output if o.label_filename), "")
    del complete.input[:]
    complete.input.add(
        name=INPUT_NAME,
        data_type=model_config_pb2.TYPE_UINT8,
        format=model_config_pb2.ModelInput.FORMAT_NCHW,
        dims=[3, spec.crop_size, spec.crop_size],
    )
    del complete.output[:]
    complete.output.add(
        name=OUTPUT_NAME,
        data_type=model_config_pb2.TYPE_FP32,
        dims=[spec.num_classes],
        label_filename=label_filename,
    )
    return complete


def image_variant_config(config: model_config_pb2.ModelConfig) -> model_config_pb2.ModelConfig:
    """Return the config of the image variant: the same model, for encoded images."""
    variant = model_config_pb2.ModelConfig()
    variant.CopyFrom(config)
    variant.name = config.name + IMAGE_SUFFIX
    del variant.input[:]
    variant.input.add(name=IMAGE_INPUT_NAME, data_type=model_config_pb2.TYPE_STRING, dims=[1])
    return variant


def model_metadata(
    config: model_config_pb2.ModelConfig, versions: Sequence[str]
) -> dict[str, object]:
    """Return a model's metadata as JSON; -1 stands for the batch size."""
    return {
        "name": config.name,
        "versions": list(versions),
        "platform": config.platform or config.backend,
        "inputs": [_tensor_metadata(tensor) for tensor in config.input],
        "outputs": [_tensor_metadata(tensor) for tensor in config.output],
    }


def model_metadata_message(
    config: model_config_pb2.ModelConfig, versions: Sequence[str]
) -> service_pb2.ModelMetadataResponse:
    """Return a model's metadata as a gRPC message."""
    return service_pb2.ModelMetadataResponse(**model_metadata(config, versions))


def model_config(config: model_config_pb2.ModelConfig) -> dict[str, Any]:
    """Return a model's config as Triton's JSON: numbers are numbers, and defaults are included."""
    return _to_json(config)


def model_config_message(
    config: model_config_pb2.ModelConfig,
) -> service_pb2.ModelConfigResponse:
    """Return a model's config as a gRPC message."""
    return service_pb2.ModelConfigResponse(config=config)


def server_metadata() -> dict[str, object]:
    """Return the server's metadata as JSON."""
    return {"name": SERVER_NAME, "version": SERVER_VERSION, "extensions": list(EXTENSIONS)}


def server_metadata_message() -> service_pb2.ServerMetadataResponse:
    """Return the server's metadata as a gRPC message."""
    return service_pb2.ServerMetadataResponse(**server_metadata())


def _tensor_metadata(
    tensor: model_config_pb2.ModelInput | model_config_pb2.ModelOutput,
) -> dict[str, object]:
    datatype = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    return {
        "name": tensor.name,
        "datatype": "BYTES" if datatype == "STRING" else datatype,
        "shape": [-1, *tensor.dims],
    }


def _to_json(message: Message) -> dict[str, Any]:
    # json_format writes 64-bit numbers as strings; Triton's clients do not expect that.
    return {
        field.name: _field_to_json(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _field_to_json(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        item = field.message_type.fields_by_name["value"]
        return {str(key): _value_to_json(item, value[key]) for key in value}
    if field.is_repeated:
        return [_value_to_json(field, element) for element in value]
    return _value_to_json(field, value)


def _value_to_json(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _to_json(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value

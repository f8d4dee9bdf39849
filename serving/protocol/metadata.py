"""What the protocol says of a model, of its image variant, and of the service."""

from collections.abc import Sequence
from copy import deepcopy
from importlib.metadata import version
from typing import Any

from google.protobuf.message import Message
from tritonclient.grpc import model_config_pb2 as pb

from model_repo.inception_v3.spec import ModelSpec
from serving.protocol.outputs import OUTPUT_NAME

INPUT_NAME = "pixels"
IMAGE_INPUT_NAME = "image"
IMAGE_SUFFIX = "_image"
SERVER = {
    "name": "labelmill",
    "version": version("labelmill"),
    "extensions": [
        *("classification", "model_repository", "model_configuration", "binary_tensor_data"),
        *("parameters", "statistics"),
    ],
}


def complete_config(config: pb.ModelConfig, spec: ModelSpec) -> pb.ModelConfig:
    """Return `config` with the actual values for what its author left out or set to -1."""
    complete = deepcopy(config)
    complete.name = spec.name
    complete.max_batch_size = spec.max_batch_size
    if not (complete.platform or complete.backend):
        complete.backend = "python"
    label_filename = next((o.label_filename for o in config.output if o.label_filename), "")
    del complete.input[:]
    dims = [3, spec.crop_size, spec.crop_size]
    pixels = {"data_type": pb.TYPE_UINT8, "format": pb.ModelInput.FORMAT_NCHW, "dims": dims}
    complete.input.add(name=INPUT_NAME, **pixels)
    del complete.output[:]
    scores = {"data_type": pb.TYPE_FP32, "dims": [spec.num_classes]}
    complete.output.add(name=OUTPUT_NAME, label_filename=label_filename, **scores)
    return complete


def image_variant_config(config: pb.ModelConfig) -> pb.ModelConfig:
    """Return the config of the image variant: the same model, for encoded images."""
    variant = deepcopy(config)
    variant.name = config.name + IMAGE_SUFFIX
    del variant.input[:]
    variant.input.add(name=IMAGE_INPUT_NAME, data_type=pb.TYPE_STRING, dims=[1])
    return variant


def model_metadata(config: pb.ModelConfig, versions: Sequence[str]) -> dict[str, object]:
    """Return a model's metadata as JSON; -1 stands for the batch size."""
    return {
        "name": config.name,
        "versions": list(versions),
        "platform": config.platform or config.backend,
        "inputs": [_tensor_metadata(tensor) for tensor in config.input],
        "outputs": [_tensor_metadata(tensor) for tensor in config.output],
    }


def model_config(config: pb.ModelConfig) -> dict[str, Any]:
    """Return a model's config as Triton's JSON: numbers are numbers, and defaults are included."""
    return _to_json(config)


def _tensor_metadata(tensor: pb.ModelInput | pb.ModelOutput) -> dict[str, object]:
    datatype = pb.DataType.Name(tensor.data_type).removeprefix("TYPE_")
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

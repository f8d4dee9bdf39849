import json
from importlib.metadata import version
from typing import Any

import pytest
from google.protobuf import json_format
from tritonclient.grpc import service_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInput, ModelOutput

from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY, parse_config
from model_repo.inception_v3.spec import ModelSpec
from serving.protocol import metadata

SPEC = ModelSpec(name="birds", version="3", labels=("owl", "tit"), max_batch_size=4)


def test_built_in_config_is_complete_already(config):
    assert config == parse_config(BUILTIN_REPOSITORY / "inception_v3" / "config.pbtxt")


def test_config_is_completed_with_what_is_served():
    given = ModelConfig(output=[ModelOutput(name="classification", dims=[-1])])

    config = metadata.complete_config(given, SPEC)

    assert (config.name, config.max_batch_size, config.backend) == ("birds", 4, "python")
    assert [(one.name, list(one.dims)) for one in config.input] == [("pixels", [3, 299, 299])]
    assert [(one.name, list(one.dims)) for one in config.output] == [("classification", [2])]
    assert list(given.output[0].dims) == [-1]


def test_image_variant_differs_in_its_name_and_input_alone(config, variant):
    back = ModelConfig()
    back.CopyFrom(variant)
    back.name = config.name
    del back.input[:]
    back.input.extend(config.input)

    assert back == config
    assert variant.name == "inception_v3_image"
    assert [(one.name, list(one.dims)) for one in variant.input] == [("image", [1])]


def test_metadata_is_what_triton_says(config, variant):
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [-1, 3, 299, 299]}
    image = {"name": "image", "datatype": "BYTES", "shape": [-1, 1]}
    scores = {"name": "classification", "datatype": "FP32", "shape": [-1, 1000]}
    common = {"versions": ["1"], "platform": "python", "outputs": [scores]}

    assert metadata.model_metadata(config, ["1"]) == common | {
        "name": "inception_v3",
        "inputs": [pixels],
    }
    assert metadata.model_metadata(variant, ["1"]) == common | {
        "name": "inception_v3_image",
        "inputs": [image],
    }


def test_metadata_over_grpc_is_that_of_http(config):
    message = service_pb2.ModelMetadataResponse(**metadata.model_metadata(config, ["1", "2"]))

    assert list(message.versions) == ["1", "2"]
    assert message.platform == "python"
    assert list(message.inputs[0].shape) == [-1, 3, 299, 299]
    assert (message.outputs[0].name, message.outputs[0].datatype) == ("classification", "FP32")


def test_config_has_numbers_as_numbers(config):
    answer = metadata.model_config(config)

    assert answer["max_batch_size"] == 32
    assert answer["input"][0]["dims"] == [3, 299, 299]
    assert answer["dynamic_batching"]["max_queue_delay_microseconds"] == 0
    assert answer["parameters"]["architecture"] == {"string_value": "inception_v3"}
    json.dumps(answer, allow_nan=False)


def test_config_has_the_members_that_triton_gives(config):
    """The members are those of tritonserver 2.51 for the same file, less what it fills in."""
    answer = metadata.model_config(config)

    assert answer["input"] == [
        {
            "name": "pixels",
            "data_type": "TYPE_UINT8",
            "format": "FORMAT_NCHW",
            "dims": [3, 299, 299],
            "is_shape_tensor": False,
            "allow_ragged_batch": False,
            "optional": False,
            "is_non_linear_format_io": False,
        }
    ]
    assert answer["dynamic_batching"] == {
        "preferred_batch_size": [8, 32],
        "max_queue_delay_microseconds": 0,
        "preserve_ordering": False,
        "priority_levels": 0,
        "default_priority_level": 0,
        "priority_queue_policy": {},
    }
    for absent in ("sequence_batching", "ensemble_scheduling", "model_transaction_policy"):
        assert absent not in answer  # perf_analyzer takes their presence for their use


@pytest.mark.parametrize("which", ["config", "variant"])
def test_config_is_read_back_as_it_was(request, which):
    config = request.getfixturevalue(which)

    assert json_format.ParseDict(metadata.model_config(config), ModelConfig()) == config


def test_config_of_every_kind_of_field_is_read_back_as_it_was():
    config = ModelConfig(name="x", model_warmup=[{"name": "w", "batch_size": 2}])
    config.model_warmup[0].inputs["a"].dims[:] = [2**40]
    config.input.append(ModelInput(name="a", reshape={"shape": [1]}))
    config.version_policy.specific.versions[:] = [1, 3]
    config.instance_group.add(count=2, gpus=[0], rate_limiter={"priority": 3})
    config.dynamic_batching.priority_queue_policy[7].default_timeout_microseconds = 9

    answer = metadata.model_config(config)

    assert json_format.ParseDict(json.loads(json.dumps(answer)), ModelConfig()) == config


def test_server_says_what_it_is_and_does():
    answer: Any = metadata.SERVER
    message = service_pb2.ServerMetadataResponse(**answer)

    assert (answer["name"], answer["version"]) == ("labelmill", version("labelmill"))
    assert {"classification", "binary_tensor_data", "statistics"} <= set(answer["extensions"])
    assert not [name for name in answer["extensions"] if "shared_memory" in name]
    assert list(message.extensions) == answer["extensions"]

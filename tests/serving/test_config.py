import pytest
from pydantic import ValidationError

from serving.config import ConfigError, ServingConfig, UserConfig, load_config


def test_arguments_arrive_as_text():
    config = load_config(
        {"models": "a, b:2", "max_body_bytes": "1000", "num_gpus": "0.5", "grpc_port": "0"}
    )

    assert config.models == ("a", "b:2")
    assert (config.max_body_bytes, config.num_gpus, config.grpc_port) == (1000, 0.5, 0)


def test_defaults_keep_to_this_machine():
    config = load_config({})

    assert config.host == "127.0.0.1"
    assert config.models == ("inception_v3",)
    assert config.token_hashes == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "a"}, ["unknown argument 'model'", "models"]),
        ({"models": ""}, ["models", "at least one"]),
        ({"models": "a,,b"}, ["models", "at least one"]),
        ({"max_pixels": "many"}, ["max_pixels", "'many'"]),
        ({"min_replicas": "0"}, ["min_replicas", "'0'"]),
        ({"min_replicas": "3", "max_replicas": "2"}, ["max_replicas", "2", "3"]),
        ({"num_gpus": "2"}, ["num_gpus", "'2'"]),
        ({"num_gpus": "1", "runtime": "openvino"}, ["num_gpus", "runtime=torch"]),
        ({"runtime": "tensorrt"}, ["runtime", "'tensorrt'"]),
        ({"precision": "auto"}, ["precision: leave it out", "labelmill models check", "'auto'"]),
        ({"precision": "int8"}, ["precision", "'fp32'", "'bf16'", "'int8'"]),
        ({"models": "a,b", "weights": "untrained"}, ["weights", "one model"]),
        ({"tokens_file": "/nowhere/tokens"}, ["tokens", "/nowhere/tokens"]),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ConfigError) as raised:
        load_config(arguments)

    assert all(word in str(raised.value) for word in words)


def test_hashes_do_not_show_where_the_config_is_printed(tmp_path):
    (tmp_path / "tokens").write_text("ab" * 32)

    config = load_config({"tokens_file": str(tmp_path / "tokens")})

    assert config.token_hashes == ("ab" * 32,)
    assert "abab" not in repr(config)


def test_every_source_of_a_model_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ServingConfig(model_repository="models", weights="untrained:3")

    source = config.source("flowers:2")

    assert source.model_repository == str(tmp_path / "models")
    assert (source.reference, source.weights) == ("flowers:2", "untrained:3")


def test_weights_of_the_one_model_are_not_for_others_that_are_loaded_later():
    config = ServingConfig(models=("flowers",), weights="/w/flowers.pt", labels="/w/labels.txt")

    source = config.source("cats")

    assert (source.weights, source.labels) == (None, None)
    assert config.source("flowers").weights == "/w/flowers.pt"
    assert ServingConfig(weights="untrained").source("cats").weights == "untrained"


def test_user_config_knows_only_what_can_change():
    with pytest.raises(ValidationError):
        UserConfig.model_validate({"models": "b"})

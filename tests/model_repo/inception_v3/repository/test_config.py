import re
from pathlib import Path

import pytest
from torchvision.models import Inception_V3_Weights

from model_repo.inception_v3.errors import RepositoryError
from model_repo.inception_v3.repository.config import (
    BUILTIN_REPOSITORY,
    list_models,
    load_model,
    parse_config,
    read_labels,
)
from model_repo.inception_v3.spec import INCEPTION_V3

NAME = "inception_v3"


def edit_config(repository: Path, old: str, new: str) -> None:
    path = repository / NAME / "config.pbtxt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def set_parameter(repository: Path, key: str, value: str) -> None:
    with (repository / NAME / "config.pbtxt").open("a") as file:
        file.write(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n')


# --- The built-in model ---------------------------------------------------------------------------


def test_builtin_labels_are_torchvisions_categories():
    assert load_model().spec.labels == tuple(Inception_V3_Weights.IMAGENET1K_V1.meta["categories"])


def test_builtin_config_agrees_with_the_specs_defaults(builtin):
    config = parse_config(BUILTIN_REPOSITORY / NAME / "config.pbtxt")
    (pixels,) = config.input

    for field in ("name", "version", "architecture", "transform_input", "mean", "std"):
        assert getattr(builtin.spec, field) == getattr(INCEPTION_V3, field)
    assert (config.name, config.max_batch_size) == (INCEPTION_V3.name, INCEPTION_V3.max_batch_size)
    assert list(pixels.dims) == [3, INCEPTION_V3.crop_size, INCEPTION_V3.crop_size]


def test_builtin_config_has_the_one_input_and_output_that_image_client_wants():
    config = parse_config(BUILTIN_REPOSITORY / NAME / "config.pbtxt")
    schema = type(config).DESCRIPTOR.file
    types = schema.enum_types_by_name["DataType"].values_by_name

    assert [(i.name, i.data_type) for i in config.input] == [("pixels", types["TYPE_UINT8"].number)]
    assert [(o.name, o.data_type) for o in config.output] == [
        ("classification", types["TYPE_FP32"].number)
    ]


# --- Which model ----------------------------------------------------------------------------------


def test_name_alone_is_the_newest_version_by_number(repository):
    for version in ("9", "10"):
        (repository / NAME / version).mkdir()

    model = load_model(repository, NAME)

    assert (model.spec.version, model.folder) == ("10", repository / NAME / "10")


def test_reference_with_a_version_is_that_version(repository):
    (repository / NAME / "2").mkdir()

    assert load_model(repository, f"{NAME}:1").folder == repository / NAME / "1"


def test_only_folders_with_a_number_are_versions(repository):
    for name in ("__pycache__", "0", "007", "²"):
        (repository / NAME / name).mkdir()
    (repository / NAME / "3").write_text("a file")

    assert load_model(repository, NAME).spec.version == "1"


@pytest.mark.parametrize("version", ["2", "..", "__pycache__", "01"])
def test_unknown_version_is_refused_and_the_known_ones_listed(repository, version):
    (repository / NAME / "__pycache__").mkdir()
    (repository / NAME / "10").mkdir()

    with pytest.raises(RepositoryError, match=f"no version '{re.escape(version)}'; it has 1, 10"):
        load_model(repository, f"{NAME}:{version}")


def test_unknown_model_is_refused_and_the_known_ones_listed(repository):
    with pytest.raises(RepositoryError, match="has no model 'resnet'; it has inception_v3"):
        load_model(repository, "resnet")


def test_missing_repository_is_named(tmp_path):
    with pytest.raises(RepositoryError, match=r"model repository .*nowhere does not exist"):
        load_model(tmp_path / "nowhere")


def test_empty_repository_says_that_it_has_no_model(tmp_path):
    with pytest.raises(RepositoryError, match="it has no model"):
        load_model(tmp_path)


def test_folder_without_config_is_pointed_to_an_example(tmp_path):
    (tmp_path / "mine").mkdir()

    with pytest.raises(RepositoryError, match=r"has no config.pbtxt; start from .*inception_v3"):
        load_model(tmp_path, "mine")


def test_model_without_a_version_folder_says_where_weights_go(repository):
    for path in (repository / NAME / "1").iterdir():
        path.unlink()
    (repository / NAME / "1").rmdir()

    with pytest.raises(RepositoryError, match="has no version folder; put the weights into"):
        load_model(repository)


def test_list_models_is_sorted_and_skips_folders_without_config(repository):
    (repository / "aaa").mkdir()
    (repository / "aaa" / "config.pbtxt").touch()
    (repository / "not_a_model").mkdir()

    assert list_models(repository) == ["aaa", NAME]


# --- config.pbtxt ---------------------------------------------------------------------------------


def test_broken_config_is_named_with_its_line(repository):
    edit_config(repository, 'backend: "python"', "backend python {{")

    with pytest.raises(RepositoryError, match=r"cannot read .*config.pbtxt: 4:"):
        load_model(repository)


def test_config_field_that_triton_does_not_know_is_refused(repository):
    edit_config(repository, "max_batch_size", "maximum_batch_size")

    with pytest.raises(RepositoryError, match="maximum_batch_size"):
        load_model(repository)


def test_config_of_another_name_than_its_folder_is_refused(repository):
    edit_config(repository, 'name: "inception_v3"', 'name: "other"')

    with pytest.raises(RepositoryError, match="names the model 'other', but its folder is"):
        load_model(repository)


def test_config_without_a_name_takes_its_folders(repository):
    edit_config(repository, 'name: "inception_v3"\nbackend', "backend")

    assert load_model(repository).spec.name == NAME


def test_max_batch_size_of_zero_is_one_image_at_a_time(repository):
    edit_config(repository, "max_batch_size: 32", "max_batch_size: 0")

    assert load_model(repository).spec.max_batch_size == 1


def test_parameters_decide_the_preprocessing(repository):
    edit_config(repository, '"true"', '"False"')
    for key, value in {"mean": "0.5, 0.4,0.3", "std": "0.1,0.2,0.3", "resize_size": "320"}.items():
        set_parameter(repository, key, value)

    spec = load_model(repository).spec

    assert (spec.mean, spec.std) == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    assert (spec.resize_size, spec.transform_input) == (320, False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", "0.5,0.5"),
        ("mean", "nan,0.5,0.5"),
        ("std", "a,b,c"),
        ("std", "0.2,0.2,0"),
        ("transform_input", "yes"),
        ("resize_size", "342.5"),
        ("resize_size", "200"),
    ],
)
def test_bad_parameter_is_named(repository, key, value):
    if key == "transform_input":
        edit_config(repository, '"true"', f'"{value}"')
    else:
        set_parameter(repository, key, value)

    with pytest.raises(RepositoryError, match=f"model 'inception_v3' in config.pbtxt: .*{key}"):
        load_model(repository)


def test_unknown_architecture_is_refused(repository):
    edit_config(repository, 'string_value: "inception_v3"', 'string_value: "resnet50"')

    with pytest.raises(RepositoryError, match="architecture 'resnet50'; only 'inception_v3'"):
        load_model(repository)


# --- labels.txt -----------------------------------------------------------------------------------


def test_labels_and_the_outputs_dims_must_agree(repository):
    edit_config(repository, "dims: [ 1000 ]", "dims: [ 999 ]")

    with pytest.raises(RepositoryError, match=r"dims \[999\], but the labels file has 1000 names"):
        load_model(repository)


def test_variable_dims_take_any_number_of_labels(repository):
    edit_config(repository, "dims: [ 1000 ]", "dims: [ -1 ]")
    (repository / NAME / "labels.txt").write_text("cat\ndog\n")

    assert load_model(repository).spec.labels == ("cat", "dog")


def test_config_names_the_labels_file(repository):
    edit_config(repository, '"labels.txt"', '"names.txt"')
    (repository / NAME / "labels.txt").rename(repository / NAME / "names.txt")

    assert load_model(repository).spec.num_classes == 1000


def test_labels_path_wins_over_the_models_own(repository, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("cat\ndog\n")

    assert load_model(repository, labels_path=path).spec.labels == ("cat", "dog")


def test_missing_labels_file_is_named(repository):
    (repository / NAME / "labels.txt").unlink()

    with pytest.raises(RepositoryError, match=r"cannot read labels file .*one class name per line"):
        load_model(repository)


@pytest.mark.parametrize(("text", "line"), [("", 1), ("cat\n\nowl\n", 2), ("\ncat", 1)])
def test_empty_line_among_labels_is_named(tmp_path, text, line):
    path = tmp_path / "labels.txt"
    path.write_text(text)

    with pytest.raises(RepositoryError, match=f"line {line} of labels file .* is empty"):
        read_labels(path)


def test_labels_survive_windows_editors(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfcat\r\nd\xc3\xb6g\r\n\r\n")

    assert read_labels(path) == ("cat", "dög")

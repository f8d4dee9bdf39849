import pickle
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import inception_v3
from torchvision.models.inception import InceptionAux

from model_repo.inception_v3.errors import WeightsError
from model_repo.inception_v3.repository.weights import Weights, find_weights
from model_repo.inception_v3.runtimes.checkpoint import load_state_dict

KERNEL = "Mixed_5b.branch1x1.conv.weight"


@pytest.fixture
def load(small_model, tmp_path):
    """Save tensors as a file of that name and load them as a user's weights."""

    def save_and_load(content, name="weights.safetensors"):
        path = tmp_path / name
        save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
        return load_state_dict(find_weights(small_model, str(path)), small_model.spec)

    return save_and_load


def without(tensors, *names):
    return {name: value for name, value in tensors.items() if name not in names}


def assert_same(loaded, expected):
    assert loaded.keys() == expected.keys()
    assert [name for name in loaded if not torch.equal(loaded[name], expected[name])] == []


# --- What is understood ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.pth"])
def test_state_dict_in_either_format_is_loaded(load, small_state_dict, name):
    assert_same(load(small_state_dict, name), small_state_dict)


@pytest.mark.parametrize("keys", [["state_dict"], ["model"], ["model_state_dict", "model"]])
def test_training_checkpoint_is_loaded(load, small_state_dict, keys):
    content = small_state_dict
    for key in keys:
        content = {key: content, "epoch": 3, "optimizer": {"lr": 0.1}}

    assert_same(load(content, "weights.pt"), small_state_dict)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "model._orig_mod.module."])
def test_prefixes_of_wrappers_are_taken_off(load, small_state_dict, prefix, name):
    wrapped = {f"{prefix}{key}": value for key, value in small_state_dict.items()}
    wrapped[f"{prefix}AuxLogits.fc.bias"] = torch.zeros(9)

    assert_same(load(wrapped, name), small_state_dict)


def test_what_torchs_own_wrappers_save_is_loaded(load, small_state_dict):
    network = inception_v3(weights=None, num_classes=3, aux_logits=False, init_weights=False)
    network.load_state_dict(small_state_dict)
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.DataParallel(torch.compile(network)))

    assert_same(load({"state_dict": averaged.state_dict()}, "weights.pt"), small_state_dict)


def test_state_dict_with_torchs_metadata_and_no_counters_is_loaded(load):
    state_dict = inception_v3(
        weights=None, num_classes=3, aux_logits=False, init_weights=False
    ).state_dict()
    for name in [name for name in state_dict if name.endswith(".num_batches_tracked")]:
        del state_dict[name]

    assert load(state_dict, "weights.pt").keys() == state_dict.keys()


@pytest.mark.parametrize("aux_classes", [3, 1000])
def test_auxiliary_head_is_dropped_whatever_its_classes(load, small_state_dict, aux_classes):
    auxiliary = InceptionAux(768, aux_classes)
    extra = {f"AuxLogits.{name}": value for name, value in auxiliary.state_dict().items()}

    assert_same(load(small_state_dict | extra), small_state_dict)


def test_half_precision_is_loaded_as_float32(load, small_state_dict):
    half = {n: v.half() if v.is_floating_point() else v for n, v in small_state_dict.items()}

    loaded = load(half)

    assert loaded[KERNEL].dtype == torch.float32
    assert torch.equal(loaded[KERNEL], small_state_dict[KERNEL].half().float())


# --- What does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [KERNEL, "fc.weight", "Conv2d_1a_3x3.bn.running_var"])
def test_missing_tensor_is_named(load, small_state_dict, name):
    with pytest.raises(WeightsError, match=f"tensor '{name}' is missing; torchvision's and timm's"):
        load(without(small_state_dict, name))


def test_extra_tensor_is_named(load, small_state_dict):
    with pytest.raises(WeightsError, match=r"'head.weight' does not belong"):
        load(small_state_dict | {"head.weight": torch.zeros(3)})


def test_misshapen_tensor_is_named_with_both_shapes(load, small_state_dict):
    tensors = small_state_dict | {KERNEL: small_state_dict[KERNEL][:, :7].contiguous()}

    with pytest.raises(WeightsError, match=rf"'{KERNEL}' has shape \[64, 7, 1, 1\] instead of"):
        load(tensors)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensor_that_is_not_finite_is_named(load, small_state_dict, value):
    broken = small_state_dict[KERNEL].clone()
    broken[5, 3] = value

    with pytest.raises(WeightsError, match=f"tensor '{KERNEL}' in .* holds NaN or infinity"):
        load(small_state_dict | {KERNEL: broken})


def test_a_tensor_beside_the_network_of_a_lightning_module_is_named(load, small_state_dict):
    tensors = {f"model.{name}": value for name, value in small_state_dict.items()}

    with pytest.raises(WeightsError, match=r"'criterion.weight' does not belong; torch"):
        load(tensors | {"criterion.weight": torch.ones(3)})


def test_a_prefix_that_is_not_known_is_shown(load, small_state_dict):
    tensors = {f"net.{name}": value for name, value in small_state_dict.items()}

    with pytest.raises(WeightsError, match=r"'Conv2d_1a_3x3\.conv\.weight' is missing, 'net\.Conv"):
        load(tensors)


def test_two_networks_in_one_file_are_refused(load, small_state_dict):
    with pytest.raises(WeightsError, match=r"holds tensor 'fc.bias' more than once, .*'module.fc"):
        load(small_state_dict | {"module.fc.bias": torch.ones(3)})


def test_the_tensors_of_another_network_are_told_before_its_labels(load):
    tensors = {"conv1.weight": torch.ones(64, 3, 7, 7), "fc.weight": torch.ones(1000, 2048)}

    with pytest.raises(WeightsError, match="does not fit Inception V3: tensor 'Conv2d_1a"):
        load(tensors)


def test_head_of_other_classes_points_to_the_labels(load, small_state_dict):
    head = {"fc.weight": torch.zeros(4, 2048), "fc.bias": torch.zeros(4)}

    with pytest.raises(
        WeightsError, match=r"a head of 4 classes, but there are 3 labels; .*labels"
    ):
        load(small_state_dict | head)


def test_another_networks_state_dict_is_refused_in_one_short_line(load):
    with pytest.raises(WeightsError, match=r"and .* more; torchvision's") as caught:
        load(torch.nn.Sequential(torch.nn.Linear(3, 3)).state_dict())

    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {0: torch.zeros(1)}, torch.zeros(3)])
def test_pt_file_without_a_state_dict_is_refused(load, content):
    with pytest.raises(WeightsError, match=r"holds no state dict.*; save model.state_dict\(\)"):
        load(content, "weights.pt")


def test_what_lies_where_a_state_dict_should_is_named(load, small_state_dict):
    with pytest.raises(WeightsError, match="holds no state dict, but 'network', 'epoch'; save"):
        load({"network": small_state_dict, "epoch": 3}, "weights.pt")


# --- Damaged and hostile files --------------------------------------------------------------------


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    "save", [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))]
)
def test_pickled_code_is_refused_and_not_run(small_model, tmp_path, save):
    save({"fc.weight": Bomb(tmp_path / "exploded")}, tmp_path / "weights.pt")

    with pytest.raises(WeightsError, match=r"must be a safetensors file or .* tensors alone"):
        load_state_dict(Weights(tmp_path / "weights.pt", "0"), small_model.spec)

    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
@pytest.mark.parametrize("kept", [0, 100, -100])
def test_truncated_file_is_refused(small_model, tmp_path, name, kept):
    path = tmp_path / name
    tensors = {"fc.weight": torch.zeros(3, 2048)}
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(WeightsError, match=f"cannot load weights {path}: "):
        load_state_dict(Weights(path, "0"), small_model.spec)


def test_error_about_a_bad_file_is_one_line_and_never_advises_to_unpickle(small_model, tmp_path):
    torch.save({"fc.weight": Bomb(tmp_path / "exploded")}, tmp_path / "weights.pt")

    with pytest.raises(WeightsError) as caught:
        load_state_dict(Weights(tmp_path / "weights.pt", "0"), small_model.spec)

    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_a_checkpoint_that_holds_itself_is_refused(load):
    content = {"epoch": 3}
    content["model"] = content

    with pytest.raises(WeightsError, match="holds no state dict"):
        load(content, "weights.pt")


def test_torchscript_is_refused_with_what_to_do(small_model, tmp_path):
    path = tmp_path / "weights.pt"
    with warnings.catch_warnings(action="ignore"):  # deprecated, and still what people have
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)

    with pytest.raises(
        WeightsError, match="a TorchScript file, which holds code; save its"
    ) as caught:
        load_state_dict(Weights(path, "0"), small_model.spec)

    assert "torch.jit.load('weights.pt').state_dict()" in str(caught.value)


# --- Untrained weights ----------------------------------------------------------------------------


def test_a_seed_always_gives_the_same_weights(small_spec):
    first, again, other = (
        load_state_dict(Weights(None, f"untrained:{seed}"), small_spec) for seed in (1, 1, 2)
    )

    assert_same(again, first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_untrained_weights_tell_images_apart(torch_classifier, pixels):
    labels = set(torch_classifier.predict(pixels).logits.argmax(axis=1).tolist())

    assert len(labels) > 1

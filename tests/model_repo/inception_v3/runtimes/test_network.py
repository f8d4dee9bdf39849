from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models import inception_v3
from torchvision.transforms import v2

from model_repo.inception_v3.runtimes.network import Network, input_affine
from model_repo.inception_v3.spec import EMBEDDING_SIZE, FEATURE_SHAPES, OUTPUT_NAMES

RELATIVE_TOLERANCE = 1e-5


def randomise_batch_norm(network: nn.Module) -> None:
    """Give batch norm what training would, so that folding it wrongly shows."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.data.uniform_(low, high, generator=generator)


@pytest.fixture(scope="module")
def reference(state_dict):
    """torchvision's own network, untouched; to be given normalised input."""
    network = inception_v3(weights=None, aux_logits=False, transform_input=True, init_weights=False)
    network.load_state_dict(state_dict)
    randomise_batch_norm(network)
    return network.eval()


@pytest.fixture(scope="module")
def batch(pixels):
    return torch.from_numpy(pixels[:2])


@pytest.fixture(scope="module")
@torch.inference_mode()
def outputs(builtin, reference, batch):
    return dict(
        zip(OUTPUT_NAMES, Network(builtin.spec, reference.state_dict())(batch), strict=True)
    )


@pytest.fixture(scope="module")
@torch.inference_mode()
def expected(builtin, reference, batch):
    """What forward hooks see in torchvision's own network."""
    seen = {}

    def keep(name):
        return lambda module, inputs, output: seen.update({name: output})

    for name in (*FEATURE_SHAPES, "avgpool"):
        reference.get_submodule(name).register_forward_hook(keep(name))
    normalise = v2.Normalize(builtin.spec.mean, builtin.spec.std)
    seen["logits"] = reference(normalise(batch / 255))
    seen["embedding"] = seen.pop("avgpool").flatten(1)
    return seen


@pytest.mark.parametrize("name", OUTPUT_NAMES)
def test_every_output_is_what_torchvisions_network_computes(outputs, expected, name):
    difference = (outputs[name] - expected[name]).abs().max()

    assert outputs[name].shape == expected[name].shape
    assert difference <= RELATIVE_TOLERANCE * expected[name].abs().max()


def test_outputs_have_the_shapes_that_the_spec_names(outputs):
    assert outputs["embedding"].shape == (2, EMBEDDING_SIZE)
    assert {name: tuple(outputs[name].shape[1:]) for name in FEATURE_SHAPES} == FEATURE_SHAPES


def test_last_layer_of_the_embedding_is_the_logits(outputs, reference):
    with torch.inference_mode():
        logits = reference.fc(outputs["embedding"])

    torch.testing.assert_close(outputs["logits"], logits, rtol=0, atol=1e-5)


def test_embedding_is_the_mean_of_the_last_feature_map(outputs):
    torch.testing.assert_close(outputs["embedding"], outputs["Mixed_7c"].mean(dim=(2, 3)))


@pytest.mark.parametrize("mean", [(0.485, 0.456, 0.406), (0.5, 0.4, 0.3)])
@pytest.mark.parametrize("transform_input", [True, False])
def test_input_affine_is_torchvisions_normalise_and_transform(small_spec, mean, transform_input):
    spec = replace(small_spec, mean=mean, std=(0.2, 0.25, 0.3), transform_input=transform_input)
    levels = torch.arange(256.0).repeat(1, 3, 1, 1)
    network = inception_v3(weights=None, init_weights=False, transform_input=transform_input)

    scale, shift = input_affine(spec)

    ours = levels * scale.view(1, 3, 1, 1) + shift.view(1, 3, 1, 1)
    theirs = network._transform_input(v2.Normalize(spec.mean, spec.std)(levels / 255))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_with_imagenets_statistics_the_input_runs_from_minus_one_to_one(small_spec):
    scale, shift = input_affine(small_spec)

    torch.testing.assert_close(scale, torch.full((3,), 1 / 127.5))
    torch.testing.assert_close(shift, torch.full((3,), -1.0))


def test_batch_norm_is_folded_away(small_spec, small_state_dict):
    network = Network(small_spec, small_state_dict)

    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not network.stages.training


def test_building_a_network_leaves_the_tensors_alone(small_spec, small_state_dict):
    before = {name: value.clone() for name, value in small_state_dict.items()}

    Network(small_spec, small_state_dict)

    assert all(torch.equal(before[name], small_state_dict[name]) for name in before)

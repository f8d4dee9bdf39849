from dataclasses import replace

import pytest
from torchvision.models import Inception_V3_Weights

from model_repo.inception_v3.spec import EMBEDDING_SIZE, FEATURE_SHAPES, INCEPTION_V3, OUTPUT_NAMES


def test_spec_has_the_preprocessing_of_torchvisions_preset():
    preset = Inception_V3_Weights.IMAGENET1K_V1.transforms()

    assert [INCEPTION_V3.resize_size] == preset.resize_size
    assert [INCEPTION_V3.crop_size] == preset.crop_size
    assert list(INCEPTION_V3.mean) == preset.mean
    assert list(INCEPTION_V3.std) == preset.std


def test_spec_transforms_its_input_as_torchvisions_weights_want_it():
    assert INCEPTION_V3.transform_input is True


def test_spec_refuses_a_crop_larger_than_the_resize():
    with pytest.raises(ValueError, match="crop_size 343 exceeds resize_size 342"):
        replace(INCEPTION_V3, crop_size=343)


def test_spec_refuses_a_std_of_zero():
    with pytest.raises(ValueError, match=r"std .* must be above 0"):
        replace(INCEPTION_V3, std=(0.2, 0.0, 0.2))


def test_spec_counts_its_labels():
    assert replace(INCEPTION_V3, labels=("cat", "dog")).num_classes == 2


def test_output_names_are_the_logits_the_embedding_and_every_layer():
    assert ("logits", "embedding", *FEATURE_SHAPES) == OUTPUT_NAMES
    assert FEATURE_SHAPES["Mixed_7c"][0] == EMBEDDING_SIZE


def test_equal_specs_are_equal_keys():
    assert {replace(INCEPTION_V3), INCEPTION_V3} == {INCEPTION_V3}

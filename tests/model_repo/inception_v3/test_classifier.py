import numpy as np
import pytest

from model_repo.inception_v3.classifier import Classifier, prepare
from model_repo.inception_v3.errors import InputError, ModelError, WeightsError
from model_repo.inception_v3.options import RuntimeOptions
from model_repo.inception_v3.postprocess import softmax
from model_repo.inception_v3.repository.weights import find_weights
from model_repo.inception_v3.spec import FEATURE_SHAPES

# Logits of the untrained network run to 20, so 1e-3 is 5e-5 of them.
LOGITS_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def expected(openvino_classifier, pixels):
    return openvino_classifier.predict(pixels)


@pytest.fixture
def load_small(small_model):
    def load(**options):
        weights = find_weights(small_model, "untrained")
        return Classifier.load(small_model, weights, RuntimeOptions(**options))

    return load


@pytest.fixture
def small_pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 3, 107, 107), dtype=np.uint8)


def assert_equal(outputs, expected, rows):
    atol = LOGITS_TOLERANCE
    np.testing.assert_allclose(outputs.logits, expected.logits[rows], rtol=0, atol=atol)
    np.testing.assert_allclose(outputs.embedding, expected.embedding[rows], rtol=1e-3, atol=1e-3)


# --- Batches --------------------------------------------------------------------------------------


def test_images_are_told_apart(expected):
    distances = np.abs(expected.logits[:, None] - expected.logits[None]).max(axis=2)

    assert distances[np.triu_indices(len(distances), 1)].min() > 100 * LOGITS_TOLERANCE


@pytest.mark.parametrize("size", range(1, 18))
def test_batch_of_any_size_is_its_images_in_order(openvino_classifier, pixels, expected, size):
    rows = slice(17 - size, 17)

    assert_equal(openvino_classifier.predict(pixels[rows]), expected, rows)


def test_batch_in_another_order_gives_rows_in_that_order(classifier, pixels, expected):
    rows = [5, 0, 3]

    assert_equal(classifier.predict(pixels[rows]), expected, rows)


def test_torch_gives_one_image_what_a_batch_gives_it(torch_classifier, pixels, expected):
    assert_equal(torch_classifier.predict(pixels[4:5]), expected, slice(4, 5))


def test_the_two_runtimes_agree_on_every_output(torch_classifier, openvino_classifier, pixels):
    ours, theirs = (c.predict(pixels[:2]) for c in (torch_classifier, openvino_classifier))

    assert_equal(ours, theirs, slice(2))
    for name, value in theirs.features.items():
        error = np.abs(ours.features[name] - value).max()
        assert error <= 1e-4 * np.abs(value).max(), name


def test_outputs_have_the_promised_shapes_and_dtype(classifier, pixels):
    outputs = classifier.predict(pixels[:3])

    assert outputs.logits.shape == (3, 1000)
    assert outputs.embedding.shape == (3, 2048)
    assert {name: value.shape[1:] for name, value in outputs.features.items()} == FEATURE_SHAPES
    arrays = (outputs.logits, outputs.embedding, *outputs.features.values())
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


def test_earlier_outputs_outlive_the_next_batch(classifier, pixels):
    first = classifier.predict(pixels[:1])
    before = first.logits.copy()

    classifier.predict(pixels[1:2])

    np.testing.assert_array_equal(first.logits, before)


def test_pixels_may_be_read_only_and_strided(classifier, pixels, expected):
    view = np.ascontiguousarray(pixels[:3].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)[::2]
    view.flags.writeable = False

    assert_equal(classifier.predict(view), expected, slice(0, 3, 2))


def test_pixels_are_left_alone(classifier, pixels):
    batch = pixels[:1].copy()

    classifier.predict(batch)

    np.testing.assert_array_equal(batch, pixels[:1])


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 3, 299, 299), np.float32),
        ((1, 3, 299, 299), np.int8),
        ((3, 299, 299), np.uint8),
        ((1, 299, 299, 3), np.uint8),
        ((1, 3, 298, 299), np.uint8),
        ((0, 3, 299, 299), np.uint8),
        ((), np.uint8),
    ],
)
def test_pixels_of_another_shape_or_dtype_are_refused(openvino_classifier, shape, dtype):
    with pytest.raises(InputError, match=r"must be uint8 \[N, 3, 299, 299\] .*, got "):
        openvino_classifier.predict(np.zeros(shape, dtype))


def test_unknown_output_is_refused_and_the_known_ones_listed():
    with pytest.raises(ModelError, match="unknown output 'Mixed_9z'; there are logits, embedding"):
        RuntimeOptions(outputs=("Mixed_9z",))


@pytest.mark.parametrize("runtime", ["auto", "torch", "openvino"])
def test_fp16_without_cuda_is_refused(monkeypatch, runtime):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    with pytest.raises(ModelError, match="fp16 needs a CUDA device"):
        RuntimeOptions(runtime=runtime, precision="fp16").resolve()


# --- Options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_only_the_outputs_asked_for_are_returned(load_small, small_pixels, runtime):
    outputs = load_small(runtime=runtime, outputs=("Mixed_6e",)).predict(small_pixels)

    assert outputs.embedding is None
    assert list(outputs.features) == ["Mixed_6e"]


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_output_named_twice_is_returned_once(load_small, small_pixels, runtime):
    names = ("logits", "embedding", "embedding")

    outputs = load_small(runtime=runtime, outputs=names).predict(small_pixels)

    assert (outputs.logits.shape, outputs.embedding.shape) == ((2, 3), (2, 2048))


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_bf16_stays_close_to_fp32(load_small, small_pixels, runtime):
    full, half = (
        softmax(load_small(runtime=runtime, precision=precision).predict(small_pixels).logits)
        for precision in ("fp32", "bf16")
    )

    assert np.abs(full - half).max() < 0.2


def test_auto_is_openvino_in_fp32_where_there_is_no_cuda(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    options = RuntimeOptions().resolve()

    assert (options.runtime, options.precision) == ("openvino", "fp32")


def test_auto_is_torch_in_fp16_where_there_is_cuda(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)

    options = RuntimeOptions().resolve()

    assert (options.runtime, options.precision) == ("torch", "fp16")


def test_classifier_says_what_it_is(openvino_classifier, builtin):
    assert openvino_classifier.spec == builtin.spec
    assert openvino_classifier.weights_sha256 == "untrained:0"
    assert openvino_classifier.options.precision == "fp32"


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_prepare_refuses_weights_that_do_not_fit(small_model, tmp_path, runtime):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not weights")

    with pytest.raises(WeightsError, match="cannot load weights"):
        prepare(small_model, find_weights(small_model, str(path)), RuntimeOptions(runtime=runtime))

import pytest

from model_repo.inception_v3.errors import ModelError
from model_repo.inception_v3.options import RuntimeOptions


@pytest.mark.parametrize(
    ("device", "asked", "configured", "precision"),
    [
        ("cpu", "auto", None, "fp32"),
        ("cuda", "auto", None, "fp16"),
        ("cpu", "auto", "bf16", "bf16"),
        ("cuda", "auto", "fp32", "fp32"),
        ("cpu", "fp32", "bf16", "fp32"),
    ],
)
def test_an_option_comes_before_the_config_and_the_config_before_the_device(
    device, asked, configured, precision
):
    options = RuntimeOptions(device=device, precision=asked)

    assert options.resolve(configured).precision == precision


def test_a_precision_that_the_device_lacks_is_refused():
    for options, configured in (
        (RuntimeOptions(device="cpu", precision="fp16"), None),
        (RuntimeOptions(device="cpu"), "fp16"),
    ):
        with pytest.raises(ModelError, match="fp16 needs a CUDA device"):
            options.resolve(configured)

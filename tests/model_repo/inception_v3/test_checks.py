import json

import pytest

from model_repo.inception_v3.checks import format_checks, parse_checks, percent, read_checks
from model_repo.inception_v3.errors import RepositoryError
from tests.support.checked import made_check


@pytest.fixture
def make(small_spec):
    return lambda **changes: made_check(small_spec, changes.pop("weights_sha256", "abc"), **changes)


@pytest.mark.parametrize(
    ("images", "top1_kept", "shortfall"),
    [
        (200, 199 / 200, None),
        (1000, 994 / 1000, "less than 99.5 %"),
        (199, 1.0, "fewer than 200 images"),
    ],
)
def test_it_is_passed_where_enough_of_enough_images_is_kept(make, images, top1_kept, shortfall):
    check = make(images=images, top1_kept=top1_kept)

    assert (check.shortfall, check.passed) == (shortfall, shortfall is None)


def test_shares_are_rounded_down():
    shares = (1.0, 0.99949, 0.995, 0.99499, 0.29, 0.0)

    said = ["100.0 %", "99.9 %", "99.5 %", "99.4 %", "29.0 %", "0.0 %"]
    assert [percent(x) for x in shares] == said


def test_it_says_what_was_kept(make):
    said = make(images=12345).describe()

    assert said == "bf16 kept 99.8 % of top-1 on 12,345 images (checked 2026-11-22)"


def test_what_is_written_is_read_again(make, tmp_path):
    checkpoint = tmp_path / "model.safetensors"
    assert parse_checks(read_checks(checkpoint), "x") == ()

    data = format_checks([], make())
    (tmp_path / "model.safetensors.precision.json").write_bytes(data)

    assert parse_checks(read_checks(checkpoint), "x") == (make(),)


def test_a_check_replaces_its_like_and_what_is_out_of_date(make):
    before = [
        make(images=300),
        make(runtime="torch"),
        make(precision="fp16", runtime="torch", device="cuda"),
        make(runtime="torch", weights_sha256="of other weights"),
        make(runtime="torch", labels_and_config="of other labels"),
    ]

    after = parse_checks(format_checks(before, make(images=400)), "x")

    assert after == (before[1], before[2], make(images=400))


def test_fields_of_a_later_version_are_passed_over(make):
    entries = json.loads(format_checks([], make()))
    entries[0]["mood"] = "good"

    assert parse_checks(json.dumps(entries), "x") == (make(),)


@pytest.mark.parametrize("text", ["", "{", "7", "[7]", '[{"precision": "bf16"}]', "\x00"])
def test_what_is_no_check_is_named(text):
    with pytest.raises(RepositoryError, match=r"x\.json is damaged .* repeat 'labelmill models"):
        parse_checks(text, "x.json")

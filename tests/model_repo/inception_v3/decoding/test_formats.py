import pytest

from model_repo.inception_v3.decoding.formats import READ, image_format
from model_repo.inception_v3.errors import DecodeError
from tests.support.images import encode, photo

HEIF = b"\0\0\0\x1cftyp%s\0\0\0\0mif1%smiaf"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("JPEG", "JPEG"),
        ("PNG", "PNG"),
        ("WEBP", "WebP"),
        ("GIF", "GIF"),
        ("BMP", "BMP"),
        ("TIFF", "TIFF"),
        ("AVIF", "AVIF"),
        ("HEIF", "HEIC"),
        ("JPEG2000", "JPEG 2000"),
    ],
)
def test_every_format_that_is_read_is_recognised(kind, name):
    assert image_format(encode(photo(9, 9), kind)) == name
    assert name in READ


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (HEIF % (b"avif", b"miaf"), "AVIF"),
        (HEIF % (b"mif1", b"avif"), "AVIF"),
        (HEIF % (b"heic", b"heic"), "HEIC"),
        (HEIF % (b"mif1", b"heix"), "HEIC"),
        (HEIF % (b"msf1", b"hevc"), "HEIC"),
        (b"\xff\x4f\xff\x51\0\x2f", "JPEG 2000"),
        (b"II+\0\x08\0", "TIFF"),
        (b"MM\0+\0\x08", "TIFF"),
    ],
)
def test_containers_are_told_apart(data, name):
    assert image_format(data) == name


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"<!DOCTYPE html><html>", "starts with b'<!DOCTYPE html><'"),
        (b'<html><body><svg width="1">', "starts with b.<html><body><svg"),
        (b"hello", "starts with b'hello'"),
        (b"P1 incidents of last week", "starts with b'P1 incidents of"),
        (b"export default () => <svg/>", "starts with b'export default"),
        (b"BMW 320d, blue, as good as new", "starts with b'BMW 320d, blue, '"),
        (bytes(600), r"starts with b'\\x00"),
        (b"\x7fELF\2\1\1", "starts with b'.x7fELF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "looks like MP4 or QuickTime"),
        (b"%PDF-1.7", "looks like PDF"),
        (b"RIFF\0\0\0\0WAVEfmt ", "starts with b'RIFF"),
    ],
)
def test_what_is_no_image_has_a_kind_of_its_own(data, found):
    with pytest.raises(DecodeError, match=f"^not an image: {found}") as caught:
        image_format(data)

    assert caught.value.kind == "not_an_image"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<?xml version='1.0'?><svg xmlns='x'/>", "SVG"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\1\0\1\0", "Windows icon"),
        (encode(photo(9, 9), "PPM"), "PNM"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "camera raw"),
    ],
)
def test_a_format_that_is_not_read_is_named(data, name):
    with pytest.raises(DecodeError, match=f"^{name} is not read; convert it to JPEG") as caught:
        image_format(data)

    assert caught.value.kind == "unreadable"


def test_an_empty_object_is_unreadable():
    with pytest.raises(DecodeError, match="empty object") as caught:
        image_format(b"")

    assert caught.value.kind == "unreadable"

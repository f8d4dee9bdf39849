"""The images of the chaos tests: small files, a few of them broken."""

from pathlib import Path

from tests.support.images import encode, photo

GOOD, FEW = 146, 40
BROKEN = {
    "empty.jpg": b"",
    "notes.txt": b"not an image",
    "truncated.jpg": encode(photo(200, 150), "JPEG")[:2000],
    "word.png": b"\x89PNG\r\n\x1a\n but no more",
}


def build_images() -> dict[str, bytes]:
    good = {
        f"{number:03d}.jpg": encode(photo(160, 120, seed=number), "JPEG", quality=90)
        for number in range(GOOD)
    }
    return good | BROKEN


def write_photos(images: dict[str, bytes], parent: Path) -> Path:
    folder = parent / "photos"
    folder.mkdir(parents=True)
    for name, body in images.items():
        (folder / name).write_bytes(body)
    return folder

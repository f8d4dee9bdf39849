"""How much a request may bring, and when there is no more room."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from serving.config import UserConfig
from serving.errors import ContentTooLargeError, OverloadedError

BODIES_AT_ONCE = 4  # of the largest size allowed; smaller ones accordingly more

# What a compressed body may become, whatever it was, and for each byte of it.
_FREE_BYTES = 16_000_000
_BYTES_PER_BYTE = 100


def check_body_size(byte_count: int, config: UserConfig) -> None:
    """Check the size of a body, as declared or as read so far.

    Raises:
        ContentTooLargeError: it is over `max_body_bytes`.
    """
    if byte_count > config.max_body_bytes:
        raise ContentTooLargeError(
            f"the body of {byte_count:,} bytes exceeds the limit of {config.max_body_bytes:,}; "
            "send a smaller image, or fewer at once"
        )


def check_expansion(sent_bytes: int, byte_count: int) -> None:
    """Check what a compressed body has become so far.

    Raises:
        ContentTooLargeError: it bursts: so much more than was sent is no image and no tensor.
    """
    if byte_count > _FREE_BYTES + _BYTES_PER_BYTE * sent_bytes:
        raise ContentTooLargeError(
            f"{sent_bytes:,} compressed bytes become over {byte_count:,}; send them as they are"
        )


@dataclass(slots=True)
class Ticket:
    """What one request holds while it is being answered.

    Attributes:
        images: so many were found in its body.
        byte_count: of its body; decompressed, if it came compressed.
        sent_bytes: of its body as it came.
    """

    images: int
    byte_count: int
    sent_bytes: int


class Admission:
    """Lets requests in while they can be answered in time, and refuses the others at once.

    A request that finds nobody before it is always let in. While its body is being read it is in
    nobody's way; its images count from then on.
    """

    def __init__(self, config: UserConfig) -> None:
        self.config = config
        self._images = 0
        self._bytes = 0

    @contextmanager
    def admit(self, byte_count: int, per_image_s: float) -> Iterator[Ticket]:
        """Hold room for a body of `byte_count` bytes, while the context lasts, if one image has it.

        Args:
            byte_count: of the body, as declared.
            per_image_s: what an image costs now.

        Raises:
            ContentTooLargeError: the body is over the limit.
            OverloadedError: there is no room.
        """
        check_body_size(byte_count, self.config)
        self._check_images(1, per_image_s)
        self._check_bytes(byte_count)
        ticket = Ticket(0, byte_count, byte_count)
        self._bytes += byte_count
        try:
            yield ticket
        finally:
            self._images -= ticket.images
            self._bytes -= ticket.byte_count

    def note_body(self, ticket: Ticket, sent_bytes: int, byte_count: int) -> None:
        """Hold room for what a body turned out to have, decompressed, as far as it was read.

        Raises:
            OverloadedError: there is no room for so much.
        """
        ticket.sent_bytes = sent_bytes
        more = byte_count - ticket.byte_count
        if more > 0:
            self._check_bytes(more)
            ticket.byte_count += more
            self._bytes += more

    def grow(self, ticket: Ticket, images: int, per_image_s: float) -> None:
        """Hold room for as many images as the body turned out to have.

        Raises:
            OverloadedError: there is no room for so many.
        """
        more = images - ticket.images
        if more > 0 and self._images > ticket.images:  # others wait, too
            self._check_images(more, per_image_s)
        ticket.images += more
        self._images += more

    def _check_images(self, images: int, per_image_s: float) -> None:
        wait_s = (self._images + images) * per_image_s
        if self._images and wait_s > self.config.max_queue_s:
            raise OverloadedError(
                f"{self._images} images are waiting, about {wait_s:.1f} s of work; try again later",
                retry_after_s=max(1, ceil(wait_s / 2)),
                full=images == 1,
            )

    def _check_bytes(self, byte_count: int) -> None:
        if self._bytes and self._bytes + byte_count > BODIES_AT_ONCE * self.config.max_body_bytes:
            raise OverloadedError(f"requests of {self._bytes:,} bytes are waiting; try again later")

"""How much one request may bring, and how much may wait at once.

A request is admitted in four places, each where the next fact about it is known:

    proxy        http/proxy.py      once per node: the whole body is read and bounded before a
                                    replica hears of it; a CircuitBreaker refuses while all are full
    headers      http/admit.py      declared length and the client's time limit
    body, images Admission (here)   bytes held and images waiting, counted for each replica
    model        models/batching.py BatchGate: waits for a place in the next batch, refuses nothing

gRPC has no proxy of ours and starts at `Admission`; `Service.admit` adds the time limit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from serving.config import UserConfig
from serving.errors import ContentTooLargeError, OverloadedError

BODIES_AT_ONCE = 4  # of the largest size allowed, or more of smaller ones

# What a compressed body may expand to: this much anyway, and this much for each of its bytes.
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
    """Check how far a compressed body has expanded.

    Raises:
        ContentTooLargeError: no image and no tensor compresses that well.
    """
    if byte_count > _FREE_BYTES + _BYTES_PER_BYTE * sent_bytes:
        raise ContentTooLargeError(
            f"{sent_bytes:,} compressed bytes expand to over {byte_count:,}; send them uncompressed"
        )


@dataclass(slots=True)
class Ticket:
    """What one request holds while it is being answered."""

    images: int
    byte_count: int  # of its body, decompressed
    sent_bytes: int


class Admission:
    """Admits requests that can be answered in time, and refuses the others at once.

    A request that arrives alone is always admitted. Its images count once its body has been read.
    """

    def __init__(self, config: UserConfig) -> None:
        self.config = config
        self._images = 0
        self._bytes = 0

    @contextmanager
    def admit(self, byte_count: int, per_image_s: float) -> Iterator[Ticket]:
        """Admit a request whose body has `byte_count` bytes, as declared, and hold room for it.

        Raises:
            ContentTooLargeError: the body is over the limit.
            OverloadedError: there is no room even for one image, or for so many bytes.
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
        """Hold room for the body as far as it was read and decompressed.

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
        """Hold room for the images found in the body.

        Raises:
            OverloadedError: there is no room for so many.
        """
        self._check_images(images, per_image_s)
        ticket.images += images
        self._images += images

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

import pytest

from serving.admission import Admission
from serving.config import UserConfig
from serving.errors import OverloadedError


def test_body_that_was_compressed_holds_the_room_that_it_takes():
    admission = Admission(UserConfig(max_body_bytes=100))
    with admission.admit(1, 0.0) as first, admission.admit(1, 0.0) as second:
        for ticket in (first, second):
            admission.note_body(ticket, 1, 100)
        assert (second.sent_bytes, second.byte_count) == (1, 100)

        admission.config = UserConfig(max_body_bytes=50)
        with admission.admit(0, 0.0) as third, pytest.raises(OverloadedError):
            admission.note_body(third, 1, 1)

    with admission.admit(50, 0.0) as ticket:  # all of it was given back
        admission.note_body(ticket, 50, 200)


def test_images_that_are_no_more_hold_no_room():
    admission = Admission(UserConfig(max_queue_s=1))
    with admission.admit(1, 1.0) as ticket:
        admission.grow(ticket, 3, 1.0)
        with pytest.raises(OverloadedError), admission.admit(1, 1.0):
            pass

    with admission.admit(1, 1.0):
        pass

"""A tensor's elements as bytes, as they follow the JSON and as `raw_*_contents` has them."""

import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import BadRequestError
from serving.protocol.tensors import NUMPY_TYPES, Tensor, check_count, quote

_LENGTH = struct.Struct("<I")  # before each element of a BYTES tensor


def read_raw(name: str, datatype: str, shape: tuple[int, ...], content: memoryview) -> Tensor:
    """Read a tensor. Its array shares the memory of `content` and is read-only.

    Raises:
        BadRequestError: `content` has too few or too many bytes.
    """
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, _split(name, shape, content))
    dtype = NUMPY_TYPES[datatype]
    expected = math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise BadRequestError(
            f"input {quote(name)} of datatype {datatype} and shape {list(shape)} takes "
            f"{expected} bytes, got {len(content)}"
        )
    if datatype == "BOOL":  # any byte other than 0 is true; numpy takes only 1
        array: npt.NDArray[Any] = np.frombuffer(content, np.uint8) != 0
    else:
        array = np.frombuffer(content, dtype)
    return Tensor(name, datatype, shape, array.reshape(shape))


def write_raw(tensor: Tensor) -> bytes:
    """Return the elements of `tensor` as bytes."""
    if isinstance(tensor.data, list):
        return b"".join(_LENGTH.pack(len(element)) + element for element in tensor.data)
    return tensor.data.astype(NUMPY_TYPES[tensor.datatype], copy=False).tobytes()


def _split(name: str, shape: tuple[int, ...], content: memoryview) -> list[bytes]:
    elements: list[bytes] = []
    start = 0
    while start < len(content):
        if len(content) - start < _LENGTH.size:
            raise BadRequestError(
                f"BYTES data of input {quote(name)} ends with {len(content) - start} bytes that "
                f"are no length; before each element stands its length in {_LENGTH.size} bytes"
            )
        (length,) = _LENGTH.unpack_from(content, start)
        start += _LENGTH.size
        if length > len(content) - start:
            raise BadRequestError(
                f"element {len(elements)} of BYTES input {quote(name)} has a length of {length} "
                f"bytes, but only {len(content) - start} follow; before each element stands its "
                "length, little-endian"
            )
        elements.append(bytes(content[start : start + length]))
        start += length
    check_count(name, shape, len(elements))
    return elements

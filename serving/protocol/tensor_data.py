"""A tensor's elements: as bytes, after the JSON and in `raw_*_contents`; or as a JSON list."""

import base64
import binascii
import math
import struct
from itertools import chain
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


def read_json_data(
    name: str, datatype: str, shape: tuple[int, ...], data: list[Any]
) -> npt.NDArray[Any] | list[bytes]:
    """Read the elements of a tensor. An element of BYTES is a string, base64 of the bytes.

    Returns:
        An array of `shape`; of BYTES, the elements in row-major order.

    Raises:
        BadRequestError: they do not fit the shape or the datatype.
    """
    elements = _flatten(name, shape, data)
    if datatype == "BYTES":
        return [_decode(name, index, element) for index, element in enumerate(elements)]
    if datatype == "FP16":
        raise BadRequestError(f"input {quote(name)} of datatype FP16 cannot be JSON; send binary")
    return _to_array(name, datatype, elements).reshape(shape)


def write_json_data(tensor: Tensor) -> list[Any]:
    """Return the elements of `tensor`, flat."""
    if isinstance(tensor.data, list):
        return [element.decode() for element in tensor.data]
    elements: list[Any] = tensor.data.ravel().tolist()
    return elements


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


def _flatten(name: str, shape: tuple[int, ...], data: list[Any]) -> list[Any]:
    if list not in map(type, data):
        check_count(name, shape, len(data))
        return data
    rows: list[Any] = [data]
    for size in shape:
        if not all(isinstance(row, list) and len(row) == size for row in rows):
            raise BadRequestError(
                f"data of input {quote(name)} is neither flat nor nested as its shape "
                f"{list(shape)} says"
            )
        rows = list(chain.from_iterable(rows))
    return rows


def _to_array(name: str, datatype: str, elements: list[Any]) -> npt.NDArray[Any]:
    dtype = NUMPY_TYPES[datatype]
    kinds: set[type] = {bool} if dtype.kind == "b" else {int, float} if dtype.kind == "f" else {int}
    if not kinds.issuperset(map(type, elements)):
        value = next(element for element in elements if type(element) not in kinds)
        raise BadRequestError(
            f"data of input {quote(name)} has the element {quote(value)}, which is not {datatype}"
        )
    if dtype.kind in "iu":
        low, high, limits = min(elements), max(elements), np.iinfo(dtype)
        if low < limits.min or high > limits.max:
            raise BadRequestError(
                f"data of input {quote(name)} goes from {quote(low)} to {quote(high)}; "
                f"{datatype} takes {limits.min} to {limits.max}"
            )
    try:
        with np.errstate(over="ignore"):  # too large for FP32 becomes infinite
            return np.array(elements, dtype)
    except OverflowError as exc:  # a whole number too large for a float
        raise BadRequestError(
            f"data of input {quote(name)} has an element out of the range of {datatype}"
        ) from exc


def _decode(name: str, index: int, element: object) -> bytes:
    if not isinstance(element, str):
        raise BadRequestError(
            f"element {index} of BYTES input {quote(name)} is {quote(element)}; expected a string, "
            "base64 of the bytes"
        )
    try:
        return base64.b64decode("".join(element.split()), validate=True)  # lines may be wrapped
    except (binascii.Error, ValueError) as exc:
        raise BadRequestError(
            f"element {index} of BYTES input {quote(name)} is not base64 ({exc}); in JSON an image "
            "is a base64 string, or send binary data"
        ) from exc

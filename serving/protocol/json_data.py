"""A tensor's elements in JSON: a list, flat or nested like the shape."""

import base64
import binascii
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import BadRequestError
from serving.protocol.tensors import NUMPY_TYPES, Tensor, check_count, quote


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
        _check_range(name, datatype, min(elements), max(elements))
    try:
        with np.errstate(over="ignore"):  # too large for FP32 becomes infinite
            return np.array(elements, dtype)
    except OverflowError as exc:  # a whole number too large for a float
        raise BadRequestError(
            f"data of input {quote(name)} has an element out of the range of {datatype}"
        ) from exc


def _check_range(name: str, datatype: str, low: int, high: int) -> None:
    limits = np.iinfo(NUMPY_TYPES[datatype])
    if low < limits.min or high > limits.max:
        raise BadRequestError(
            f"data of input {quote(name)} goes from {quote(low)} to {quote(high)}; "
            f"{datatype} takes {limits.min} to {limits.max}"
        )


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

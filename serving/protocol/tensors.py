"""Requests and answers, as they are for both HTTP and gRPC."""

import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.utils import triton_to_np_dtype

from serving.errors import BadRequestError

Parameter = bool | int | float | str

# The protocol's datatypes as numpy's, little-endian on the wire. BYTES has none, since its elements
# have any length.
NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(triton_to_np_dtype(name)).newbyteorder("<")
    for name in (
        *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
        *("FP16", "FP32", "FP64"),
    )
}
DATATYPES = (*NUMPY_TYPES, "BYTES")

MAX_RANK = 16  # numpy takes 32 or more; no model takes more than 4

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120
_short.maxlist = _short.maxdict = 8


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named tensor."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: npt.NDArray[Any] | list[bytes]  # of `shape`; of BYTES, the elements in row-major order


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that the caller asks for."""

    name: str
    binary: bool  # whether to send it as bytes after the JSON
    classification: int = 0  # how many of the best classes to name; 0: all scores, without names


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """A call of `infer`, well-formed, but not yet checked against a model."""

    id: str = ""  # the caller's
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[RequestedOutput, ...] = ()  # none means all
    parameters: Mapping[str, Parameter] = field(default_factory=dict)  # `timeout`: microseconds
    binary_data_output: bool = False  # for outputs that are not in `outputs`


@dataclass(frozen=True, slots=True, kw_only=True)
class InferResponse:
    """The answer to a call of `infer`."""

    model_name: str
    model_version: str
    id: str = ""
    outputs: tuple[Tensor, ...] = ()


def quote(value: object) -> str:
    """Return `value` for an error message, shortened if it is long."""
    return _short.repr(value)


def check_datatype(name: str, datatype: str) -> str:
    """Return `datatype` if it is one that can be read.

    Raises:
        BadRequestError: it is not.
    """
    if datatype not in DATATYPES:
        raise BadRequestError(
            f"datatype {quote(datatype)} of input {quote(name)} cannot be read; "
            f"known are {', '.join(DATATYPES)}"
        )
    return datatype


def check_shape(name: str, dims: Iterable[object]) -> tuple[int, ...]:
    """Return `dims` as a shape: at most 16 whole numbers from 1.

    Raises:
        BadRequestError: they are not.
    """
    shape: list[int] = []
    for dim in dims:
        if type(dim) is not int or not 1 <= dim < 2**63:  # a bool is an int, but not a dimension
            raise BadRequestError(
                f"shape of input {quote(name)} has the dimension {quote(dim)}; "
                "expected whole numbers from 1"
            )
        shape.append(dim)
        if len(shape) > MAX_RANK:
            raise BadRequestError(
                f"shape of input {quote(name)} has more than {MAX_RANK} dimensions"
            )
    return tuple(shape)


def check_names(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Return `tensors` if their names differ.

    Raises:
        BadRequestError: two have the same name.
    """
    known: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.name in known:
            raise BadRequestError(f"input {quote(tensor.name)} is in the request twice")
        known[tensor.name] = tensor
    return tuple(known.values())


def check_count(name: str, shape: tuple[int, ...], got: int) -> None:
    """Check that a tensor of `shape` has `got` elements.

    Raises:
        BadRequestError: it has more or fewer.
    """
    expected = math.prod(shape)
    if got != expected:
        raise BadRequestError(
            f"input {quote(name)} of shape {list(shape)} has {expected} elements, "
            f"but its data has {got}"
        )

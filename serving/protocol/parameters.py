"""The parameters of requests, inputs and outputs: their names, types and ranges."""

from collections.abc import Collection, Mapping

from serving.errors import BadRequestError, UnimplementedError
from serving.protocol.tensors import Parameter, quote

# The request parameters that the protocol names. Sequences and priorities change nothing here, as
# with Triton's models that have neither.
_RESERVED: dict[str, tuple[type, ...]] = {
    "sequence_id": (int, str),
    "sequence_start": (bool,),
    "sequence_end": (bool,),
    "priority": (int,),
    "timeout": (int,),
    "binary_data_output": (bool,),
}
_UNSIGNED = {"sequence_id", "priority", "timeout"}


def check_request_parameters(
    parameters: Mapping[str, object], allowed: Collection[str] = ()
) -> dict[str, Parameter]:
    """Return a request's parameters, checked; ones that the protocol does not name are kept.

    Names that begin with `triton_` must be among those `allowed`.

    Raises:
        BadRequestError: one has the wrong type, or a reserved name.
    """
    checked: dict[str, Parameter] = {}
    for name, value in parameters.items():
        if name.startswith("triton_") and name not in allowed:
            raise BadRequestError(
                f"parameter {quote(name)}: names that begin with 'triton_' are reserved"
            )
        kinds = _RESERVED.get(name, (bool, int, float, str))
        if not isinstance(value, bool | int | float | str) or type(value) not in kinds:
            raise BadRequestError(_wrong_type("the request", name, value, kinds))
        low = 0 if name in _UNSIGNED else -(2**63)
        if type(value) is int and not low <= value < 2**64:
            raise BadRequestError(
                f"parameter {quote(name)} of the request is out of range; "
                f"expected {low} to {2**64 - 1}"
            )
        checked[name] = value
    return checked


def read_size(owner: str, parameters: Mapping[str, object], name: str) -> int | None:
    """Return the parameter `name`, a whole number from 0; None if it is not given.

    Raises:
        BadRequestError: it is something else.
    """
    if name not in parameters:
        return None
    value = parameters[name]
    if type(value) is not int or not 0 <= value < 2**63:
        raise BadRequestError(
            f"parameter {name!r} of {owner} is {quote(value)}; expected a whole number from 0"
        )
    return value


def read_flag(owner: str, parameters: Mapping[str, object], name: str, default: bool) -> bool:
    """Return the parameter `name`, true or false; `default` if it is not given.

    Raises:
        BadRequestError: it is something else.
    """
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadRequestError(_wrong_type(owner, name, value, (bool,)))
    return value


def refuse_shared_memory(owner: str, parameters: Mapping[str, object]) -> None:
    """Check that `owner`, an input or output, does not ask for shared memory.

    Raises:
        UnimplementedError: it does.
    """
    if any(name.startswith("shared_memory_") for name in parameters):
        raise UnimplementedError(
            f"{owner} asks for shared memory, which is not supported; send the data with the "
            "request, and take it from the response"
        )


def _wrong_type(owner: str, name: str, value: object, kinds: tuple[type, ...]) -> str:
    expected = " or ".join(kind.__name__ for kind in kinds)
    return f"parameter {quote(name)} of {owner} is {quote(value)}; expected {expected}"

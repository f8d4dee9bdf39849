"""Texts as 16 bytes each, in arrays, so that the uris of 100 million objects fit into memory."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Digests = npt.NDArray[np.bytes_]  # S16


def digest(texts: Iterable[str]) -> Digests:
    """Return a digest per text, in their order."""
    return np.array([hashlib.blake2b(x.encode(), digest_size=16).digest() for x in texts], "S16")


def digest_uris(table: pa.Table) -> Digests:
    """Return the digests of a table's `uri` column."""
    return digest(table.column("uri").to_pylist())


def join(arrays: Iterable[Digests]) -> Digests:
    """Concatenate arrays, of which there may be none."""
    return np.concatenate([np.empty(0, "S16"), *arrays])


def find(values: Digests, within: Digests) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Look values up in a sorted array: where each would be, and whether it is there."""
    if not len(within):
        return np.zeros(len(values), np.intp), np.zeros(len(values), np.bool_)
    places = np.minimum(np.searchsorted(within, values), len(within) - 1)
    return places, within[places] == values


@dataclass(slots=True)
class DigestSet:
    """A set that grows, in sorted arrays that are merged as it does."""

    arrays: list[Digests] = field(default_factory=list)

    def first_times(self, values: Digests) -> npt.NDArray[np.bool_]:
        """Add values; say of each whether it is new."""
        fresh = np.zeros(len(values), np.bool_)
        fresh[np.unique(values, return_index=True)[1]] = True
        for array in self.arrays:
            fresh &= ~find(values, array)[1]
        array = np.sort(values[fresh])
        while self.arrays and len(self.arrays[-1]) <= len(array):
            array = np.sort(np.concatenate([self.arrays.pop(), array]), kind="stable")
        if len(array):
            self.arrays.append(array)
        return fresh

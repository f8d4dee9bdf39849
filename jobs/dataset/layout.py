"""The names of files and folders in a predictions dataset.

Only files of rows end in `.parquet`, so that a reader can take all of them under the root.
"""

from dataclasses import dataclass
from typing import Final

from jobs.storage import resolve_uri

CHUNK: Final = ".chunk"
# What earlier releases called manifests and chunks; theirs are read, too.
EARLIER: Final = ".parquet"


class _Under:
    """The uri of a name under the root."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, layout: "Layout", owner: object) -> str:
        return f"{layout.root}/{self._name}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The uris of one predictions dataset.

    Attributes:
        root: the folder, without a final slash.
        generation: 0 labels everything; each later one what is new or has changed since.
    """

    root: str
    generation: int = 0

    success = _Under("_SUCCESS")  # written last
    ours = _Under("_labelmill")  # everything but the rows
    job = _Under("_labelmill/job.json")
    probe = _Under("_labelmill/probe")  # shows whether the output can be written
    manifests = _Under("_labelmill/manifest")  # what all generations listed
    removed = _Under("_labelmill/removed.manifest")  # objects that are no longer in the input
    removed_earlier = _Under(f"_labelmill/removed{EARLIER}")
    chunks = _Under("_labelmill/chunks")  # finished ones
    attempts = _Under("_labelmill/attempts")  # marks of what was begun and has not ended

    @classmethod
    def of(cls, output: str) -> "Layout":
        """Lay out the folder or prefix that the user named."""
        return cls(resolve_uri(output).rstrip("/"))

    @property
    def manifest(self) -> str:
        """Return the folder of what this generation listed."""
        return f"{self.manifests}/generation-{self.generation:05d}"

    def chunk(self, chunk_id: str) -> str:
        """Return the uri of one finished chunk."""
        return f"{self.chunks}/{chunk_id}{CHUNK}"

    def attempt(self, chunk_id: str) -> str:
        """Return the uri of the mark that counts the attempts at one thing, such as a chunk."""
        return f"{self.attempts}/{chunk_id}"

    def outcome(self, outcome: str) -> str:
        """Return the folder of rows with one outcome, `ok` or `error`."""
        return f"{self.root}/outcome={outcome}"

    def part(self, outcome: str, number: int) -> str:
        """Return the uri of one file of this generation's rows."""
        return f"{self.outcome(outcome)}/part-{self.generation:05d}-{number:05d}.parquet"

    def is_later(self, uri: str) -> bool:
        """Say whether a file holds rows of this generation or a later one."""
        name = uri.rpartition("/")[2]
        return name.startswith("part-") and name >= f"part-{self.generation:05d}-"

    @property
    def examples(self) -> tuple[str, ...]:
        """Return uris such as a job writes, one of each kind."""
        ours = (self.job, f"{self.manifest}/complete.json", self.removed, self.chunk("0-0"))
        return (self.success, self.part("ok", 0), self.part("error", 0), *ours)

    @property
    def of_a_run(self) -> tuple[str, str]:
        """Return the folders that are empty when nothing is left to do."""
        return self.chunks, self.attempts

    @property
    def everything(self) -> tuple[str, ...]:
        """Return all that labelmill writes under the root, except the record."""
        rows = (self.outcome("ok"), self.outcome("error"))
        removed = (self.removed, self.removed_earlier)
        return (self.success, *rows, *self.of_a_run, self.manifests, *removed)

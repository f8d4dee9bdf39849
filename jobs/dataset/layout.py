"""Where things lie in a predictions dataset."""

from dataclasses import dataclass

from jobs.storage import to_uri


@dataclass(frozen=True, slots=True)
class Layout:
    """The uris of one predictions dataset.

    Attributes:
        root: without a slash at its end.
        generation: 0 labels everything; each later one what has come or changed since.
    """

    root: str
    generation: int = 0

    @classmethod
    def of(cls, output: str) -> "Layout":
        """Lay out the folder or prefix that the user named."""
        return cls(to_uri(output).rstrip("/"))

    @property
    def ours(self) -> str:
        """Return the folder of what is not rows."""
        return f"{self.root}/_labelmill"

    @property
    def job(self) -> str:
        """Return the uri of the job's record."""
        return f"{self.ours}/job.json"

    @property
    def success(self) -> str:
        """Return the uri of the mark that is written last."""
        return f"{self.root}/_SUCCESS"

    @property
    def probe(self) -> str:
        """Return the uri of the object that shows whether the output can be written."""
        return f"{self.ours}/probe"

    @property
    def manifest(self) -> str:
        """Return the folder of what this generation listed."""
        return f"{self.manifests}/generation-{self.generation:05d}"

    @property
    def manifests(self) -> str:
        """Return the folder of what all generations listed."""
        return f"{self.ours}/manifest"

    @property
    def removed(self) -> str:
        """Return the uri of the table of objects that are no longer in the input."""
        return f"{self.ours}/removed.parquet"

    @property
    def chunks(self) -> str:
        """Return the folder of finished chunks."""
        return f"{self.ours}/chunks"

    def chunk(self, chunk_id: str) -> str:
        """Return the uri of one finished chunk."""
        return f"{self.chunks}/{chunk_id}.parquet"

    @property
    def attempts(self) -> str:
        """Return the folder of marks of what was begun and has not ended."""
        return f"{self.ours}/attempts"

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
        """Say whether a file is one of rows of this generation or a later one."""
        name = uri.rpartition("/")[2]
        return name.startswith("part-") and name >= f"part-{self.generation:05d}-"

    @property
    def of_a_run(self) -> tuple[str, str]:
        """Return the folders that are empty when nothing is left to do."""
        return self.chunks, self.attempts

    @property
    def everything(self) -> tuple[str, ...]:
        """Return all that labelmill writes under the root, but for the record."""
        return (
            self.success,
            self.outcome("ok"),
            self.outcome("error"),
            *self.of_a_run,
            self.manifests,
            self.removed,
        )

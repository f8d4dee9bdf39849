"""`_labelmill/job.json`: what was asked, how it was done, and what the counts are."""

import json
from typing import Any

from jobs.dataset.layout import Layout
from jobs.errors import SpecError
from jobs.storage import Storage


def read_record(storage: Storage, layout: Layout) -> dict[str, Any] | None:
    """Read the record of the job that an output belongs to; None if there is no job yet."""
    if storage.head(layout.job) is None:
        return None
    try:
        record: dict[str, Any] = json.loads(storage.read(layout.job).data)
    except ValueError as exc:
        raise SpecError(f"{layout.job} is damaged: {exc}; choose another OUTPUT") from exc
    return record


def write_record(storage: Storage, layout: Layout, record: dict[str, Any]) -> None:
    """Write the record, replacing an earlier one."""
    storage.write(layout.job, json.dumps(record, indent=2).encode())

"""Files of rows → one table whose columns have one type throughout, streamed."""

from jobs.inputs.tables.lists import open_lists
from jobs.inputs.tables.parquet_files import ParquetTable, open_parquet
from jobs.inputs.tables.table import Rows, Table, holds_bytes, table_errors, with_text

__all__ = [
    "ParquetTable",
    "Rows",
    "Table",
    "holds_bytes",
    "open_lists",
    "open_parquet",
    "table_errors",
    "with_text",
]

"""Parquet files, written batch by batch so that memory does not grow with their length."""

import os
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import pyarrow
import pyarrow.parquet

ROWS = 1000  # rows of a table that are converted at a time
TEXT, WHOLE = pyarrow.string(), pyarrow.int64()
KINDS = {str: TEXT, int: WHOLE, float: pyarrow.float64(), bool: pyarrow.bool_()}
TYPES = {"correct": pyarrow.bool_(), "temperature": pyarrow.float64(), "top_k": WHOLE, "seed": WHOLE, "index": WHOLE}


def write_batches(path: Path, batches: Iterable[list[dict]], schema: pyarrow.Schema) -> None:
    """Write a Parquet file batch by batch, under a temporary name until it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with pyarrow.parquet.ParquetWriter(part, schema) as writer:
            for batch in batches:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_rows(path: Path, rows: Iterator[dict], further: dict[str, type]) -> None:
    """Write at least one row as Parquet; columns are texts unless TYPES or `further` says otherwise."""
    first = next(rows)
    types = TYPES | {name: KINDS[kind] for name, kind in further.items()}
    schema = pyarrow.schema([(name, types.get(name, TEXT)) for name in first])
    write_batches(path, _batches(chain([first], rows)), schema)


def _batches(rows: Iterator[dict]) -> Iterator[list[dict]]:
    while batch := list(islice(rows, ROWS)):
        yield batch

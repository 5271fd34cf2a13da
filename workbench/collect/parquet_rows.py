"""Rows of a Parquet file, a few at a time, and none of them unpacked before its size is known.

A file of a kilobyte can say "this text, two thousand times": in its footer it is small, as rows it is gigabytes. So
texts are read as references into a dictionary, whose size is that of the file, and a batch is only made into rows when
the sum of what its references stand for is within the limit.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.collect.reading import FileError, Item, item

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 100  # rows
BATCH_BYTES = 16_000_000  # of rows made at a time


def rows(path: Path, limit: int) -> Iterator[Item]:
    """The rows of a file that unpacks to at most `limit` bytes, numbered from 1. Raises FileError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    too_large = FileError(f"{path.name} unpacks to more than {limit / 1e6:g} MB; split it")
    try:
        with path.open("rb") as opened, pq.ParquetFile(opened) as file:
            meta = file.metadata
            if _unpacked(meta) > limit:
                raise too_large
            texts, batch_rows = _text_columns(meta), _batch_rows(meta)
        remaining, number = limit, 0
        with path.open("rb") as opened, pq.ParquetFile(opened, read_dictionary=texts) as file:
            for part in _parts_of(file, batch_rows):
                remaining -= part.size
                if remaining < 0:
                    raise too_large
                for row in part.batch.to_pylist():
                    number += 1
                    yield item(number, row)
    except (pa.ArrowException, OSError) as error:
        raise FileError(f"{path.name} is not a readable Parquet file: {str(error)[:200]}") from error


def _unpacked(meta: Any) -> int:
    """What the footer says all values take: as stored, or four bytes for each reference if that is more."""
    groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    return sum(max(column.total_uncompressed_size, 4 * column.num_values) for column in columns)


def _text_columns(meta: Any) -> list[str]:
    columns = [meta.schema.column(number) for number in range(len(meta.schema))]
    texts = [column for column in columns if column.physical_type == "BYTE_ARRAY"]
    return [column.path for column in texts if column.logical_type.type in ("STRING", "JSON", "ENUM", "NONE")]


def _batch_rows(meta: Any) -> int:
    """Rows to read at a time: fewer where each holds many bytes of a fixed length."""
    lengths = [meta.schema.column(number).length or 0 for number in range(len(meta.schema))]
    return max(1, min(BATCH, BATCH_BYTES // max(1, sum(lengths))))


def _parts_of(file: Any, batch_rows: int) -> "Iterator[_Part]":
    """The file in parts. A row group at a time: each has dictionaries of its own, which one batch cannot span."""
    for group in range(file.metadata.num_row_groups):
        for batch in file.iter_batches(batch_size=batch_rows, row_groups=[group]):
            yield from _parts(batch)


class _Part:
    """Some rows and the bytes they take."""

    def __init__(self, batch: "pa.RecordBatch"):
        self.batch, self.size = batch, sum(_size(column) for column in batch.columns)


def _parts(batch: "pa.RecordBatch") -> Iterator[_Part]:
    """The batch in pieces of at most BATCH_BYTES, or of one row."""
    part = _Part(batch)
    if part.size <= BATCH_BYTES or batch.num_rows == 1:
        yield part
        return
    half = batch.num_rows // 2
    yield from _parts(batch.slice(0, half))
    yield from _parts(batch.slice(half))


def _size(array: "pa.Array") -> int:
    """Bytes of an array with every reference replaced by what it stands for."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.DictionaryArray):
        lengths = pc.binary_length(array.dictionary)
        return pc.sum(lengths.take(array.indices)).as_py() or 0
    if isinstance(array, pa.MapArray):
        return sum(
            _size(part.slice(array.offsets[0].as_py(), array.offsets[-1].as_py() - array.offsets[0].as_py()))
            for part in (array.keys, array.items)
        )
    if isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        return 4 * len(array) + _size(array.flatten())
    if isinstance(array, pa.StructArray):
        return sum(_size(part) for part in array.flatten())
    size: int = array.nbytes
    return size

"""pyarrow's S3 filesystem: the C++ SDK beneath, a partitioned Parquet data set on top."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.fs

from tests.clients.server import MIB, Server, check, payload, same


def version() -> str:
    return str(pyarrow.__version__)


def run(server: Server, work: Path) -> str:
    options = {"tls_ca_file_path": server.authority} if server.authority else {}
    fs = pyarrow.fs.S3FileSystem(
        access_key=server.access_key,
        secret_key=server.secret_key,
        region=server.region,
        scheme=server.scheme,
        endpoint_override=server.netloc,
        force_virtual_addressing=server.is_virtual,
        allow_bucket_creation=True,
        allow_bucket_deletion=True,
        **options,
    )
    bucket = server.bucket()
    fs.create_dir(bucket)
    body = payload(13 * MIB)
    with fs.open_output_stream(f"{bucket}/raw/large", metadata={"Content-Type": "text/x"}) as out:
        out.write(body)
    with fs.open_input_file(f"{bucket}/raw/large") as stream:
        same(stream.read(), body, "body")
        stream.seek(6 * MIB)
        same(stream.read(50), body[6 * MIB : 6 * MIB + 50], "range")
        metadata = {name.lower(): value for name, value in stream.metadata().items()}
        same(metadata.get("content-type"), b"text/x", f"metadata {metadata}")
    rows = 50_000
    table = pyarrow.table(
        {
            "n": range(rows),
            "part": [n % 4 for n in range(rows)],
            "text": [f"é{n}" for n in range(rows)],
        }
    )
    pyarrow.dataset.write_dataset(
        table, f"{bucket}/set", filesystem=fs, format="parquet", partitioning=["part"]
    )
    found = pyarrow.dataset.dataset(f"{bucket}/set", filesystem=fs, partitioning=["part"])
    same(found.count_rows(), rows, "rows")
    some = found.to_table(filter=pyarrow.dataset.field("n") == 1234, columns=["text", "part"])
    same(some.to_pylist(), [{"text": "é1234", "part": 2}], "a filtered read")
    selector = pyarrow.fs.FileSelector(bucket, recursive=True)
    files = [info.path for info in fs.get_file_info(selector) if info.is_file]
    same(len(files), 5, "files")
    fs.copy_file(f"{bucket}/raw/large", f"{bucket}/raw/copy")
    fs.move(f"{bucket}/raw/copy", f"{bucket}/raw/moved")
    same(fs.get_file_info(f"{bucket}/raw/moved").size, len(body), "moved")
    fs.delete_dir_contents(f"{bucket}/set")
    fs.delete_dir(bucket)
    kind = fs.get_file_info(bucket).type
    check(kind is pyarrow.fs.FileType.NotFound, "the bucket is gone")
    return "multipart stream, ranges, Parquet set written, filtered, counted, copy, move, delete"

"""Moves Iceberg tables whose metadata holds paths of another place: rewrites those paths in a copy of their folder.

Some data files were replaced after their manifests were written; their sizes are set right on the way.
"""

import gzip
import json
import pathlib

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq


def relocate(folder, path_map):
    """Replaces the prefix path_map["from"] by the URL of path_map["to"] in all metadata, manifests and delete files.

    `folder` is the table; `path_map["root"]` is the folder that `to` is relative to.
    """
    start, end = path_map["from"], path_map["root"].as_uri() + "/" + path_map["to"]

    def moved(text):
        for prefix in (start, "./" + start):
            if (text + "/").startswith(prefix):
                return (end + (text + "/")[len(prefix) :]).removesuffix("/")
        return text

    for path in folder.rglob("*.json"):
        if path.name.endswith(".metadata.json"):
            rewrite_metadata(path, moved)
    avro = list(folder.rglob("*.avro"))
    # Manifests first: their lists hold their lengths.
    lists = [path for path in avro if rewrite_manifest(path, moved)]
    for path in lists:
        rewrite_list(path, moved)
    for path in folder.rglob("*.parquet"):
        rewrite_position_deletes(path, moved)


def everywhere(value, moved):
    if isinstance(value, dict):
        return {key: everywhere(field, moved) for key, field in value.items()}
    if isinstance(value, list):
        return [everywhere(item, moved) for item in value]
    return moved(value) if isinstance(value, str) else value


def rewrite_metadata(path, moved):
    packed = path.read_bytes()
    is_packed = packed[:2] == b"\x1f\x8b"
    text = (gzip.decompress(packed) if is_packed else packed).decode()
    text = json.dumps(everywhere(json.loads(text), moved)).encode()
    path.write_bytes(gzip.compress(text) if is_packed else text)


def read_avro(path):
    with path.open("rb") as stream:
        reader = fastavro.reader(stream)
        return reader.writer_schema, reader.metadata, list(reader)


def write_avro(path, schema, metadata, records):
    own = {key: text for key, text in metadata.items() if not key.startswith("avro.")}
    with path.open("wb") as stream:
        fastavro.writer(stream, schema, records, codec=metadata.get("avro.codec", "null"), metadata=own)


def rewrite_manifest(path, moved):
    """Rewrites a manifest; a manifest list is left alone and answers True."""
    schema, metadata, records = read_avro(path)
    if any(field["name"] == "manifest_path" for field in schema["fields"]):
        return True
    for record in records:
        file = record["data_file"]
        for name in ("file_path", "referenced_data_file"):
            if file.get(name):
                file[name] = moved(file[name])
        place = pathlib.Path(file["file_path"].removeprefix("file://"))
        if place.exists():
            file["file_size_in_bytes"] = place.stat().st_size
    write_avro(path, schema, metadata, records)
    return False


def rewrite_list(path, moved):
    schema, metadata, records = read_avro(path)
    for record in records:
        record["manifest_path"] = moved(record["manifest_path"])
        file = pathlib.Path(record["manifest_path"].removeprefix("file://"))
        if record["manifest_length"] and file.exists():
            record["manifest_length"] = file.stat().st_size
    write_avro(path, schema, metadata, records)


def rewrite_position_deletes(path, moved):
    schema = pq.read_schema(path)
    if schema.names[:2] != ["file_path", "pos"]:
        return
    rows = pq.read_table(path)
    paths = pa.array([moved(text) for text in rows["file_path"].to_pylist()], rows.schema.field("file_path").type)
    pq.write_table(rows.set_column(0, rows.schema.field("file_path"), paths), path)

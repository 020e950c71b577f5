"""Which of the files that an Iceberg table's metadata name do not exist. {"data": folder of an embedded lake, "table"}."""

import json
import os
import sys

from pyiceberg.catalog import load_catalog

from sample import end

request = json.loads(sys.argv[1])
data = request["data"]
catalog = load_catalog("lake", type="sql", uri=f"sqlite:///{data}/catalog.db", warehouse=f"file://{data}/lake")
table = catalog.load_table(request["table"])
named = {table.metadata_location}
for snapshot in table.snapshots():
    named.add(snapshot.manifest_list)
    for manifest in snapshot.manifests(table.io):
        named.add(manifest.manifest_path)
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            named.add(entry.data_file.file_path)
missing = sorted(path for path in named if not os.path.exists(path.removeprefix("file://")))
end({"missing": missing, "count": len(named)})

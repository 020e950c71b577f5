"""The files that deltalake would delete without any retention: {"folder": of a Delta table} to their names."""

import json
import sys

from deltalake import DeltaTable

from sample import end

table = DeltaTable(json.loads(sys.argv[1])["folder"])
files = table.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False, full=True)
end(sorted(file.rsplit("/", 1)[-1] for file in files))

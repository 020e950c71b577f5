"""PyIceberg as the other engine: writes or reads one table. Argument and answer are JSON objects.

{"catalog": {properties with "name"}, "table": "namespace.name", "do": "write" | "read"}
"""

import json
import sys

from pyiceberg.catalog import load_catalog

from sample import end, sample, summary

request = json.loads(sys.argv[1])
catalog = load_catalog(**request["catalog"])
if request["do"] == "write":
    rows = sample()
    catalog.create_namespace_if_not_exists(request["table"].split(".")[0])
    table = catalog.create_table(request["table"], schema=rows.schema)
    with table.update_spec() as update:
        update.add_identity("name")
    # Two commits, so that there is more than one manifest.
    table.append(rows.slice(0, 400))
    table.append(rows.slice(400))
end(summary(catalog.load_table(request["table"]).scan().to_arrow()))

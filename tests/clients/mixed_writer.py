"""Another engine that writes to a table at the same time as others. {"seed", "seconds", "first": id, and either "folder" of
a Delta table, to which deltalake appends, or "catalog" and "table", from which PyIceberg also deletes its own rows}.

Every statement either took place or did not; one whose commit was overtaken is tried again from the newest version. The
answer is what its rows are: {id: v}.
"""

import json
import random
import sys
import time

import pyarrow as pa

from sample import end

request = json.loads(sys.argv[1])
rng = random.Random(request["seed"])
until = time.monotonic() + request["seconds"]
next_id = request["first"]
rows = {}
overtaken = 0


def batch(ids):
    return pa.table({"id": pa.array(ids, pa.int64()), "writer": pa.array([9] * len(ids), pa.int64()),
                     "v": pa.array([1] * len(ids), pa.int64())})


def retried(change, conflict):
    global overtaken
    for _ in range(200):
        try:
            return change()
        except conflict:
            overtaken += 1
            time.sleep(rng.random() / 10)
    raise RuntimeError("every commit was overtaken")


if "folder" in request:
    from deltalake import write_deltalake
    from deltalake.exceptions import CommitFailedError

    # Its append counts as one that read the whole table, so that a file removed at the same time refuses it.
    def append(ids):
        retried(lambda: write_deltalake(request["folder"], batch(ids), mode="append"), CommitFailedError)

    delete = None
else:
    from pyiceberg.catalog import load_catalog
    from pyiceberg.exceptions import CommitFailedException, ValidationException
    from pyiceberg.expressions import In

    # Another commit came first, and what it wrote may be about the same rows.
    conflicts = (CommitFailedException, ValidationException)
    catalog = load_catalog(**request["catalog"])

    def table():
        return catalog.load_table(request["table"])

    def append(ids):
        retried(lambda: table().append(batch(ids)), conflicts)

    def delete(ids):
        retried(lambda: table().delete(In("id", ids)), conflicts)


while time.monotonic() < until:
    if delete is not None and rows and rng.random() < 0.3:
        gone = rng.sample(sorted(rows), min(len(rows), 2))
        delete(gone)
        for id in gone:
            del rows[id]
    else:
        ids = list(range(next_id, next_id + rng.randint(1, 4)))
        next_id += len(ids)
        append(ids)
        rows.update({id: 1 for id in ids})
    time.sleep(rng.random() / 5)
end({"rows": {str(id): v for id, v in rows.items()}, "overtaken": overtaken})

"""The rows of tests/e2e/delta_commits.rs, as another writer makes them."""

import datetime
import decimal

import pyarrow as pa

PARTS = ["plain", "a b/%ü=?", None]


def rows(first, last):
    """Rows with the ids from `first` to `last`, which is not one of them."""
    ids = range(first, last)
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "name": pa.array([None if i % 10 == 9 else f"n{i}" for i in ids], pa.string()),
            "amount": pa.array([decimal.Decimal(i).scaleb(-2) for i in ids], pa.decimal128(12, 2)),
            "day": pa.array([datetime.date(2024, 1, 1) + datetime.timedelta(days=i % 400) for i in ids], pa.date32()),
            "at": pa.array([start + datetime.timedelta(microseconds=i) for i in ids], pa.timestamp("us", tz="UTC")),
            "part": pa.array([PARTS[i % 3] for i in ids], pa.string()),
        }
    )

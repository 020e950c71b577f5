"""What models in Python are made of: queries that have not run, and rows of anything that speaks Arrow."""

import pyarrow as pa
import pytest
from dbt_common.exceptions import DbtRuntimeError

from dbt.adapters.lakewing.handle import split
from dbt.adapters.lakewing.python_models import Frame, Session, rows_of, run

MODEL = """
def model(dbt, session):
    orders = dbt.ref("orders")
    return orders.filter((orders.price > 5) & ~(orders["na\\"me"] == "it's")).select("id", (orders.price * 2).alias("twice")).limit(3)

class dbtObj:
    def __init__(self, load):
        self.ref = load
"""


def nothing(sql):
    raise AssertionError(f"a model fetches nothing by itself: {sql}")


def test_a_model_is_one_query():
    frame = run(MODEL, nothing)
    assert isinstance(frame, Frame)
    assert " ".join(frame.sql.split()) == (
        'select * from (select "id", ("price" * 2) as "twice" from (select * from (select * from orders ) as frame '
        """where (("price" > 5) and (not ("na""me" = 'it''s'))) ) as frame ) as frame limit 3"""
    )


def test_conditions_are_known_by_the_server_only():
    frame = Frame("select 1 as a", nothing)
    with pytest.raises(DbtRuntimeError, match="write & "):
        frame.a > 1 and frame.a < 3


def test_rows_speak_arrow():
    table = Session(nothing).createDataFrame([(1, "a"), (2, None)], ["id", "name"])
    assert table.to_pydict() == {"id": [1, 2], "name": ["a", None]}
    assert rows_of(pa.RecordBatchReader.from_batches(table.schema, table.to_batches())) == table
    with pytest.raises(DbtRuntimeError, match="2 values in each row"):
        Session(nothing).createDataFrame([(1,)], ["id", "name"])
    with pytest.raises(DbtRuntimeError, match="speaks Arrow"):
        rows_of(5)


def test_a_body_between_dollar_signs_is_one_statement():
    body = "create function f() returns int as $$ select 1; -- ' $$ language sql"
    assert split(f"{body}; select 2;") == [body, "select 2"]
    assert split("select $x$ ; $$ ; $x$; select '$$;$$'") == ["select $x$ ; $$ ; $x$", "select '$$;$$'"]

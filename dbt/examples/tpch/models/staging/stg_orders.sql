select
    o_orderkey as order_id,
    o_custkey as customer_id,
    o_orderdate as ordered_on,
    o_orderpriority as priority,
    o_totalprice as price
from {{ source('tpch', 'orders') }}

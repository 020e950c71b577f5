select
    c_custkey as customer_id,
    c_name as name,
    n_name as nation
from {{ source('tpch', 'customer') }}
join {{ source('tpch', 'nation') }} on c_nationkey = n_nationkey

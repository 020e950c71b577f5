-- The marts together have as many orders as there are.
select 'by nation' as mart from {{ ref('revenue_by_nation') }}
having sum(orders) <> (select count(*) from {{ source('tpch', 'orders') }})
union all
select 'by month' from {{ ref('orders_by_month') }}
having sum(orders) <> (select count(*) from {{ source('tpch', 'orders') }})

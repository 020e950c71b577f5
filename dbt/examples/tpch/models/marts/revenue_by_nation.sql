{{ config(partition_by='year') }}

select
    nation,
    cast(extract(year from ordered_on) as integer) as year,
    count(*) as orders,
    sum(price) as revenue
from {{ ref('stg_orders') }}
join {{ ref('stg_customers') }} using (customer_id)
group by 1, 2

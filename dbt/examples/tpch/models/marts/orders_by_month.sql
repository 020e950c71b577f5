{{ config(materialized='incremental', unique_key=['month', 'label'], on_schema_change='append_new_columns') }}

select
    cast({{ date_trunc('month', 'ordered_on') }} as date) as month,
    {{ last_day('ordered_on', 'month') }} as ends_on,
    label,
    count(*) as orders,
    sum(price) as revenue
from {{ ref('stg_orders') }}
join {{ ref('priorities') }} using (priority)
{% if is_incremental() %}
where ordered_on >= (select max(month) from {{ this }})
{% endif %}
group by 1, 2, 3

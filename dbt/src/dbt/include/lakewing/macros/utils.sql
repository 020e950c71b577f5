{# SQL functions whose names or places of arguments differ from dbt's own. #}

{% macro lakewing__current_timestamp() -%}
  cast(now() as timestamp(6))
{%- endmacro %}

{% macro lakewing__current_timestamp_backcompat() -%}
  cast(now() as timestamp(6))
{%- endmacro %}

{% macro lakewing__safe_cast(field, type) %}
  try_cast({{ field }} as {{ type }})
{% endmacro %}

{% macro lakewing__listagg(measure, delimiter_text, order_by_clause, limit_num) -%}
  {%- if limit_num -%}
    array_to_string(
      array_slice(array_agg({{ measure }} {{ order_by_clause or '' }}), 1, {{ limit_num }}),
      {{ delimiter_text }}
    )
  {%- else -%}
    string_agg({{ measure }}, {{ delimiter_text }} {{ order_by_clause or '' }})
  {%- endif %}
{%- endmacro %}

{% macro lakewing__date(year, month, day) -%}
  date '{{ modules.datetime.date(year, month, day).strftime("%Y-%m-%d") }}'
{%- endmacro %}

{% macro lakewing__array_construct(inputs, data_type) -%}
  {%- if inputs | length > 0 -%}
    array[ {{ inputs | join(', ') }} ]
  {%- else -%}
    cast(array[] as array<{{ data_type }}>)
  {%- endif %}
{%- endmacro %}

{% macro lakewing__type_numeric() -%}
  decimal(28, 6)
{%- endmacro %}

{# 64 bits, as the numbers of seeds: FLOAT has 32. #}
{% macro lakewing__type_float() -%}
  double
{%- endmacro %}

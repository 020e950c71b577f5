{# How new rows join those of an incremental model. #}

{% macro lakewing__get_incremental_default_sql(arguments) %}
  {% if arguments['unique_key'] %}
    {{ return(get_incremental_merge_sql(arguments)) }}
  {% endif %}
  {{ return(get_incremental_append_sql(arguments)) }}
{% endmacro %}

{# Two commits: first the rows with the new keys leave, then the new rows come. #}
{% macro lakewing__get_delete_insert_merge_sql(target, source, unique_key, dest_columns, incremental_predicates) -%}
  {% set columns = get_quoted_csv(dest_columns | map(attribute='name')) %}
  {% if unique_key %}
    {% set keys = [unique_key] if unique_key is string else unique_key %}
    delete from {{ target.render() }} as DBT_INTERNAL_DEST
    where exists (
      select 1 from {{ source.render() }} as DBT_INTERNAL_SOURCE
      where {% for key in keys %}DBT_INTERNAL_SOURCE.{{ key }} = DBT_INTERNAL_DEST.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
    )
    {%- for predicate in incremental_predicates or [] %}
      and {{ predicate }}
    {%- endfor %};
  {% endif %}
  insert into {{ target.render() }} ({{ columns }})
  select {{ columns }} from {{ source.render() }}
{%- endmacro %}

{# Rows of the batch's window leave and the new ones come, in one commit. #}
{% macro lakewing__get_incremental_microbatch_sql(arguments) %}
  {% set window = [] %}
  {% set event_time = 'DBT_INTERNAL_DEST.' ~ config.get('event_time') %}
  {% if model.batch and model.batch.event_time_start %}
    {% do window.append(event_time ~ " >= cast('" ~ model.batch.event_time_start.strftime('%Y-%m-%d %H:%M:%S') ~ "' as timestamp)") %}
  {% endif %}
  {% if model.batch and model.batch.event_time_end %}
    {% do window.append(event_time ~ " < cast('" ~ model.batch.event_time_end.strftime('%Y-%m-%d %H:%M:%S') ~ "' as timestamp)") %}
  {% endif %}
  {{ return(lakewing__replace_where(arguments, window + (arguments['incremental_predicates'] or []))) }}
{% endmacro %}

{# All rows of the target that meet the predicates leave, all of the source come, in one commit. #}
{% macro lakewing__replace_where(arguments, predicates) -%}
  {% set columns = get_quoted_csv(arguments['dest_columns'] | map(attribute='name')) %}
  merge into {{ arguments['target_relation'].render() }} as DBT_INTERNAL_DEST
  using {{ arguments['temp_relation'].render() }} as DBT_INTERNAL_SOURCE
  on false
  when not matched by source {% for predicate in predicates %} and {{ predicate }}{% endfor %} then delete
  when not matched then insert ({{ columns }}) values ({{ columns }})
{%- endmacro %}

{# Rows of the partitions that the new rows lie in leave and the new rows come, in one commit. #}
{% macro lakewing__get_incremental_insert_overwrite_sql(arguments) %}
  {% set partition_by = config.get('partition_by') %}
  {% set target, source = arguments['target_relation'].render(), arguments['temp_relation'].render() %}
  {% if not partition_by %}
    {% set columns = get_quoted_csv(arguments['dest_columns'] | map(attribute='name')) %}
    {{ return('insert overwrite ' ~ target ~ ' (' ~ columns ~ ') select ' ~ columns ~ ' from ' ~ source) }}
  {% endif %}
  {% set new = adapter.partition_values(partition_by, 'DBT_INTERNAL_SOURCE') %}
  {% set old = adapter.partition_values(partition_by, 'DBT_INTERNAL_DEST') %}
  {% set rows = run_query(
      'select distinct ' ~ new | join(', ') ~ ' from ' ~ source ~ ' as DBT_INTERNAL_SOURCE').rows %}
  {% set partitions = [] %}
  {% for row in rows %}
    {% set values = [] %}
    {% for value in row.values() %}
      {% do values.append(old[loop.index0] ~ (' is null' if value is none else ' = ' ~ lakewing__text(value))) %}
    {% endfor %}
    {% do partitions.append('(' ~ values | join(' and ') ~ ')') %}
  {% endfor %}
  {% set partitions = '(' ~ (partitions | join(' or ') or 'false') ~ ')' %}
  {{ return(lakewing__replace_where(arguments, [partitions] + (arguments['incremental_predicates'] or []))) }}
{% endmacro %}

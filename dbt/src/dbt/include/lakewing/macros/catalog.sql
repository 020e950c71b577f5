{# Which relations there are, and what they consist of. #}

{% macro lakewing__information_schema_name(database) -%}
  {{ adapter.quote(database) }}.information_schema
{%- endmacro %}

{% macro lakewing__list_schemas(database) -%}
  {% call statement('list_schemas', fetch_result=True, auto_begin=False) %}
    select distinct schema_name
    from {{ information_schema_name(database) }}.schemata
    where catalog_name = {{ lakewing__text(database) }}
  {% endcall %}
  {{ return(load_result('list_schemas').table) }}
{% endmacro %}

{% macro lakewing__check_schema_exists(information_schema, schema) -%}
  {% call statement('check_schema_exists', fetch_result=True, auto_begin=False) %}
    select count(*)
    from {{ information_schema_name(information_schema.database) }}.schemata
    where catalog_name = {{ lakewing__text(information_schema.database) }}
      and schema_name = {{ lakewing__text(schema) }}
  {% endcall %}
  {{ return(load_result('check_schema_exists').table) }}
{% endmacro %}

{% macro lakewing__list_relations_without_caching(schema_relation) %}
  {% call statement('list_relations_without_caching', fetch_result=True, auto_begin=False) -%}
    select table_catalog, table_schema, table_name, table_type
    from {{ information_schema_name(schema_relation.database) }}.tables
    where table_catalog = {{ lakewing__text(schema_relation.database) }}
      and table_schema = {{ lakewing__text(schema_relation.schema) }}
    union all
    select routine_catalog, routine_schema, routine_name, routine_type
    from {{ information_schema_name(schema_relation.database) }}.routines
    where routine_catalog = {{ lakewing__text(schema_relation.database) }}
      and routine_schema = {{ lakewing__text(schema_relation.schema) }}
  {%- endcall %}
  {{ return(load_result('list_relations_without_caching').table) }}
{% endmacro %}

{% macro lakewing__get_columns_in_relation(relation) -%}
  {{ return(adapter.describe_columns(relation)) }}
{% endmacro %}

{% macro lakewing__get_catalog(information_schema, schemas) -%}
  {% set names = [] %}
  {% for schema in schemas %}{% do names.append(lakewing__text(schema)) %}{% endfor %}
  {{ return(run_query(lakewing__catalog_query(information_schema.database, 'table_schema in (' ~ names | join(', ') ~ ')'))) }}
{%- endmacro %}

{% macro lakewing__get_catalog_relations(information_schema, relations) -%}
  {{ return(run_query(lakewing__catalog_query(information_schema.database, lakewing__are_relations(relations)))) }}
{%- endmacro %}

{% macro lakewing__get_catalog_for_single_relation(relation) -%}
  {{ return(run_query(lakewing__catalog_query(relation.database, lakewing__are_relations([relation])))) }}
{%- endmacro %}

{# One row for each column of the relations that `condition` selects, in dbt's names for them. #}
{% macro lakewing__catalog_query(database, condition) -%}
  with tables as (
    select table_catalog, table_schema, table_name, table_type
    from {{ information_schema_name(database) }}.tables
    where table_catalog = {{ lakewing__text(database) }} and {{ condition }}
  ),
  columns as (
    select table_schema, table_name, column_name, ordinal_position, data_type
    from {{ information_schema_name(database) }}.columns
    where table_catalog = {{ lakewing__text(database) }} and {{ condition }}
  ),
  comments as (
    select table_schema, table_name, column_name, comment
    from {{ information_schema_name(database) }}.comments
    where table_catalog = {{ lakewing__text(database) }} and {{ condition }}
  )
  select
    tables.table_catalog as table_database,
    tables.table_schema as table_schema,
    tables.table_name as table_name,
    tables.table_type as table_type,
    of_table.comment as table_comment,
    cast(null as varchar) as table_owner,
    columns.column_name as column_name,
    columns.ordinal_position as column_index,
    columns.data_type as column_type,
    of_column.comment as column_comment
  from tables
  join columns
    on tables.table_schema = columns.table_schema and tables.table_name = columns.table_name
  left join comments as of_table
    on tables.table_schema = of_table.table_schema and tables.table_name = of_table.table_name
    and of_table.column_name is null
  left join comments as of_column
    on tables.table_schema = of_column.table_schema and tables.table_name = of_column.table_name
    and of_column.column_name = columns.column_name
  order by table_schema, table_name, column_index
{%- endmacro %}

{# The conditions of each schema name its tables, so that the server loads no others. #}
{% macro lakewing__are_relations(relations) -%}
  {% set schemas = {} %}
  {% for relation in relations %}
    {% do schemas.setdefault(relation.schema, []).append(lakewing__text(relation.identifier)) %}
  {% endfor %}
  (
  {% for schema, names in schemas.items() -%}
    (table_schema = {{ lakewing__text(schema) }} and table_name in ({{ names | join(', ') }}))
    {%- if not loop.last %} or {% endif %}
  {%- endfor %}
  )
{%- endmacro %}

{# When the last commit of each table was made. #}
{% macro lakewing__get_relation_last_modified(information_schema, relations) -%}
  {%- call statement('last_modified', fetch_result=True, auto_begin=False) -%}
    {% for relation in relations -%}
      {% set history = relation.incorporate(path={'identifier': relation.identifier ~ '$history'}) %}
      select
        {{ lakewing__text(relation.schema) }} as schema,
        {{ lakewing__text(relation.identifier) }} as identifier,
        max(made_current_at) as last_modified,
        {{ current_timestamp() }} as snapshotted_at
      from {{ history.render() }}
      {%- if not loop.last %} union all {% endif %}
    {%- endfor %}
  {%- endcall -%}
  {{ return(load_result('last_modified')) }}
{% endmacro %}

{# A text as SQL. #}
{% macro lakewing__text(value) -%}
  '{{ (value | string) | replace("'", "''") }}'
{%- endmacro %}

{# Making, renaming and dropping schemas, tables and views. #}

{% macro lakewing__drop_schema(relation) -%}
  {% for each in adapter.relations_in(relation) %}
    {% do lakewing__drop_relation(each) %}
  {% endfor %}
  {% call statement('drop_schema') -%}
    drop schema if exists {{ relation.without_identifier() }}
  {% endcall %}
{% endmacro %}

{% macro lakewing__drop_table(relation) -%}
  drop table if exists {{ relation.render() }} purge
{%- endmacro %}

{% macro lakewing__drop_view(relation) -%}
  drop view if exists {{ relation.render() }}
{%- endmacro %}

{% macro lakewing__drop_relation(relation) -%}
  {% call statement('drop_relation', auto_begin=False) -%}
    {%- if relation.is_function %}
    drop function if exists {{ relation.render() }}
    {%- else %}
    {{ get_drop_sql(relation) }}
    {%- endif %}
  {%- endcall %}
{% endmacro %}

{% macro lakewing__rename_relation(from_relation, to_relation) -%}
  {% call statement('rename_relation') -%}
    alter {{ 'view' if from_relation.is_view else 'table' }} {{ from_relation.render() }} rename to {{ to_relation.render() }}
  {%- endcall %}
{% endmacro %}

{% macro lakewing__get_rename_table_sql(relation, new_name) -%}
  alter table {{ relation.render() }} rename to {{ relation.incorporate(path={'identifier': new_name}).render() }}
{%- endmacro %}

{% macro lakewing__get_rename_view_sql(relation, new_name) -%}
  alter view {{ relation.render() }} rename to {{ relation.incorporate(path={'identifier': new_name}).render() }}
{%- endmacro %}

{% macro lakewing__get_replace_table_sql(relation, sql) -%}
  {{ lakewing__create_table_as(False, relation, sql) }}
{%- endmacro %}

{% macro lakewing__get_replace_view_sql(relation, sql) -%}
  {{ lakewing__create_view_as(relation, sql) }}
{%- endmacro %}

{#
  A table of the rows of a query, in one commit. With a contract the columns are declared first, and the rows come in a
  second commit: whoever needs both at once builds it under another name. What is temporary is a table without the
  model's layout, which the materialization drops.
#}
{% macro lakewing__create_table_as(temporary, relation, sql) -%}
  {{ config.get('sql_header', none) or '' }}
  {% set contract = config.get('contract') %}
  {%- if contract and contract.enforced and not temporary -%}
    {{ get_assert_columns_equivalent(sql) }}
    create or replace table {{ relation.render() }} {{ get_table_columns_and_constraints() }}
    {{ lakewing__layout(temporary) }};
    insert into {{ relation.render() }} ({{ adapter.dispatch('get_column_names', 'dbt')() }})
    {{ get_select_subquery(sql) }}
  {%- else -%}
    create or replace table {{ relation.render() }}
    {{ lakewing__layout(temporary) }}
    as
    {{ lakewing__query(sql) }}
  {%- endif %}
{%- endmacro %}

{# A query on lines of its own: it may end with a comment. #}
{% macro lakewing__query(sql) -%}
(
    {{ sql }}
)
{%- endmacro %}

{# What stands between a table's columns and its query. #}
{% macro lakewing__layout(temporary=false) -%}
  using {{ adapter.table_format(config) }}
  {%- if not temporary -%}
    {%- set partition_by = config.get('partition_by') %}
    {%- set sort_by = config.get('sort_by') %}
    {%- set location = config.get('location') %}
    {%- set properties = config.get('table_properties') %}
    {%- if partition_by %} partitioned by ({{ lakewing__list(partition_by) }}){% endif %}
    {%- if sort_by %} sorted by ({{ lakewing__list(sort_by) }}){% endif %}
    {%- if location %} location {{ lakewing__text(location) }}{% endif %}
    {%- if properties %} tblproperties (
      {%- for key, value in properties.items() -%}
        {{ lakewing__text(key) }} = {{ lakewing__text(value | lower if value is boolean else value) }}{{ ', ' if not loop.last }}
      {%- endfor -%}
    ){% endif %}
  {%- endif %}
{%- endmacro %}

{% macro lakewing__list(names) -%}
  {{ names if names is string else names | join(', ') }}
{%- endmacro %}

{% macro lakewing__create_view_as(relation, sql) -%}
  {{ config.get('sql_header', none) or '' }}
  {% set contract = config.get('contract') %}
  {%- if contract and contract.enforced -%}
    {{ get_assert_columns_equivalent(sql) }}
  {%- endif %}
  create or replace view {{ relation.render() }}
  {{- lakewing__view_columns(sql) }}
  {% if config.persist_relation_docs() and model.description -%}
    comment {{ lakewing__text(model.description) }}
  {%- endif %}
  as
  {{ lakewing__query(sql) }}
{%- endmacro %}

{# The columns of a view with their descriptions, where the model says that they are kept. #}
{% macro lakewing__view_columns(sql) -%}
  {%- if config.persist_column_docs() and model.columns -%}
    {%- set descriptions = {} -%}
    {%- for column in model.columns.values() if column['description'] -%}
      {%- set name = column['name'] if column.get('quote') else column['name'] | lower -%}
      {%- do descriptions.update({name: column['description']}) -%}
    {%- endfor -%}
    {%- if descriptions %} (
      {%- for column in get_column_schema_from_query(sql) -%}
        {{ adapter.quote(column.name) }}
        {%- if column.name in descriptions %} comment {{ lakewing__text(descriptions[column.name]) }}{% endif %}
        {{- ', ' if not loop.last }}
      {%- endfor -%}
    )
    {%- endif -%}
  {%- endif -%}
{%- endmacro %}

{% macro lakewing__alter_column_type(relation, column_name, new_column_type) -%}
  {% call statement('alter_column_type') %}
    alter table {{ relation.render() }} alter column {{ adapter.quote(column_name) }} type {{ new_column_type }}
  {% endcall %}
{% endmacro %}

{% macro lakewing__alter_relation_add_remove_columns(relation, add_columns, remove_columns) %}
  {% for column in add_columns or [] %}
    {% do run_query('alter table ' ~ relation.render() ~ ' add column ' ~ adapter.quote(column.name) ~ ' ' ~ column.data_type) %}
  {% endfor %}
  {% for column in remove_columns or [] %}
    {% do run_query('alter table ' ~ relation.render() ~ ' drop column ' ~ adapter.quote(column.name)) %}
  {% endfor %}
{% endmacro %}

{% macro lakewing__alter_relation_comment(relation, relation_comment) -%}
  comment on table {{ relation.render() }} is {{ lakewing__text(relation_comment) }}
{%- endmacro %}

{# Views and functions get their descriptions when they are made. #}
{% macro lakewing__persist_docs(relation, model, for_relation, for_columns) -%}
  {% if not relation.is_view and not relation.is_function %}
    {{ default__persist_docs(relation, model, for_relation, for_columns) }}
  {% endif %}
{%- endmacro %}

{% macro lakewing__alter_column_comment(relation, column_dict) -%}
  {% set known = adapter.get_columns_in_relation(relation) | map(attribute='name') | list %}
  {% for name, column in column_dict.items() if column['description'] %}
    {% set found = known | select('equalto', name) | first
        or known | map('lower') | select('equalto', name | lower) | first %}
    comment on column {{ relation.render() }}.{{ adapter.quote(found) }} is {{ lakewing__text(column['description']) }};
  {% endfor %}
{%- endmacro %}

{# Names of users are told apart by upper and lower case, and may have any letters. #}
{%- macro lakewing__get_grant_sql(relation, privilege, grantees) -%}
  grant {{ privilege }} on {{ relation.render() }} to {{ lakewing__users(grantees) }}
{%- endmacro -%}

{%- macro lakewing__get_revoke_sql(relation, privilege, grantees) -%}
  revoke {{ privilege }} on {{ relation.render() }} from {{ lakewing__users(grantees) }}
{%- endmacro -%}

{%- macro lakewing__users(grantees) -%}
  {%- for grantee in grantees -%}
    {{ adapter.quote(grantee) }}{{ ', ' if not loop.last }}
  {%- endfor -%}
{%- endmacro -%}

{% macro lakewing__get_show_grant_sql(relation) %}
  show grants on {{ relation.render() }}
{% endmacro %}

{# Who might read what was replaced may read what is in its place. #}
{% macro lakewing__copy_grants() %}
  {{ return(True) }}
{% endmacro %}

{% macro lakewing__support_multiple_grantees_per_dcl_statement() %}
  {{ return(True) }}
{% endmacro %}

{# A call takes one statement. #}
{% macro lakewing__call_dcl_statements(dcl_statement_list) %}
  {% for dcl_statement in dcl_statement_list %}
    {% call statement('grants') %}
      {{ dcl_statement }}
    {% endcall %}
  {% endfor %}
{% endmacro %}

{% macro lakewing__get_limit_sql(sql, limit) %}
  {{ sql }}
  {% if limit is not none %}
  limit {{ limit }}
  {%- endif -%}
{% endmacro %}

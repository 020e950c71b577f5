{# How models become tables and views. #}

{% materialization table, adapter='lakewing', supported_languages=['sql', 'python'] %}
  {%- set existing = load_cached_relation(this) -%}
  {%- set target = this.incorporate(type='table') -%}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- set built = lakewing__place_to_build(existing, target) -%}
  {% call statement('main', language=model['language']) -%}
    {{ lakewing__rows_into(False, built, compiled_code) }}
  {%- endcall %}
  {% do lakewing__put_in_place(existing, built, target) %}
  {{ lakewing__finish(target) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}

{% materialization view, adapter='lakewing' %}
  {%- set existing = load_cached_relation(this) -%}
  {%- set target = this.incorporate(type='view') -%}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {% if existing is not none and not existing.is_view %}
    {% do adapter.drop_relation(existing) %}
  {% endif %}
  {% call statement('main') -%}
    {{ get_create_view_as_sql(target, sql) }}
  {%- endcall %}
  {{ lakewing__finish(target) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}

{% materialization incremental, adapter='lakewing', supported_languages=['sql', 'python'] %}
  {%- set existing = load_cached_relation(this) -%}
  {%- set target = this.incorporate(type='table') -%}
  {%- set strategy = config.get('incremental_strategy') or 'default' -%}
  {%- set strategy_macro = adapter.get_incremental_strategy_macro(context, strategy) -%}
  {%- set on_schema_change = incremental_validate_on_schema_change(config.get('on_schema_change'), default='ignore') -%}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {% if existing is none or not existing.is_table or should_full_refresh() %}
    {%- set built = lakewing__place_to_build(existing, target) -%}
    {% call statement('main', language=model['language']) -%}
      {{ lakewing__rows_into(False, built, compiled_code) }}
    {%- endcall %}
    {% do lakewing__put_in_place(existing, built, target) %}
  {% else %}
    {% set temporary = make_temp_relation(target) %}
    {% if adapter.is_on_branch() %}
      {# One that a failure has left there could not be replaced. #}
      {% do adapter.drop_relation(temporary) %}
    {% endif %}
    {% call statement('temporary', language=model['language']) -%}
      {{ lakewing__rows_into(True, temporary, compiled_code) }}
    {%- endcall %}
    {% set columns = process_schema_changes(on_schema_change, temporary, existing)
        or adapter.get_columns_in_relation(existing) %}
    {% call statement('main') -%}
      {{ strategy_macro({
        'target_relation': target,
        'temp_relation': temporary,
        'unique_key': config.get('unique_key'),
        'dest_columns': columns,
        'incremental_predicates': config.get('predicates', none) or config.get('incremental_predicates', none)
      }) }}
    {%- endcall %}
    {% do adapter.drop_relation(temporary) %}
  {% endif %}
  {{ lakewing__finish(target) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}

{#
  Where a table is built anew. Readers see the old rows until they see the new ones: a table is replaced by one commit, or,
  where a contract or another kind of relation stands in between, built under another name that is then changed. On a
  branch only rows can be replaced: those of a table that was built under another name.
#}
{% macro lakewing__place_to_build(existing, target) %}
  {% set contract = config.get('contract') %}
  {% if existing is none or
        (existing.is_table and not (contract and contract.enforced) and not adapter.is_on_branch()) %}
    {{ return(target) }}
  {% endif %}
  {% set intermediate = make_intermediate_relation(target) %}
  {% do adapter.drop_relation(intermediate) %}
  {% if not adapter.is_on_branch() %}
    {% do adapter.drop_relation(make_backup_relation(target, existing.type)) %}
  {% endif %}
  {{ return(intermediate) }}
{% endmacro %}

{# What was built gets the name of the model. #}
{% macro lakewing__put_in_place(existing, built, target) %}
  {% if built.identifier != target.identifier and adapter.is_on_branch() %}
    {% do lakewing__replace_rows(existing, built) %}
    {% do adapter.drop_relation(built) %}
  {% elif built.identifier != target.identifier %}
    {% set backup = make_backup_relation(target, existing.type) %}
    {% do adapter.rename_relation(existing, backup) %}
    {% do adapter.rename_relation(built, target) %}
    {% do adapter.drop_relation(backup) %}
  {% endif %}
{% endmacro %}

{#
  What makes a table of the rows of a model: a statement, or of a model in Python its code and behind it the statement
  that takes its rows. LakewingAdapter.submit_python_job runs both.
#}
{% macro lakewing__rows_into(temporary, relation, compiled_code) -%}
  {%- if model['language'] == 'python' -%}
    {%- set contract = config.get('contract') -%}
    {%- if contract and contract.enforced -%}
      {% do exceptions.raise_compiler_error('Lakewing enforces no contract of a model in Python') %}
    {%- endif -%}
{{ compiled_code }}
# lakewing: the statement that builds the table
{{ create_table_as(temporary, relation, '__rows_of_the_model__') }}
  {%- else -%}
    {{ get_create_table_as_sql(temporary, relation, compiled_code) }}
  {%- endif -%}
{%- endmacro %}

{# What every model ends with. #}
{% macro lakewing__finish(target) %}
  {% do apply_grants(target, config.get('grants'), should_revoke=True) %}
  {% do persist_docs(target, model) %}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {% do adapter.commit() %}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
{% endmacro %}

{# The rows of a seed by bulk ingest, as one commit. #}
{% macro lakewing__load_csv_rows(model, agate_table) %}
  {% set columns = [] %}
  {% for name in agate_table.column_names %}
    {% do columns.append(adapter.quote_seed_column(name, model['config'].get('quote_columns', none))) %}
  {% endfor %}
  {% do adapter.insert_seed(this, columns, agate_table) %}
  {{ return('-- bulk ingest into ' ~ this.render() ~ ' (' ~ columns | join(', ') ~ ')') }}
{% endmacro %}

{% macro lakewing__create_csv_table(model, agate_table) %}
  {% set overrides = model['config'].get('column_types', {}) %}
  {% set quotes = model['config'].get('quote_columns', none) %}
  {% set sql %}
    create or replace table {{ this.render() }} (
      {%- for name in agate_table.column_names -%}
        {{ adapter.quote_seed_column(name | string, quotes) }} {{ overrides.get(name, adapter.convert_type(agate_table, loop.index0)) }}
        {{- ', ' if not loop.last }}
      {%- endfor -%}
    ) {{ lakewing__layout() }}
  {% endset %}
  {% call statement('_') %}{{ sql }}{% endcall %}
  {{ return(sql) }}
{% endmacro %}

{% macro lakewing__reset_csv_table(model, full_refresh, old_relation, agate_table) %}
  {% if full_refresh %}
    {{ return(create_csv_table(model, agate_table)) }}
  {% endif %}
  {% do adapter.truncate_relation(old_relation) %}
  {{ return('truncate table ' ~ old_relation.render()) }}
{% endmacro %}

{# The staging table of a snapshot is no temporary one. #}
{% macro lakewing__post_snapshot(staging_relation) %}
  {% do adapter.drop_relation(staging_relation) %}
{% endmacro %}

{% macro lakewing__snapshot_string_as_time(timestamp) -%}
  {{ return("cast(" ~ lakewing__text(timestamp) ~ " as timestamp(6))") }}
{%- endmacro %}

{# A copy of the rows: neither format shares data files between two tables. #}
{% macro lakewing__can_clone_table() %}
  {{ return(False) }}
{% endmacro %}

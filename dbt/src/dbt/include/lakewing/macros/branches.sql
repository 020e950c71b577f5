{# Write, audit, publish: targets with a branch build there, and these operations end it. #}

{# The rows of `existing` become those of `built`, which has the same columns, in one commit on the branch. #}
{% macro lakewing__replace_rows(existing, built) %}
  {% set old, new = adapter.get_columns_in_relation(existing), adapter.get_columns_in_relation(built) %}
  {% if old | map(attribute='name') | sort != new | map(attribute='name') | sort %}
    {% do exceptions.raise_compiler_error(
      existing.render() ~ ' has the columns ' ~ old | map(attribute='name') | join(', ') ~ ', and the model has '
      ~ new | map(attribute='name') | join(', ') ~ ': columns are not those of a branch but of the table. '
      ~ 'Change them on main first.') %}
  {% endif %}
  {% set columns = get_quoted_csv(old | map(attribute='name')) %}
  {% call statement('replace_rows') -%}
    insert overwrite {{ existing.render() }} ({{ columns }}) select {{ columns }} from {{ built.render() }}
  {%- endcall %}
{% endmacro %}

{# Shows what was built on the target's branch to everybody, schema by schema. Run again after a failure: it goes on. #}
{% macro publish_branch() %}
  {% set branch = lakewing__branch_to_end() %}
  {% for schema in lakewing__schemas_with(branch) %}
    {% do run_query('alter schema ' ~ schema ~ ' fast forward main to ' ~ adapter.quote(branch)) %}
    {% do run_query('alter schema ' ~ schema ~ ' drop branch ' ~ adapter.quote(branch)) %}
    {% do log('published the branch ' ~ branch ~ ' of ' ~ schema, info=true) %}
  {% endfor %}
{% endmacro %}

{# Gives up what was built on the target's branch. Tables that are new there stay, without a row. #}
{% macro drop_branch() %}
  {% set branch = lakewing__branch_to_end() %}
  {% for schema in lakewing__schemas_with(branch) %}
    {% do run_query('alter schema ' ~ schema ~ ' drop branch ' ~ adapter.quote(branch)) %}
    {% do log('gave up the branch ' ~ branch ~ ' of ' ~ schema, info=true) %}
  {% endfor %}
{% endmacro %}

{% macro lakewing__branch_to_end() %}
  {% if not adapter.is_on_branch() %}
    {% do exceptions.raise_compiler_error('the target has no branch: say `branch` in profiles.yml') %}
  {% endif %}
  {{ return(target.branch) }}
{% endmacro %}

{# The schemas in which a table of a model, a seed or a snapshot has the branch. #}
{% macro lakewing__schemas_with(branch) %}
  {% set found = [] %}
  {% for node in graph.nodes.values() if node.resource_type in ('model', 'seed', 'snapshot') %}
    {% set relation = adapter.get_relation(node.database, node.schema, node.alias) %}
    {% set schema = relation.without_identifier().render() if relation is not none and relation.is_table else none %}
    {% if schema is not none and schema not in found %}
      {% set refs = relation.incorporate(path={'identifier': relation.identifier ~ '$refs'}) %}
      {% set sql = 'select count(*) from ' ~ refs.render() ~ ' where name = ' ~ lakewing__text(branch) %}
      {% if run_query(sql).rows[0][0] > 0 %}
        {% do found.append(schema) %}
      {% endif %}
    {% endif %}
  {% endfor %}
  {{ return(found) }}
{% endmacro %}

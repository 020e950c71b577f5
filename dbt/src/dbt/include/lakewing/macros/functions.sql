{# Functions in SQL, which the catalog keeps. Those in other languages have no macro here: dbt says so. #}

{% macro lakewing__formatted_scalar_function_args_sql() %}
  {%- for argument in model.arguments -%}
    {{ argument.name }} {{ argument.data_type }}
    {%- if argument.default_value is defined and argument.default_value is not none %} DEFAULT {{ argument.default_value }}{% endif %}
    {{- ', ' if not loop.last }}
  {%- endfor -%}
{% endmacro %}

{% macro lakewing__scalar_function_create_replace_signature_sql(target_relation) %}
    CREATE OR REPLACE FUNCTION {{ target_relation.render() }} ({{ formatted_scalar_function_args_sql() }})
    RETURNS {{ model.returns.data_type }}
    {{ scalar_function_volatility_sql() }}
    {{ lakewing__function_comment() }}
    AS
{% endmacro %}

{% macro lakewing__aggregate_function_sql(target_relation) %}
    CREATE OR REPLACE AGGREGATE FUNCTION {{ target_relation.render() }} ({{ formatted_scalar_function_args_sql() }})
    RETURNS {{ model.returns.data_type }}
    {{ scalar_function_volatility_sql() }}
    {{ lakewing__function_comment() }}
    AS
    {{ scalar_function_body_sql() }}
{% endmacro %}

{% macro lakewing__function_comment() -%}
  {%- if config.persist_relation_docs() and model.description %}COMMENT {{ lakewing__text(model.description) }}{% endif -%}
{%- endmacro %}

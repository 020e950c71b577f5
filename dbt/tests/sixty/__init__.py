"""A dbt project of 60 models over the tables of TPC-H, which Lakewing, DuckDB and Spark build alike."""

"""The macros of dbt-lakewing."""

import os

PACKAGE_PATH = os.path.dirname(__file__)

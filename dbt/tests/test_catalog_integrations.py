"""The suite's module catalog_integrations."""


//! The properties of namespaces: a row for each, in the layout of other engines.

use std::collections::HashMap;

use super::{SqlClient, already_exists};
use crate::error::{Error, Result};

/// What the layout's columns hold, in characters.
const KEY_MAX: usize = 255;
const VALUE_MAX: usize = 1000;

impl SqlClient {
    /// All of them; [`Error::NotFound`] where there is no such namespace.
    pub(super) async fn properties(&self, namespace: &str) -> Result<HashMap<String, String>> {
        let statement = "SELECT property_key, property_value FROM iceberg_namespace_properties \
             WHERE catalog_name = $1 AND namespace = $2";
        let rows = self.rows::<2>(statement, &[namespace]).await?;
        if rows.is_empty() && !self.has_namespace(namespace).await? {
            return Err(self.namespace_missing(namespace));
        }
        Ok(rows.into_iter().map(|[key, value]| (key, value)).collect())
    }

    /// Sets one, whether it was there or not.
    pub(super) async fn put_property(&self, namespace: &str, key: &str, value: &str) -> Result<()> {
        for (text, max) in [(key, KEY_MAX), (value, VALUE_MAX)] {
            let length = text.chars().count();
            if length > max {
                return Err(Error::InvalidName {
                    detail: format!(
                        "a property of the schema \"{}\" has at most {max} characters in a SQL catalog, and this one \
                         {length}",
                        self.database.full_name(namespace)
                    ),
                });
            }
        }
        if !self.has_namespace(namespace).await? {
            return Err(self.namespace_missing(namespace));
        }
        let statement = "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, \
             property_value) VALUES ($1, $2, $3, $4) ON CONFLICT (catalog_name, namespace, property_key) \
             DO UPDATE SET property_value = excluded.property_value";
        self.execute("change a namespace in", statement, &[namespace, key, value])
            .await?;
        Ok(())
    }

    /// Takes one away, where it is there.
    pub(super) async fn remove_property(&self, namespace: &str, key: &str) -> Result<()> {
        let statement = "DELETE FROM iceberg_namespace_properties WHERE catalog_name = $1 AND namespace = $2 \
             AND property_key = $3";
        self.execute("change a namespace in", statement, &[namespace, key])
            .await?;
        Ok(())
    }

    /// Adds the rows that say that a namespace exists, and what its properties are.
    pub(super) async fn insert_properties<'a>(
        &self,
        namespace: &str,
        properties: impl Iterator<Item = &'a (String, String)>,
    ) -> Result<()> {
        let statement = "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, \
             property_value) VALUES ($1, $2, $3, $4)";
        let pool = &self.database.connected().await?.pool;
        for (key, value) in properties {
            let insert = sqlx::query(statement).bind(&self.rows_of).bind(namespace);
            let inserted = insert.bind(key).bind(value).execute(pool).await;
            inserted.map_err(|error| match error.as_database_error() {
                Some(refusal) if refusal.is_unique_violation() => {
                    already_exists("namespace", self.database.full_name(namespace))
                }
                _ => self.database.failed("create a namespace in", &error),
            })?;
        }
        Ok(())
    }
}

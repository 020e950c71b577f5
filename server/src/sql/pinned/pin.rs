//! The version of one table as it travels from the call that plans a statement to the call that runs it.

use std::hash::{DefaultHasher, Hash, Hasher};

use catalog::{PathFormat, TableName};
use proto::TablePin;

use super::{Pinned, Place};

/// Where catalogs cannot be named so: the namespace of tables that are read by their location.
const BY_LOCATION: &str = "";

/// A version and its columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pin {
    pub(super) version: i64,
    schema_fingerprint: u64,
}

impl Pin {
    /// Whether `found` is what was pinned.
    pub(super) fn holds(&self, found: &Pinned) -> bool {
        version(found) == Some(self.version) && fingerprint(found) == self.schema_fingerprint
    }
}

/// The pin of the table or view at `place`; none for a table without a version, which is empty.
pub(super) fn write(place: &Place, pinned: &Pinned) -> Option<TablePin> {
    let version = version(pinned)?;
    let (catalog, namespace, table) = match place {
        Place::Name(name) => (name.catalog.as_str(), name.namespace.as_str(), &name.table),
        Place::Location(PathFormat::Iceberg, url) => (BY_LOCATION, "iceberg", url),
        Place::Location(PathFormat::Delta, url) => (BY_LOCATION, "delta", url),
    };
    Some(TablePin {
        catalog: catalog.to_owned(),
        namespace: namespace.to_owned(),
        table: table.clone(),
        version,
        schema_fingerprint: fingerprint(pinned),
    })
}

/// The inverse of [`write`].
pub(super) fn read(pin: &TablePin) -> (Place, Pin) {
    let url = || pin.table.clone();
    let place = match (pin.catalog.as_str(), pin.namespace.as_str()) {
        (BY_LOCATION, "iceberg") => Place::Location(PathFormat::Iceberg, url()),
        (BY_LOCATION, _) => Place::Location(PathFormat::Delta, url()),
        (catalog, namespace) => Place::Name(TableName::new(catalog, namespace, &pin.table)),
    };
    let pinned = Pin {
        version: pin.version,
        schema_fingerprint: pin.schema_fingerprint,
    };
    (place, pinned)
}

fn version(pinned: &Pinned) -> Option<i64> {
    match pinned {
        Pinned::Table(table) => table.snapshot().version(),
        Pinned::View(view) => Some(view.version),
    }
}

/// Equal on all servers of one version.
fn fingerprint(pinned: &Pinned) -> u64 {
    let mut hasher = DefaultHasher::new();
    match pinned {
        Pinned::Table(table) => table.snapshot().schema().hash(&mut hasher),
        Pinned::View(view) => (view.id, &view.schema).hash(&mut hasher),
    }
    hasher.finish()
}

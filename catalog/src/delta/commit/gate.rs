//! What a table demands of its writers: followed, or refused by its name.
//!
//! A table names the features that its writers must follow, or a version that stands for a list of them. Source: the
//! Delta protocol, "Table Features" and the writer requirements of each.

use delta_kernel::table_features::TableFeature;
use serde_json::Value;

use crate::delta::read::DeltaSnapshot;
use crate::error::Result;
use crate::write::change::{Change, Operation};

/// Writer features that this writer follows, by doing what they say or by refusing what they are about.
pub(crate) const FEATURES_WRITTEN: [&str; 22] = [
    "allowColumnDefaults",
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    // It binds those alone who cut the log.
    "checkpointProtection",
    "clustering",
    "columnMapping",
    "deletionVectors",
    "domainMetadata",
    "generatedColumns",
    "icebergCompatV1",
    "icebergCompatV2",
    "identityColumns",
    "inCommitTimestamp",
    "invariants",
    "rowTracking",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantType",
];
/// Properties that bind writers, where they are true, to what this writer does not do.
const PROPERTIES_REFUSED: [&str; 3] = [
    "delta.enableIcebergCompatV1",
    "delta.enableIcebergCompatV2",
    "delta.enableIcebergCompatV3",
];
/// The last writer version.
const WRITER_VERSION_MAX: i32 = 7;

/// Which changes a table is in for.
impl DeltaSnapshot {
    /// True where the table's writers must follow the feature.
    pub(crate) fn supports(&self, feature: &TableFeature) -> bool {
        self.version.kernel.table_configuration().is_feature_supported(feature)
    }

    /// True where a property of the table is `true`.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.property(key)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// True where rows may be deleted by deletion vectors.
    pub(crate) fn has_vectors(&self) -> bool {
        self.supports(&TableFeature::DeletionVectors) && self.is_set("delta.enableDeletionVectors")
    }

    /// The fields of the table's schema as the metadata write them.
    pub(crate) fn schema_json(&self) -> Result<Value> {
        let metadata = self.version.kernel.table_configuration().metadata();
        serde_json::from_str(metadata.schema_string()).map_err(|error| self.log.corrupt(error.to_string()))
    }

    /// Refuses a table whose protocol or properties ask of writers what this one does not do.
    pub(crate) fn check_protocol(&self) -> Result<()> {
        let protocol = self.version.kernel.table_configuration().protocol();
        let version = protocol.min_writer_version();
        if version > WRITER_VERSION_MAX {
            return Err(self.log.unsupported(format!("the writer version {version}")));
        }
        for feature in protocol.writer_features().unwrap_or_default() {
            let name: &str = feature.as_ref();
            if !FEATURES_WRITTEN.contains(&name) {
                return Err(self.log.unsupported(format!("the writer feature {name}")));
            }
        }
        match PROPERTIES_REFUSED.iter().find(|key| self.is_set(key)) {
            Some(key) => Err(self.log.unsupported(format!("files as the property {key} wants them"))),
            None => Ok(()),
        }
    }

    /// Refuses a change that the table's properties forbid, or that needs what this writer does not do.
    pub(crate) fn check_change(&self, change: &Change) -> Result<()> {
        self.check_protocol()?;
        let refused = |feature: &str| Err(self.log.unsupported(feature.to_owned()));
        let removes = !change.removed.is_empty() || !change.deleted.is_empty();
        let same_rows = change.operation == Operation::Rewrite;
        if removes && !same_rows && self.is_set("delta.appendOnly") {
            return refused("a statement that only appends (its property delta.appendOnly is true)");
        }
        if !change.deleted.is_empty() && !self.has_vectors() {
            return refused("deletion vectors, which its property delta.enableDeletionVectors leaves off,");
        }
        // Whole files that come or go are their own change data; rows that move between files are not.
        let moves = !change.deleted.is_empty() || (removes && !change.added.is_empty());
        let whole = matches!(change.operation, Operation::Overwrite | Operation::Rewrite);
        if moves && !whole && self.is_set("delta.enableChangeDataFeed") {
            return refused("change data files (its property delta.enableChangeDataFeed is true)");
        }
        Ok(())
    }

    /// Refuses a table whose columns have values that only another writer can compute.
    pub(crate) fn check_columns(&self) -> Result<()> {
        self.check_protocol()?;
        let schema = self.schema_json()?;
        for field in schema["fields"].as_array().into_iter().flatten() {
            let name = field["name"].as_str().unwrap_or_default();
            let metadata = field["metadata"].as_object();
            let has = |key: &str| metadata.is_some_and(|metadata| metadata.keys().any(|known| known.starts_with(key)));
            let feature = if has("delta.generationExpression") {
                "generated columns"
            } else if has("delta.identity.") {
                "identity columns"
            } else if holds(&field["type"], &|part| part == "variant") {
                "a writer of variants"
            } else if nested(&field["type"]).any(|inner| inner["metadata"].get("delta.invariants").is_some()) {
                "invariants of nested fields"
            } else {
                continue;
            };
            return Err(self.log.unsupported(format!("{feature} (column {name})")));
        }
        super::constraints::of(self).map(|_| ())
    }
}

/// The fields of a struct, and those inside them.
fn nested(data_type: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    let fields = data_type["fields"].as_array().into_iter().flatten();
    let parts = ["elementType", "keyType", "valueType"]
        .into_iter()
        .filter_map(|part| data_type.get(part));
    Box::new(
        fields
            .flat_map(|field| std::iter::once(field).chain(nested(&field["type"])))
            .chain(parts.flat_map(nested)),
    )
}

/// True where `wanted` is true for the type or one inside it.
fn holds(data_type: &Value, wanted: &dyn Fn(&Value) -> bool) -> bool {
    let parts = ["elementType", "keyType", "valueType"];
    wanted(data_type)
        || parts
            .iter()
            .any(|part| data_type.get(part).is_some_and(|part| holds(part, wanted)))
        || nested(data_type).any(|field| holds(&field["type"], wanted))
}

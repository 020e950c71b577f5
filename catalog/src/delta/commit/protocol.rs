//! The protocol that a table needs for its properties and columns.
//!
//! Source: the Delta protocol, "Table Features", "Valid Feature Names" and "Supported Features".

use std::collections::{BTreeMap, BTreeSet};

use delta_kernel::actions::Protocol;
use serde_json::{Value, json};

use crate::delta::commit::gate::FEATURES_WRITTEN;

/// Features that readers must follow as well.
const READ_TOO: [&str; 8] = [
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantType",
];
/// What a writer version adds to those before it.
const LEGACY: [(i32, &[&str]); 5] = [
    (2, &["appendOnly", "invariants"]),
    (3, &["checkConstraints"]),
    (4, &["changeDataFeed", "generatedColumns"]),
    (5, &["columnMapping"]),
    (6, &["identityColumns"]),
];
/// Properties of which a value other than `false` and `none` asks for features.
const DEMANDS: [(&str, &[&str]); 7] = [
    ("delta.enableDeletionVectors", &["deletionVectors"]),
    ("delta.columnMapping.mode", &["columnMapping"]),
    ("delta.enableChangeDataFeed", &["changeDataFeed"]),
    ("delta.enableInCommitTimestamps", &["inCommitTimestamp"]),
    ("delta.enableRowTracking", &["rowTracking", "domainMetadata"]),
    ("delta.enableTypeWidening", &["typeWidening"]),
    ("delta.appendOnly", &["appendOnly"]),
];
/// Properties, by how they begin, that ask for what this writer does not do.
const REFUSED: [&str; 7] = [
    "delta.universalFormat.",
    "delta.enableIcebergCompat",
    "delta.enableIcebergWriterCompat",
    "delta.coordinatedCommits.",
    "delta.enableVariantShredding",
    "delta.minReaderVersion",
    "delta.minWriterVersion",
];
/// The property that asks for a feature by its name.
const FEATURE: &str = "delta.feature.";

/// The features that properties and columns ask for; the error names the property that cannot be had. A property that
/// does nothing but ask for a feature leaves `properties`.
pub(crate) fn demanded(
    properties: &mut BTreeMap<String, String>,
    schema: &Value,
) -> Result<BTreeSet<&'static str>, String> {
    let mut features = BTreeSet::new();
    for (key, value) in properties.iter() {
        if REFUSED.iter().any(|refused| key.starts_with(refused)) {
            return Err(format!("the property {key}"));
        }
        if let Some(name) = key.strip_prefix(FEATURE) {
            let feature = FEATURES_WRITTEN.iter().find(|feature| **feature == name);
            features.insert(
                *feature
                    .filter(|_| value == "supported")
                    .ok_or_else(|| format!("the property {key} = {value}"))?,
            );
        }
        let off = value.eq_ignore_ascii_case("false") || value.eq_ignore_ascii_case("none");
        for (_, demanded) in DEMANDS.iter().filter(|(known, _)| known == key && !off) {
            features.extend(*demanded);
        }
        if key == "delta.checkpointPolicy" && value == "v2" {
            features.insert("v2Checkpoint");
        }
        if key.starts_with("delta.constraints.") {
            features.insert("checkConstraints");
        }
    }
    properties.retain(|key, _| !key.starts_with(FEATURE));
    let text = schema.to_string();
    if text.contains("\"timestamp_ntz\"") {
        features.insert("timestampNtz");
    }
    if text.contains("\"CURRENT_DEFAULT\"") {
        features.insert("allowColumnDefaults");
    }
    Ok(features)
}

/// The protocol of a new table with these features: the one that most readers know where it needs none of them.
pub(crate) fn new_table(features: &BTreeSet<&'static str>) -> Value {
    let basic = LEGACY[0].1;
    match features.iter().all(|feature| basic.contains(feature)) {
        true => json!({ "minReaderVersion": 1, "minWriterVersion": 2 }),
        false => with(
            features
                .iter()
                .chain(basic)
                .map(|feature| (*feature).to_owned())
                .collect(),
        ),
    }
}

/// The protocol with more features; `None` where it has them.
pub(crate) fn upgraded(protocol: &Protocol, features: &BTreeSet<&'static str>) -> Option<Value> {
    let mut known: BTreeSet<String> = match protocol.writer_features() {
        Some(named) => named.iter().map(|feature| feature.as_ref().to_owned()).collect(),
        None => {
            let implied = LEGACY
                .iter()
                .filter(|(version, _)| *version <= protocol.min_writer_version());
            implied
                .flat_map(|(_, features)| features.iter().map(|feature| (*feature).to_owned()))
                .collect()
        }
    };
    let before = known.len();
    known.extend(features.iter().map(|feature| (*feature).to_owned()));
    (known.len() > before).then(|| with(known))
}

fn with(features: BTreeSet<String>) -> Value {
    let read: Vec<&String> = features
        .iter()
        .filter(|feature| READ_TOO.contains(&feature.as_str()))
        .collect();
    match read.is_empty() {
        true => json!({ "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": features }),
        false => json!({
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": read,
            "writerFeatures": features,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(properties: &[(&str, &str)]) -> Result<Value, String> {
        let mut properties = properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Ok(new_table(&demanded(&mut properties, &json!({}))?))
    }

    #[test]
    fn a_new_table_has_the_protocol_that_its_properties_need() {
        let plain = json!({ "minReaderVersion": 1, "minWriterVersion": 2 });
        assert_eq!(protocol(&[]).unwrap(), plain);
        assert_eq!(
            protocol(&[("delta.enableDeletionVectors", "false"), ("delta.appendOnly", "true")]).unwrap(),
            plain
        );
        let vectors = protocol(&[("delta.enableDeletionVectors", "true")]).unwrap();
        assert_eq!(vectors["readerFeatures"], json!(["deletionVectors"]));
        assert_eq!(
            vectors["writerFeatures"],
            json!(["appendOnly", "deletionVectors", "invariants"])
        );
        let timed = protocol(&[("delta.enableInCommitTimestamps", "true")]).unwrap();
        assert_eq!(
            (&timed["minReaderVersion"], timed.get("readerFeatures")),
            (&json!(1), None)
        );
        assert!(protocol(&[("delta.enableIcebergCompatV2", "true")]).is_err());
        assert!(protocol(&[("delta.feature.catalogManaged", "supported")]).is_err());
    }

    #[test]
    fn an_upgrade_keeps_what_a_version_stood_for() {
        let old = Protocol::try_new(1, 4, None::<Vec<String>>, None::<Vec<String>>).unwrap();
        let new = upgraded(&old, &BTreeSet::from(["deletionVectors"])).unwrap();
        assert!(
            new["writerFeatures"]
                .as_array()
                .unwrap()
                .contains(&json!("generatedColumns"))
        );
        assert_eq!(upgraded(&old, &BTreeSet::from(["appendOnly"])), None);
    }
}

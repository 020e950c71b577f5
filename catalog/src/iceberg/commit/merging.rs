//! Many small manifests of one partition spec become one, so that planning a table of many commits stays cheap.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{ManifestContentType, ManifestFile};

use super::manifests::Contents;
use super::producer::Producer;
use crate::error::Result;

/// Manifests of a spec that are merged at once, where the table does not say.
const COUNT_MIN: usize = 100;
/// A manifest of this size is not merged, where the table does not say.
const TARGET_BYTES: u64 = 8 << 20;

/// When manifests are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Merging {
    count_min: usize,
    target_bytes: u64,
}

impl Merging {
    /// What the table's properties say; `None` where they forbid it.
    pub(super) fn of(properties: &HashMap<String, String>) -> Option<Self> {
        let value = |key: &str| properties.get(key).map(String::as_str);
        if value("commit.manifest-merge.enabled").is_some_and(|enabled| enabled.eq_ignore_ascii_case("false")) {
            return None;
        }
        let number = |key: &str| value(key)?.parse::<u64>().ok();
        let count_min = number("commit.manifest.min-count-to-merge").and_then(|count| usize::try_from(count).ok());
        Some(Self {
            count_min: count_min.unwrap_or(COUNT_MIN).max(2),
            target_bytes: number("commit.manifest.target-size-bytes").unwrap_or(TARGET_BYTES),
        })
    }
}

impl Merging {
    /// As [`Merging::of`], of as few as two, whether the table forbids it or not.
    pub(super) fn all(properties: &HashMap<String, String>) -> Self {
        let said = Self::of(properties);
        Self {
            count_min: 2,
            target_bytes: said.map_or(TARGET_BYTES, |said| said.target_bytes),
        }
    }

    /// Manifests to be merged, bin by bin, and those that stay. `own` is the snapshot that is being made: its manifests
    /// have not inherited their sequence number yet.
    pub(super) fn bins(
        self,
        own: Option<i64>,
        manifests: Vec<ManifestFile>,
    ) -> (Vec<Vec<ManifestFile>>, Vec<ManifestFile>) {
        let is_small = |file: &ManifestFile| {
            let length = u64::try_from(file.manifest_length).unwrap_or(u64::MAX);
            let is_own = Some(file.added_snapshot_id) == own;
            file.content == ManifestContentType::Data && !is_own && length < self.target_bytes
        };
        let mut small: BTreeMap<i32, Vec<ManifestFile>> = BTreeMap::new();
        let mut kept = Vec::with_capacity(manifests.len());
        for file in manifests {
            match is_small(&file) {
                true => small.entry(file.partition_spec_id).or_default().push(file),
                false => kept.push(file),
            }
        }
        let mut bins = Vec::new();
        for files in small.into_values() {
            if files.len() < self.count_min {
                kept.extend(files);
                continue;
            }
            let mut bin: Vec<ManifestFile> = Vec::new();
            let mut bytes = 0_u64;
            for file in files {
                let length = u64::try_from(file.manifest_length).unwrap_or(0);
                if bytes.saturating_add(length) > self.target_bytes {
                    bins.push(std::mem::take(&mut bin));
                    bytes = 0;
                }
                bytes = bytes.saturating_add(length);
                bin.push(file);
            }
            bins.push(bin);
        }
        (bins, kept)
    }
}

/// The same entries in fewer manifests. Manifests that tell of files that this snapshot removes stay as they are, and
/// so do those whose partition values may have other types.
pub(super) async fn merge(
    producer: &mut Producer<'_>,
    merging: Merging,
    manifests: Vec<ManifestFile>,
) -> Result<Vec<ManifestFile>> {
    let (bins, mut kept) = merging.bins(Some(producer.snapshot_id), manifests);
    for bin in bins {
        kept.extend(merge_bin(producer, bin).await?);
    }
    Ok(kept)
}

async fn merge_bin(producer: &mut Producer<'_>, bin: Vec<ManifestFile>) -> Result<Vec<ManifestFile>> {
    let mut kept = Vec::new();
    let mut merged: Option<(iceberg::spec::SchemaRef, iceberg::spec::PartitionSpec, Contents)> = None;
    let mut sources = Vec::new();
    for file in bin {
        let mut loaded = producer.manifests.load(&file).await?;
        match &mut merged {
            None => {
                let contents = Contents {
                    existing: loaded.entries,
                    ..Contents::default()
                };
                merged = Some((loaded.schema, loaded.spec, contents));
                sources.push(file);
            }
            Some((schema, spec, contents)) => {
                let types = (spec.partition_type(schema), loaded.spec.partition_type(&loaded.schema));
                match types {
                    (Ok(one), Ok(other)) if one == other => {
                        contents.existing.append(&mut loaded.entries);
                        sources.push(file);
                    }
                    _ => kept.push(file),
                }
            }
        }
    }
    match merged {
        Some((schema, spec, contents)) if sources.len() > 1 => {
            let layout = producer.layout(ManifestContentType::Data, schema, spec);
            producer.merged.0 += sources.len();
            producer.merged.1 += 1;
            kept.push(producer.write_manifest(layout, contents).await?);
        }
        _ => kept.extend(sources),
    }
    Ok(kept)
}

//! Changes of branches and tags.

use std::collections::BTreeMap;

use iceberg::spec::{SnapshotReference, SnapshotRetention, TableMetadata, TableMetadataBuilder};

use super::columns::invalid;
use crate::error::{Error, Result};
use crate::write::alter::{Alteration, Existing};

/// Branches and tags by name.
pub(super) type Refs = BTreeMap<String, SnapshotReference>;

/// The metadata with a branch or tag more, less, or elsewhere.
pub(super) fn change_ref(
    metadata: &TableMetadata,
    builder: TableMetadataBuilder,
    refs: &Refs,
    alteration: &Alteration,
) -> Result<TableMetadataBuilder> {
    let missing = |what: &'static str, name: &str| Error::NotFound {
        what,
        name: name.to_owned(),
        hint: None,
    };
    let failed = |error: iceberg::Error| invalid(error.message().to_owned());
    match alteration {
        Alteration::CreateRef {
            name,
            branch,
            version,
            existing,
        } => {
            let what = if *branch { "branch" } else { "tag" };
            match (refs.get(name), existing) {
                (Some(_), Existing::Keep) => return Ok(builder),
                (Some(_), Existing::Refuse) => {
                    return Err(Error::AlreadyExists {
                        what: "branch or tag",
                        name: name.clone(),
                    });
                }
                (Some(found), Existing::Replace) if found.is_branch() != *branch => {
                    return Err(invalid(format!("{name} exists, and is no {what}")));
                }
                _ => {}
            }
            let id = version.or(metadata.current_snapshot_id());
            let id = id.ok_or_else(|| invalid(format!("the table has no snapshot for the {what} {name}")))?;
            let retention = match branch {
                true => SnapshotRetention::branch(None, None, None),
                false => SnapshotRetention::Tag { max_ref_age_ms: None },
            };
            builder
                .set_ref(name, SnapshotReference::new(id, retention))
                .map_err(failed)
        }
        Alteration::DropRef {
            name,
            branch,
            if_exists,
        } => {
            let what = if *branch { "branch" } else { "tag" };
            match refs.get(name) {
                None if *if_exists => Ok(builder),
                Some(found) if found.is_branch() == *branch => match name.as_str() {
                    iceberg::spec::MAIN_BRANCH => Err(invalid("the branch main cannot be dropped".to_owned())),
                    _ => Ok(builder.remove_ref(name)),
                },
                _ => Err(missing(what, name)),
            }
        }
        Alteration::FastForward { branch, to } => {
            let head = |name: &String| {
                let found = refs.get(name).filter(|reference| reference.is_branch());
                found.ok_or_else(|| missing("branch", name))
            };
            let (from, to_head) = (head(branch)?, head(to)?);
            let mut next = metadata.snapshot_by_id(to_head.snapshot_id);
            while let Some(snapshot) = next.filter(|snapshot| snapshot.snapshot_id() != from.snapshot_id) {
                next = snapshot
                    .parent_snapshot_id()
                    .and_then(|parent| metadata.snapshot_by_id(parent));
            }
            if next.is_none() {
                return Err(invalid(format!(
                    "{to} does not descend from {branch}: it cannot be reached by moving forward"
                )));
            }
            let moved = SnapshotReference::new(to_head.snapshot_id, from.retention.clone());
            builder.set_ref(branch, moved).map_err(failed)
        }
        _ => Ok(builder),
    }
}

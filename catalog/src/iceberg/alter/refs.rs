//! Changes of branches and tags.

use std::collections::BTreeMap;

use iceberg::spec::{SnapshotReference, SnapshotRetention, TableMetadata, TableMetadataBuilder};

use super::super::read::version::lineage;
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
    match alteration {
        Alteration::CreateRef {
            name,
            branch,
            version,
            existing,
        } => match may_create(refs, name, *branch, existing)? {
            true => {
                let id = version.or(metadata.current_snapshot_id());
                create(builder, name, *branch, id)
            }
            false => Ok(builder),
        },
        Alteration::DropRef {
            name,
            branch,
            if_exists,
        } => match refs.get(name) {
            None if *if_exists => Ok(builder),
            Some(found) if found.is_branch() == *branch => match name.as_str() {
                iceberg::spec::MAIN_BRANCH => Err(invalid("the branch main cannot be dropped".to_owned())),
                _ => Ok(builder.remove_ref(name)),
            },
            _ => Err(missing(kind(*branch), name)),
        },
        Alteration::FastForward { branch, to } => {
            let moved = moved_forward(metadata, refs, branch, to)?;
            builder.set_ref(branch, moved).map_err(failed)
        }
        _ => Ok(builder),
    }
}

fn kind(branch: bool) -> &'static str {
    if branch { "branch" } else { "tag" }
}

fn missing(what: &'static str, name: &str) -> Error {
    Error::NotFound {
        what,
        name: name.to_owned(),
        hint: None,
    }
}

fn failed(error: iceberg::Error) -> Error {
    invalid(error.message().to_owned())
}

/// Whether a branch or tag of that name is to be made; false where the one that there is stays.
fn may_create(refs: &Refs, name: &str, branch: bool, existing: &Existing) -> Result<bool> {
    match (refs.get(name), existing) {
        (Some(_), Existing::Keep) => Ok(false),
        (Some(_), Existing::Refuse) => Err(Error::AlreadyExists {
            what: "branch or tag",
            name: name.to_owned(),
        }),
        (Some(found), Existing::Replace) if found.is_branch() != branch => {
            Err(invalid(format!("{name} exists, and is no {}", kind(branch))))
        }
        _ => Ok(true),
    }
}

fn create(
    builder: TableMetadataBuilder,
    name: &str,
    branch: bool,
    snapshot_id: Option<i64>,
) -> Result<TableMetadataBuilder> {
    let nothing = || invalid(format!("the table has no snapshot for the {} {name}", kind(branch)));
    let retention = match branch {
        true => SnapshotRetention::branch(None, None, None),
        false => SnapshotRetention::Tag { max_ref_age_ms: None },
    };
    let reference = SnapshotReference::new(snapshot_id.ok_or_else(nothing)?, retention);
    builder.set_ref(name, reference).map_err(failed)
}

/// `branch` at the head of the branch `to`, which has to descend from it. A table whose rows are
/// all on branches has no main yet: it begins there.
fn moved_forward(metadata: &TableMetadata, refs: &Refs, branch: &str, to: &str) -> Result<SnapshotReference> {
    let head = |name: &str| {
        let found = refs.get(name).filter(|reference| reference.is_branch());
        found.ok_or_else(|| missing("branch", name))
    };
    let to_head = head(to)?;
    if branch == iceberg::spec::MAIN_BRANCH && !refs.contains_key(branch) {
        let retention = SnapshotRetention::branch(None, None, None);
        return Ok(SnapshotReference::new(to_head.snapshot_id, retention));
    }
    let from = head(branch)?;
    let head = metadata.snapshot_by_id(to_head.snapshot_id);
    let mut before = head.into_iter().flat_map(|head| lineage(metadata, head));
    match before.any(|snapshot| snapshot.snapshot_id() == from.snapshot_id) {
        true => Ok(SnapshotReference::new(to_head.snapshot_id, from.retention.clone())),
        false => Err(invalid(format!(
            "{to} does not descend from {branch}: it cannot be reached by moving forward"
        ))),
    }
}

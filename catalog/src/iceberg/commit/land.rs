//! A change lands on a table, whoever commits at the same time.
//!
//! Each attempt builds on the table as it is then, under one snapshot id: where the answer to a commit is lost, the
//! history tells whether it took place, and a second attempt cannot double the first, because the first changed what
//! the second requires.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use uuid::Uuid;

use super::super::IcebergSnapshot;
use super::super::metadata::Metadata;
use super::super::metadata::locate::version_of;
use super::conflict;
use super::manifests::Manifests;
use super::merging::Merging;
use super::producer::Producer;
use super::touched::Touched;
use super::{failed, metadata_folder, snapshot_id};
use crate::client::TableLocation;
use crate::error::{Error, Result};
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::snapshot::AsOf;
use crate::write::change::{Change, Committed, Operation, Reads};
use crate::write::delete_all;

/// How long commits that are lost to others are repeated, where the table does not say.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Attempts on one head of the branch after an answer that was lost, before it is reported as lost.
const UNKNOWN_MAX: usize = 6;
/// The first wait between two attempts; it doubles from one to the next.
const WAIT_MIN: Duration = Duration::from_millis(10);
/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What a commit changes of a table's metadata, and what must hold for it.
#[derive(Debug)]
pub struct TableCommit {
    /// The metadata that the changes are made to.
    pub(crate) base: Arc<Metadata>,
    /// The metadata file of `base`.
    pub(crate) base_location: String,
    /// What must hold of the table, or another commit has won.
    pub(crate) requirements: Vec<TableRequirement>,
    /// The changes.
    pub(crate) updates: Vec<TableUpdate>,
}

impl TableCommit {
    /// The metadata after the changes.
    pub(crate) fn apply(&self, name: &TableName) -> Result<TableMetadata> {
        let base = &self.base.table;
        for requirement in &self.requirements {
            requirement.check(Some(base)).map_err(|_| Error::Conflict {
                table: name.to_string(),
            })?;
        }
        let mut builder = base.as_ref().clone().into_builder(Some(self.base_location.clone()));
        for update in &self.updates {
            builder = update.clone().apply(builder).map_err(|error| failed(name, error))?;
        }
        let built = builder.build().map_err(|error| failed(name, error))?;
        Ok(built.metadata)
    }

    /// Location and content of the metadata file after the changes, for a catalog that only points to it.
    pub(crate) fn metadata_file(&self, name: &TableName) -> Result<(String, Bytes)> {
        if let Some(lost) = self.base.loses() {
            return Err(Error::Unsupported {
                table: name.to_string(),
                feature: format!("writing metadata with {lost}"),
            });
        }
        let metadata = self.apply(name)?;
        let json = serde_json::to_vec(&metadata).map_err(|error| failed(name, error))?;
        let file = self.base_location.rsplit('/').next().unwrap_or_default();
        let version = version_of(file).and_then(std::result::Result::ok).unwrap_or(0);
        let folder = metadata_folder(&metadata);
        let location = format!(
            "{folder}/{:05}-{}.metadata.json",
            version.saturating_add(1),
            Uuid::new_v4()
        );
        Ok((location, json.into()))
    }
}

/// A table as its catalog has it now.
#[derive(Debug)]
pub(crate) struct Now {
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) location: String,
}

/// What became of one attempt.
enum Outcome {
    /// It is the table's newest version.
    Landed,
    /// Another commit was first; nothing of it took place.
    Late,
    /// The answer was lost.
    Unknown { detail: String, attempt: Attempt },
    /// It cannot take place.
    Failed(Error),
}

/// What one attempt wrote.
struct Attempt {
    written: Vec<String>,
    /// Names the attempt in the history.
    manifest_list: String,
}

/// A change on its way to a table.
struct Landing<'a> {
    base: &'a IcebergSnapshot,
    lakehouse: &'a Lakehouse,
    name: &'a TableName,
    change: &'a Change,
    branch: &'a str,
    snapshot_id: i64,
    /// Whether manifests are merged that the table would leave alone.
    merges_all: bool,
}

/// Commits `change`, which was computed from `base`, as one snapshot of its branch.
pub(crate) async fn land(
    base: &IcebergSnapshot,
    lakehouse: &Lakehouse,
    name: &TableName,
    change: &Change,
) -> Result<Committed> {
    let Some(branch) = &base.branch else {
        return Err(base.unsupported("writing to a version that is not the head of a branch"));
    };
    let deletes_none = change.deleted.iter().all(|rows| rows.positions.is_empty());
    if change.added.is_empty() && change.removed.is_empty() && deletes_none {
        return Ok(Committed {
            version: base.id().unwrap_or(0),
        });
    }
    let landing = Landing {
        base,
        lakehouse,
        name,
        change,
        branch,
        snapshot_id: snapshot_id(Uuid::new_v4()),
        merges_all: false,
    };
    landing.run().await
}

/// Merges the small manifests of the main branch in a snapshot of the same files: how many there were, and how many
/// they became. Nothing happens where no two of them fit into one.
pub(crate) async fn land_manifests(lakehouse: &Lakehouse, name: &TableName) -> Result<(u64, u64)> {
    let found = now(lakehouse, name).await?;
    let metadata = Arc::clone(&found.metadata);
    let base = IcebergSnapshot::at(name.to_string(), metadata, &AsOf::Latest, lakehouse.manifests().clone())?;
    let Some(snapshot) = &base.snapshot else {
        return Ok((0, 0));
    };
    let table = name.to_string();
    let manifests = Manifests {
        table: &table,
        stores: lakehouse.stores(),
    };
    let listed = manifests.list(&base.metadata.table, snapshot).await?;
    let (bins, _) = Merging::all(base.metadata.table.properties()).bins(None, listed);
    if bins.iter().all(|bin| bin.len() < 2) {
        return Ok((0, 0));
    }
    let nothing = Change {
        operation: Operation::Rewrite,
        added: Vec::new(),
        removed: Vec::new(),
        deleted: Vec::new(),
        reads: Reads::Nothing,
    };
    let landing = Landing {
        base: &base,
        lakehouse,
        name,
        change: &nothing,
        branch: MAIN_BRANCH,
        snapshot_id: snapshot_id(Uuid::new_v4()),
        merges_all: true,
    };
    let committed = landing.run().await?;
    let landed = now(lakehouse, name).await?;
    let snapshot = landed.metadata.table.snapshot_by_id(committed.version).cloned();
    let count = |key: &str| {
        let summary = &snapshot.as_ref()?.summary().additional_properties;
        summary.get(key)?.parse().ok()
    };
    Ok((
        count("manifests-replaced").unwrap_or(0),
        count("manifests-created").unwrap_or(0),
    ))
}

impl Landing<'_> {
    /// Lands, or says why not.
    async fn run(&self) -> Result<Committed> {
        let (landing, base, lakehouse, name) = (self, self.base, self.lakehouse, self.name);
        let mut pace = Pace::of(&base.metadata.table);
        // Attempts whose answer was lost: their files may be the table's.
        let mut lost: Vec<Attempt> = Vec::new();
        let mut lost_detail = String::new();
        // What the branch was when answers were lost, and how many: where it has moved on without them, none of those
        // commits can take place any more.
        let (mut head, mut unanswered) = (None, 0);
        let version = landing.snapshot_id;
        loop {
            let found = now(lakehouse, name).await;
            if let Ok(now) = &found {
                let head_now = now.metadata.refs().get(landing.branch).map(|found| found.snapshot_id);
                if head_now != head {
                    (head, unanswered) = (head_now, 0);
                }
            }
            let outcome = match found {
                Ok(now) => match now.metadata.table.snapshot_by_id(version) {
                    Some(landed) => {
                        lost.retain(|attempt| attempt.manifest_list != landed.manifest_list());
                        Outcome::Landed
                    }
                    None => landing.attempt(&now).await,
                },
                Err(error) => Outcome::Failed(error),
            };
            match outcome {
                Outcome::Landed => {
                    // What the other attempts wrote is nobody's.
                    for attempt in &lost {
                        clean(lakehouse, &attempt.written).await;
                    }
                    return Ok(Committed { version });
                }
                Outcome::Late if pace.wait().await => {}
                Outcome::Unknown { detail, attempt } => {
                    lost.push(attempt);
                    lost_detail = detail;
                    unanswered += 1;
                    if unanswered > UNKNOWN_MAX || !pace.wait().await {
                        return Err(unknown(name, lost_detail));
                    }
                }
                // The table has moved on, so that no lost attempt can still take place: each required the table as it was.
                Outcome::Late | Outcome::Failed(Error::Conflict { .. }) => {
                    return Err(Error::Conflict {
                        table: name.to_string(),
                    });
                }
                Outcome::Failed(error) if lost.is_empty() => return Err(error),
                Outcome::Failed(_) => {
                    pace.failures += 1;
                    if pace.failures > UNKNOWN_MAX || !pace.wait().await {
                        return Err(unknown(name, lost_detail));
                    }
                }
            }
        }
    }

    /// Builds on the table as it is now, and asks the catalog to publish that.
    async fn attempt(&self, now: &Now) -> Outcome {
        let mut written = Vec::new();
        let commit = match self.build(now, &mut written).await {
            Ok(commit) => commit,
            Err(error) => {
                clean(self.lakehouse, &written).await;
                return Outcome::Failed(error);
            }
        };
        let manifest_list = match commit.updates.first() {
            Some(TableUpdate::AddSnapshot { snapshot }) => snapshot.manifest_list().to_owned(),
            _ => String::new(),
        };
        let published = match self.lakehouse.client(&self.name.catalog) {
            Ok(client) => client.commit(self.name, &commit).await,
            Err(error) => Err(error),
        };
        match published {
            Ok(()) => Outcome::Landed,
            Err(Error::CommitUnknown { detail, .. }) => {
                let attempt = Attempt { written, manifest_list };
                Outcome::Unknown { detail, attempt }
            }
            Err(error) => {
                clean(self.lakehouse, &written).await;
                match error {
                    Error::Conflict { .. } => Outcome::Late,
                    error => Outcome::Failed(error),
                }
            }
        }
    }

    /// Validates the change against the table as it is now, and writes its snapshot. Every file that is begun is in
    /// `written`.
    async fn build(&self, now: &Now, written: &mut Vec<String>) -> Result<TableCommit> {
        let (table, metadata) = (self.name.to_string(), &now.metadata.table);
        let mut refs = now.metadata.refs();
        let as_of = match self.branch {
            MAIN_BRANCH => AsOf::Latest,
            // A branch that the change was computed on has to be there still; another one begins here.
            branch if self.base.metadata.refs().contains_key(branch) => AsOf::Ref(branch.to_owned()),
            branch => AsOf::Branch(branch.to_owned()),
        };
        let manifests = self.lakehouse.manifests().clone();
        let head = IcebergSnapshot::at(table.clone(), Arc::clone(&now.metadata), &as_of, manifests)?;
        conflict::check(self.base, &head, self.change).await?;
        let manifests = Manifests {
            table: &table,
            stores: self.lakehouse.stores(),
        };
        let touched = Touched::find(&head, self.change, manifests, self.lakehouse.delete_cache()).await?;
        let mut producer = Producer {
            manifests,
            metadata,
            parent: head.snapshot.clone(),
            snapshot_id: self.snapshot_id,
            attempt: Uuid::new_v4(),
            written: Vec::new(),
            merging: match self.merges_all {
                true => Some(Merging::all(metadata.properties())),
                false => Merging::of(metadata.properties()),
            },
            merged: (0, 0),
        };
        let snapshot = producer.produce(self.change, &touched).await;
        written.append(&mut producer.written);
        let snapshot = snapshot?;
        let found = refs.remove(self.branch);
        let found_id = found.as_ref().map(|reference| reference.snapshot_id);
        let retention = found.map_or(SnapshotRetention::branch(None, None, None), |found| found.retention);
        Ok(TableCommit {
            base: Arc::clone(&now.metadata),
            base_location: now.location.clone(),
            requirements: vec![
                TableRequirement::UuidMatch { uuid: metadata.uuid() },
                TableRequirement::RefSnapshotIdMatch {
                    r#ref: self.branch.to_owned(),
                    snapshot_id: found_id,
                },
                TableRequirement::CurrentSchemaIdMatch {
                    current_schema_id: metadata.current_schema_id(),
                },
            ],
            updates: vec![
                TableUpdate::AddSnapshot { snapshot },
                TableUpdate::SetSnapshotRef {
                    ref_name: self.branch.to_owned(),
                    reference: SnapshotReference::new(self.snapshot_id, retention),
                },
            ],
        })
    }
}

/// The table as its catalog has it now.
pub(crate) async fn now(lakehouse: &Lakehouse, name: &TableName) -> Result<Now> {
    match lakehouse.client(&name.catalog)?.load(name).await? {
        Some(TableLocation::Iceberg {
            metadata_location,
            metadata,
        }) => Ok(Now {
            metadata: lakehouse
                .iceberg_metadata(&name.to_string(), &metadata_location, metadata)
                .await?,
            location: metadata_location,
        }),
        Some(TableLocation::Delta { .. } | TableLocation::View(_)) => Err(Error::Conflict {
            table: name.to_string(),
        }),
        None => Err(Error::NotFound {
            what: "table",
            name: name.to_string(),
            hint: Some("it was dropped or renamed meanwhile".to_owned()),
        }),
    }
}

/// How fast and how long attempts follow one another.
pub(crate) struct Pace {
    deadline: Instant,
    wait: Duration,
    attempts_left: Option<u64>,
    failures: usize,
}

impl Pace {
    pub(crate) fn of(metadata: &TableMetadata) -> Self {
        let number = |key: &str| metadata.properties().get(key)?.parse::<u64>().ok();
        let timeout = number("commit.retry.total-timeout-ms").map_or(TIMEOUT, Duration::from_millis);
        Self {
            deadline: Instant::now() + timeout.min(TIMEOUT),
            wait: WAIT_MIN,
            attempts_left: number("commit.retry.num-retries"),
            failures: 0,
        }
    }

    /// Waits for the next attempt; false where there is none.
    pub(crate) async fn wait(&mut self) -> bool {
        if let Some(left) = &mut self.attempts_left {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => return false,
            }
        }
        if Instant::now() + self.wait > self.deadline {
            return false;
        }
        // Writers that lost at the same time must not meet again: each waits a part of its own.
        let part = u32::from(Uuid::new_v4().as_bytes()[0]) + 1;
        tokio::time::sleep(self.wait * part / 256).await;
        self.wait = (self.wait * 2).min(WAIT_MAX);
        true
    }
}

/// Deletes files that nothing refers to.
async fn clean(lakehouse: &Lakehouse, written: &[String]) {
    delete_all(lakehouse.stores(), written).await;
}

fn unknown(name: &TableName, detail: String) -> Error {
    Error::CommitUnknown {
        table: name.to_string(),
        detail,
    }
}

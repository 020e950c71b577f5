//! New deletion vectors of one commit: merged with those that the files have, and written into few files.
//!
//! Source: the Delta protocol, "Deletion Vector Descriptor Schema" and "Deletion Vector File Storage Format".

use std::collections::HashMap;

use delta_kernel::Engine as _;
use roaring::RoaringTreemap;
use serde_json::{Value, json};
use uuid::Uuid;

use super::live::LiveFile;
use crate::delta::log::Log;
use crate::error::{Error, Result};
use crate::stores::Stores;
use crate::write::change::DeletedRows;
use crate::write::{put, vector};

/// The version of the file format, in its first byte.
const FORMAT_VERSION: u8 = 1;
/// A file ends when it has this size.
const FILE_BYTES: usize = 32 << 20;

/// What a change deletes from one file that stays.
#[derive(Debug)]
pub(crate) struct Deletion {
    /// The file's path.
    pub(crate) path: String,
    /// All rows that are deleted from it now.
    positions: RoaringTreemap,
    /// Those that this change deletes.
    pub(crate) new_rows: u64,
    /// Its number of rows, where it is known.
    rows: Option<u64>,
}

impl Deletion {
    /// True where no row of the file is left.
    pub(crate) fn is_whole(&self) -> bool {
        self.rows == Some(self.positions.len())
    }
}

/// The rows of `deleted`, file by file, together with those that the files' earlier vectors delete.
pub(crate) async fn merge(
    log: &Log,
    live: &HashMap<String, LiveFile>,
    deleted: &[DeletedRows],
) -> Result<Vec<Deletion>> {
    let mut by_file: HashMap<&str, RoaringTreemap> = HashMap::new();
    for rows in deleted {
        *by_file.entry(&rows.file).or_default() |= &rows.positions;
    }
    let mut merged = Vec::with_capacity(by_file.len());
    for (path, new) in by_file {
        let Some(file) = live.get(path).filter(|_| !new.is_empty()) else {
            continue;
        };
        let rows = file.rows();
        if let (Some(rows), Some(last)) = (rows, new.max())
            && last >= rows
        {
            return Err(failed(
                log,
                format!("row {last} of {path} is to be deleted, which has {rows} rows"),
            ));
        }
        let earlier = earlier(log, file).await?;
        let new_rows = new.len() - new.intersection_len(&earlier);
        merged.push(Deletion {
            path: path.to_owned(),
            positions: new | earlier,
            new_rows,
            rows,
        });
    }
    merged.retain(|deletion| deletion.new_rows > 0);
    merged.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(merged)
}

async fn earlier(log: &Log, file: &LiveFile) -> Result<RoaringTreemap> {
    let Some(vector) = file.vector.clone() else {
        return Ok(RoaringTreemap::new());
    };
    let (engine, root) = (log.engine(), log.root_url.clone());
    let expect = vector.cardinality;
    let earlier = log
        .blocking(move || vector.read(engine.storage_handler(), &root))
        .await?;
    match i64::try_from(earlier.len()) == Ok(expect) {
        true => Ok(earlier),
        false => Err(log.corrupt(format!(
            "the deletion vector of {} deletes {} rows, not {expect} as the log says",
            file.path,
            earlier.len()
        ))),
    }
}

/// Writes the vectors of the deletions that leave rows. Returns the descriptor of each, by the path of its data file.
/// `written` gets the locations of the files, those of failed ones too.
pub(crate) async fn write(
    log: &Log,
    stores: &Stores,
    deletions: &[Deletion],
    written: &mut Vec<String>,
) -> Result<HashMap<String, Value>> {
    let mut descriptors = HashMap::new();
    let (mut id, mut bytes) = (Uuid::new_v4(), vec![FORMAT_VERSION]);
    for deletion in deletions.iter().filter(|deletion| !deletion.is_whole()) {
        let framed = vector::encode(&deletion.positions).map_err(|detail| failed(log, detail))?;
        if bytes.len() > 1 && bytes.len() + framed.len() > FILE_BYTES {
            flush(
                log,
                stores,
                id,
                std::mem::replace(&mut bytes, vec![FORMAT_VERSION]),
                written,
            )
            .await?;
            id = Uuid::new_v4();
        }
        let descriptor = json!({
            "storageType": "u",
            "pathOrInlineDv": base85(id),
            "offset": bytes.len(),
            "sizeInBytes": framed.len() - vector::FRAME_BYTES,
            "cardinality": deletion.positions.len(),
        });
        descriptors.insert(deletion.path.clone(), descriptor);
        bytes.extend(framed);
    }
    if bytes.len() > 1 {
        flush(log, stores, id, bytes, written).await?;
    }
    Ok(descriptors)
}

async fn flush(log: &Log, stores: &Stores, id: Uuid, bytes: Vec<u8>, written: &mut Vec<String>) -> Result<()> {
    let location = format!("{}{}/deletion_vector_{id}.bin", log.root.store_url, log.root.path);
    written.push(location.clone());
    put(stores, &location, bytes.into()).await
}

/// Sixteen bytes as twenty letters (Z85, as ZeroMQ's RFC 32 has it).
fn base85(id: Uuid) -> String {
    const LETTERS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let mut text = String::with_capacity(20);
    for word in id.as_bytes().chunks(4) {
        let mut number = word
            .iter()
            .fold(0_usize, |number, byte| (number << 8) | usize::from(*byte));
        let mut letters = [0_u8; 5];
        for letter in letters.iter_mut().rev() {
            *letter = LETTERS[number % 85];
            number /= 85;
        }
        text.extend(letters.map(char::from));
    }
    text
}

fn failed(log: &Log, detail: String) -> Error {
    Error::Write {
        table: log.table.clone(),
        detail,
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use delta_kernel::actions::deletion_vector::{DeletionVectorDescriptor, DeletionVectorStorageType};
    use url::Url;

    use super::*;

    #[test]
    fn ids_are_spelled_as_readers_spell_them() {
        for id in [Uuid::nil(), Uuid::max(), Uuid::new_v4()] {
            let vector = DeletionVectorDescriptor::try_new(
                DeletionVectorStorageType::PersistedRelative,
                base85(id),
                Some(1),
                40,
                1,
            )
            .unwrap();
            let at = vector
                .absolute_path(&Url::parse("s3://bucket/t/").unwrap())
                .unwrap()
                .unwrap();
            assert_eq!(at.as_str(), format!("s3://bucket/t/deletion_vector_{id}.bin"));
        }
    }
}

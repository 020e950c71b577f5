//! The store of one bucket: each object is reached with the credentials that a catalog lent for it, or else with those
//! of the configuration.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use super::loans::Loans;

/// As many objects as S3 deletes in one request.
const DELETED_TOGETHER: usize = 1000;

/// Objects that one client deletes.
type Group = (Arc<dyn ObjectStore>, Vec<Result<Path>>);

#[derive(Debug, Clone)]
pub(super) struct Routed {
    /// As in [`super::bucket_of`].
    pub(super) bucket: String,
    pub(super) configured: Arc<dyn ObjectStore>,
    pub(super) loans: Arc<Loans>,
}

impl Routed {
    fn to(&self, path: &Path) -> Arc<dyn ObjectStore> {
        let lent = self.loans.store(&self.bucket, path);
        lent.unwrap_or_else(|| Arc::clone(&self.configured))
    }

    fn below(&self, prefix: Option<&Path>) -> Arc<dyn ObjectStore> {
        self.to(prefix.unwrap_or(&Path::default()))
    }
}

impl fmt::Display for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.configured.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Routed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.to(location).put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.to(location).put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.to(location).get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.to(location).get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if !self.loans.has_any(&self.bucket) {
            return self.configured.delete_stream(locations);
        }
        let routed = self.clone();
        let chunks = locations.chunks(DELETED_TOGETHER);
        let deleted = chunks.flat_map(move |chunk| {
            let mut groups: Vec<Group> = Vec::new();
            for path in chunk {
                let store = path
                    .as_ref()
                    .map_or_else(|_| Arc::clone(&routed.configured), |path| routed.to(path));
                match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &store)) {
                    Some((_, paths)) => paths.push(path),
                    None => groups.push((store, vec![path])),
                }
            }
            let groups = stream::iter(groups);
            groups.flat_map(|(store, paths)| store.delete_stream(stream::iter(paths).boxed()))
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.below(prefix).list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.below(prefix).list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.below(prefix).list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.to(to).copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.to(to).rename_opts(from, to, options).await
    }
}

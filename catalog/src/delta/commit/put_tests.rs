//! Stores that lose answers, or do not keep their word.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use datafusion::execution::object_store::ObjectStoreRegistry;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutPayload, PutResult, Result as StoreResult,
};
use url::Url;

use super::*;

/// What becomes of a put.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// Nothing goes wrong.
    None,
    /// The object is stored, the answer is lost.
    AnswerLost,
    /// The request is lost.
    RequestLost,
    /// The object is stored over whatever there is.
    Overwrites,
    /// The store does not let anyone write.
    Denied,
}

#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    fault: Fault,
    /// Puts that go wrong before all is well.
    times: AtomicUsize,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        let lost = || object_store::Error::Generic {
            store: "test",
            source: "connection reset".into(),
        };
        let left = self.times.load(Ordering::SeqCst);
        if left == 0 {
            return self.inner.put_opts(path, payload, options).await;
        }
        self.times.store(left - 1, Ordering::SeqCst);
        match self.fault {
            Fault::None => self.inner.put_opts(path, payload, options).await,
            Fault::AnswerLost => {
                self.inner.put_opts(path, payload, options).await?;
                Err(lost())
            }
            Fault::RequestLost => Err(lost()),
            Fault::Overwrites => self.inner.put(path, payload).await,
            Fault::Denied => Err(object_store::Error::PermissionDenied {
                path: path.to_string(),
                source: "denied".into(),
            }),
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn table(fault: Fault, times: usize) -> (Log, Arc<Stores>) {
    let stores = Stores::new(&[]).unwrap();
    let faulty = Faulty {
        inner: InMemory::new(),
        fault,
        times: AtomicUsize::new(times),
    };
    stores.register_store(&Url::parse("s3://bucket/").unwrap(), Arc::new(faulty));
    (Log::new(&stores, "lake.t", "s3://bucket/t").unwrap(), stores)
}

async fn stored(log: &Log) -> Option<String> {
    let path = log.folder().join(format!("{:020}.json", 3));
    let bytes = log.root.store.get(&path).await.ok()?.bytes().await.unwrap();
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

async fn ours(log: &Log) -> Result<Outcome> {
    commit(log, 3, Bytes::from_static(b"{\"txnId\":\"ours\"}"), "ours").await
}

#[tokio::test]
async fn a_lost_answer_is_found_in_the_log() {
    for (fault, times) in [
        (Fault::None, 0),
        (Fault::AnswerLost, 1),
        (Fault::AnswerLost, 9),
        (Fault::RequestLost, 1),
        (Fault::RequestLost, 4),
    ] {
        let (log, _) = table(fault, times);
        assert_eq!(ours(&log).await.unwrap(), Outcome::Committed, "{fault:?} {times}");
        assert_eq!(stored(&log).await.unwrap(), "{\"txnId\":\"ours\"}");
    }
}

#[tokio::test]
async fn a_version_of_another_is_left_alone() {
    for fault in [Fault::None, Fault::RequestLost] {
        let (log, _) = table(fault, 0);
        commit(&log, 3, Bytes::from_static(b"theirs"), "theirs").await.unwrap();
        assert_eq!(ours(&log).await.unwrap(), Outcome::Taken);
        assert_eq!(stored(&log).await.unwrap(), "theirs");
    }
}

#[tokio::test]
async fn what_is_not_known_is_said_to_be_unknown() {
    let (log, _) = table(Fault::RequestLost, 99);
    assert!(matches!(ours(&log).await, Err(Error::CommitUnknown { .. })));
    let (log, _) = table(Fault::Denied, 99);
    assert!(matches!(ours(&log).await, Err(Error::Storage { .. })));
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused() {
    let (log, stores) = table(Fault::Overwrites, 99);
    let error = probe(&log, &stores).await.unwrap_err();
    assert!(error.to_string().contains("If-None-Match"), "{error}");
    let (log, stores) = table(Fault::None, 0);
    probe(&log, &stores).await.unwrap();
    assert!(stores.has_conditional_put("s3://bucket/"));
    let left = log.root.store.list_with_delimiter(None).await.unwrap();
    assert!(left.objects.is_empty() && left.common_prefixes.is_empty());
}

//! What goes wrong is said in words that help, and never takes the server down.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use harness::{Cell, Client, Lake, demo, free_port, rows};
use tempfile::TempDir;
use tonic::{Code, Status};

/// Fails unless the error has this code and its message holds every one of these texts.
fn says(status: &Status, code: Code, texts: &[&str]) {
    assert_eq!(status.code(), code, "{status:?}");
    for text in texts {
        assert!(
            status.message().contains(text),
            "{text:?} is missing in {:?}",
            status.message()
        );
    }
}

async fn still_answers(client: &mut Client, table: &str, count: u64) -> Result<()> {
    let answer = rows(&client.query(&format!("SELECT count(*) FROM {table}")).await?)?;
    assert_eq!(answer, [[Cell::Text(count.to_string())]]);
    Ok(())
}

/// A lake of its own, with TPC-H tables that the test may break.
async fn demo_data() -> Result<TempDir> {
    let data = tempfile::tempdir()?;
    demo(
        0.01,
        &["--data-dir", data.path().to_str().context("a path that is no text")?],
    )
    .await?;
    Ok(data)
}

/// The one file below `folder` whose path holds all of `texts`.
fn find(folder: &Path, texts: &[&str]) -> Result<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                walk(&path, found)?
            } else {
                found.push(path)
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(folder, &mut found)?;
    found.retain(|path| texts.iter().all(|text| path.to_string_lossy().contains(text)));
    found.sort();
    found
        .pop()
        .with_context(|| format!("no file like {texts:?} below {}", folder.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names() -> Result<()> {
    let data = demo_data().await?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let mut client = lake.client().await?;
    let failure = client.failure("SELECT * FROM lake.tpch.lineitems").await?;
    let texts = [
        "\"lake.tpch.lineitems\" does not exist",
        "did you mean lake.tpch.lineitem?",
    ];
    says(&failure, Code::NotFound, &texts);
    let failure = client.failure("SELECT * FROM lake.tcph.lineitem").await?;
    says(&failure, Code::NotFound, &["tcph", "tpch"]);
    let failure = client.failure("SELECT l_quantty FROM lake.tpch.lineitem").await?;
    says(&failure, Code::InvalidArgument, &["l_quantty", "l_quantity"]);
    still_answers(&mut client, "lake.tpch.nation", 25).await
}

#[tokio::test(flavor = "multi_thread")]
async fn syntax_error() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let mut client = lake.client().await?;
    let failure = client.failure("SELECT 1,\n       2 +, 3").await?;
    says(&failure, Code::InvalidArgument, &["Line: 2, Column: 11"]);
    still_answers(&mut client, "(VALUES (1), (2))", 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials() -> Result<()> {
    let lake = Lake::embedded()
        .section("[auth]\nmode = \"basic\"\n[auth.users]\nalice = \"right\"")
        .start()
        .await?;
    for (user, password) in [("alice", "wrong"), ("bob", "right"), ("", "")] {
        let error = lake.client().await?.login(user, password).await;
        let error = format!("{:#}", error.err().context("a wrong password was accepted")?);
        assert!(error.contains("wrong user or password"), "{error}");
    }
    let mut client = lake.client().await?;
    let failure = client.failure("SELECT 1").await?;
    says(&failure, Code::Unauthenticated, &[]);
    client.raw().set_token("not.a.token".to_owned());
    let failure = client.failure("SELECT 1").await?;
    says(&failure, Code::Unauthenticated, &[]);
    client.raw().clear_token();
    client.login("alice", "right").await?;
    still_answers(&mut client, "(VALUES (1), (2))", 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_s3() -> Result<()> {
    let nobody = free_port()?;
    let section = format!(
        "[[storage]]\nprefix = \"s3://gone\"\nendpoint = \"http://127.0.0.1:{nobody}\"\nregion = \"us-east-1\"\n\
         access_key_id = \"key\"\nsecret_access_key = \"hidden\"\nallow_http = true\nretries_max = 1\n"
    );
    let data = demo_data().await?;
    let lake = Lake::embedded().data(data.path()).section(&section).start().await?;
    let mut client = lake.client().await?;
    for format in ["iceberg", "delta"] {
        let failure = client
            .failure(&format!("SELECT * FROM {format}.\"s3://gone/table\""))
            .await?;
        says(&failure, Code::Unavailable, &["s3://gone"]);
        assert!(!failure.message().contains("hidden"), "{failure:?}");
    }
    still_answers(&mut client, "lake.tpch.nation", 25).await
}

#[tokio::test(flavor = "multi_thread")]
async fn executor_that_is_not_there() -> Result<()> {
    let data = demo_data().await?;
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let lake = Lake::with_executor(nobody).data(data.path()).start().await?;
    let mut client = lake.client().await?;
    let failure = client
        .failure("SELECT l_suppkey, count(*) FROM lake.tpch.lineitem GROUP BY 1")
        .await?;
    says(&failure, Code::Unavailable, &[&nobody.to_string()]);
    still_answers(&mut client, "(VALUES (1), (2))", 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_parquet_file() -> Result<()> {
    let data = demo_data().await?;
    for catalog in ["lake", "delta"] {
        let file = find(&data.path().join(catalog), &["/supplier/", ".parquet"])?;
        let bytes = std::fs::read(&file)?;
        std::fs::write(&file, &bytes[..bytes.len() / 2])?;
        let lake = Lake::executors(2).data(data.path()).start().await?;
        let mut client = lake.client().await?;
        let failure = client
            .failure(&format!("SELECT sum(s_acctbal) FROM {catalog}.tpch.supplier"))
            .await?;
        let name = file.file_name().context("a file has a name")?.to_string_lossy();
        says(&failure, Code::Internal, &[&name]);
        still_answers(&mut client, &format!("{catalog}.tpch.nation"), 25).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupt_metadata_json() -> Result<()> {
    let data = demo_data().await?;
    let file = find(&data.path().join("lake"), &["/region/", ".metadata.json"])?;
    std::fs::write(&file, "{\"format-version\": 2, \"table-uuid\":")?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let mut client = lake.client().await?;
    let failure = client.failure("SELECT * FROM lake.tpch.region").await?;
    let name = file.file_name().context("a file has a name")?.to_string_lossy();
    says(&failure, Code::Internal, &["region", &name]);
    still_answers(&mut client, "lake.tpch.nation", 25).await
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupt_delta_log_entry() -> Result<()> {
    let data = demo_data().await?;
    let file = find(&data.path().join("delta"), &["/region/_delta_log/", "0.json"])?;
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, &text[..text.len() - text.len() / 4])?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let mut client = lake.client().await?;
    let failure = client.failure("SELECT * FROM delta.tpch.region").await?;
    says(&failure, Code::Internal, &["region"]);
    still_answers(&mut client, "delta.tpch.nation", 25).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ticket_with_flipped_bytes() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let mut client = lake.client().await?;
    let info = client
        .raw()
        .execute("SELECT 'a ticket of ours'".to_owned(), None)
        .await?;
    let ticket = info
        .endpoint
        .into_iter()
        .find_map(|endpoint| endpoint.ticket)
        .context("no ticket")?;
    for position in 0..ticket.ticket.len() {
        let mut flipped = ticket.ticket.to_vec();
        flipped[position] ^= 1;
        let mut forged = ticket.clone();
        forged.ticket = flipped.into();
        let answer = match client.raw().do_get(forged).await {
            Ok(stream) => stream.try_collect::<Vec<_>>().await,
            Err(error) => Err(error),
        };
        let status = Status::from(
            answer
                .err()
                .with_context(|| format!("byte {position} does not matter"))?,
        );
        ensure!(status.code() == Code::InvalidArgument, "byte {position}: {status:?}");
    }
    let batches = client.raw().do_get(ticket).await?.try_collect::<Vec<_>>().await?;
    assert_eq!(rows(&batches)?, [[Cell::Text("a ticket of ours".to_owned())]]);
    still_answers(&mut client, "(VALUES (1), (2))", 2).await
}

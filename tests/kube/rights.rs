//! The role of the servers is exactly enough: without any one right there is an error that names it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Cluster, Node, Release, rows, same_rows};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;

use crate::support::{PATIENCE, QUERY, QUICK, data, executors, expected, server, until_pods};

#[tokio::test(flavor = "multi_thread")]
async fn each_right_that_is_missing_is_named() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let cluster = Cluster::start().await?;
    let _node = Node::start(&cluster.admin, "one", 100).await?;
    let sets = format!("[[executor.sets]]\nmax = 1\nstart_timeout = \"3s\"\n{QUICK}");
    let rules = Release::rules()?;
    for (index, rule) in rules.as_array().context("no rules")?.iter().enumerate() {
        for verb in rule["verbs"].as_array().context("no verbs")? {
            let verb = verb.as_str().context("no text")?;
            let resource = rule["resources"][0].as_str().context("no resource")?;
            let release = cluster.release(&format!("no-{verb}-{resource}")).await?;
            let mut fewer = rules.clone();
            let verbs = fewer[index]["verbs"].as_array_mut().context("no verbs")?;
            verbs.retain(|other| other != verb);
            if verbs.is_empty() {
                fewer.as_array_mut().context("no rules")?.remove(index);
            }
            release.allow(&fewer).await?;
            let lake = server(&release, &sets, data.path()).await?;
            let mut client = lake.client().await?;
            let named = format!("cannot {verb} resource \"{resource}\"");
            let why = "the server's account is not allowed what it needs";
            if resource == "events" {
                // They are for people: queries do without, and the log below says so.
                same_rows(verb, &expected, &rows(&client.query(QUERY).await?)?, true)?;
            } else if verb == "delete" {
                // It is missed only when the pod shall go.
                same_rows(verb, &expected, &rows(&client.query(QUERY).await?)?, true)?;
                let began = Instant::now();
                loop {
                    let there = executors(&mut client).await?;
                    let told = |text: &str| text.contains(why) && text.contains(&named);
                    if there.iter().any(|one| told(&one.reason)) {
                        break;
                    }
                    ensure!(began.elapsed() < PATIENCE, "{there:?}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            } else {
                let status = client.failure(QUERY).await?;
                let told = status.message();
                ensure!(
                    told.contains(why) && told.contains(&named),
                    "without {verb} of {resource}: {status}"
                );
            }
            // The log has it in quotes of its own.
            let logged = named.replace('"', "\\\"");
            ensure!(lake.server.output().contains(&logged), "the log does not name {verb}");
            // With the right it works.
            release.allow(&rules).await?;
            let began = Instant::now();
            while client.query(QUERY).await.is_err() {
                ensure!(began.elapsed() < PATIENCE, "the right came back in vain");
            }
            until_pods(&release, 0).await?;
            release
                .api::<Pod>()
                .delete_collection(&DeleteParams::default(), &Default::default())
                .await?;
        }
    }
    Ok(())
}

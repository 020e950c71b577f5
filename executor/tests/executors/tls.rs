//! Certificates between servers and executors.

use std::path::Path;
use std::time::Duration;

use datafusion::prelude::SessionConfig;
use executor::{Config, Error, ExecutorConfig, TlsConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::support::{Process, config, engines, executor_config, listed, ours, run, session, tables, text};

const AGGREGATE: &str = "SELECT grp, count(*) AS n FROM fact GROUP BY grp ORDER BY grp LIMIT 1";

/// An authority, and a certificate of it for 127.0.0.1.
fn certificates(folder: &TempDir) -> TlsConfig {
    let path = |name: &str| folder.path().join(name);
    let write = |path: &Path, text: String| std::fs::write(path, text).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write(&path("authority.pem"), params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    write(&path("certificate.pem"), params.signed_by(&key, &issuer).unwrap().pem());
    write(&path("key.pem"), key.serialize_pem());
    TlsConfig {
        certificate: path("certificate.pem"),
        key: path("key.pem"),
        authority: path("authority.pem"),
        name: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_processes_of_one_authority_work_together() {
    let folder = tables().await;
    let (ours_folder, other_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (own, other) = (certificates(&ours_folder), certificates(&other_folder));
    let encrypted = || ExecutorConfig {
        tls: Some(own.clone()),
        ..executor_config()
    };
    let processes = [Process::start(encrypted()), Process::start(encrypted())];
    let answer = async |tls: TlsConfig| {
        let there = Config {
            tls: Some(tls),
            executors_wait: Duration::from_millis(500),
            ..config(listed(&processes))
        };
        let there = engines(&there).await;
        let session = session(&there, SessionConfig::new(), &folder).await;
        match run(&there, &session, AGGREGATE).await {
            Ok(_) => Ok(text(&there, &session, AGGREGATE).await),
            Err(error) => Err(error),
        }
    };
    assert!(answer(own.clone()).await.unwrap().contains("1200"));
    let error = answer(other.clone()).await.unwrap_err();
    assert!(matches!(ours(&error), Error::Unreachable { .. }), "{error}");
    // The executors are the right ones, and the server is a stranger.
    let stranger = TlsConfig {
        authority: own.authority.clone(),
        ..other
    };
    let error = answer(stranger).await.unwrap_err();
    assert!(matches!(ours(&error), Error::Unreachable { .. }), "{error}");
    let named = TlsConfig {
        name: Some("another.example".to_owned()),
        ..own
    };
    assert!(answer(named).await.is_err(), "the name is checked");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_say_whether_they_are_encrypted() {
    let process = Process::start(executor_config());
    let folder = tempfile::tempdir().unwrap();
    let mixed = Config {
        tls: Some(certificates(&folder)),
        ..config(listed(&[process]))
    };
    let error = mixed.validate().unwrap_err();
    assert!(
        error.to_string().contains("mode.addresses.0: must begin with https://"),
        "{error}"
    );
}

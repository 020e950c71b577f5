//! Who gets in: certificates over real handshakes, tokens of a provider of this process, files of users that change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow_flight::sql::client::FlightSqlServiceClient;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;
use server::auth::{self, Algorithm, JwtConfig, Mode};
use server::tls;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Status};

use crate::house::{Client, House, two_users};

/// More than the two seconds between two looks at a file, on a machine that is busy.
const SOON: Duration = Duration::from_secs(30);

/// An authority, and the folder in which its certificates lie.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority of the tests");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &pem).unwrap();
        let issuer = Issuer::new(params, key);
        Self { folder, issuer, pem }
    }

    /// A certificate of `name`, and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives the server a new certificate.
    fn renew(&self, name: &str) {
        let (certificate, key) = self.issue(name);
        std::fs::write(self.file("server.pem"), certificate).unwrap();
        std::fs::write(self.file("server.key"), key).unwrap();
    }

    fn config(&self, client_authority: bool, client_certificate_required: bool) -> tls::Config {
        tls::Config {
            certificate: self.file("server.pem"),
            key: self.file("server.key"),
            client_authority: client_authority.then(|| self.file("ca.pem")),
            client_certificate_required,
        }
    }

    /// A connection of somebody who believes this authority and shows `own`.
    async fn connect(&self, house: &House, own: Option<(String, String)>) -> Result<Client, tonic::transport::Error> {
        let url = format!("https://localhost:{}", house.address().port());
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.pem));
        if let Some((certificate, key)) = own {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let channel = Channel::from_shared(url).unwrap().tls_config(tls)?.connect().await?;
        Ok(Client {
            sql: FlightSqlServiceClient::new(channel),
        })
    }
}

async fn user(client: &mut Client) -> Result<usize, Status> {
    client.query("SELECT 1").await.map(|(_, rows)| rows.num_rows())
}

#[track_caller]
fn is_unauthenticated(answer: Result<usize, Status>, expect: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains(expect), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_a_user() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    authority.renew("localhost");
    let house = House::with(|config| {
        config.tls = Some(authority.config(true, false));
        config.auth = auth::Config {
            mode: Mode::Required,
            ..two_users()
        };
    })
    .await;
    let mut carol = authority.connect(&house, Some(authority.issue("carol"))).await.unwrap();
    assert_eq!(user(&mut carol).await.unwrap(), 1);
    carol.sql.handshake("alice", "wonderland").await.unwrap();
    carol.query("USE lake.shop").await.unwrap();
    assert_eq!(carol.query("SELECT * FROM orders").await.unwrap().1.num_rows(), 5);

    let mut nobody = authority.connect(&house, None).await.unwrap();
    is_unauthenticated(user(&mut nobody).await, "a user and a password or a client certificate");
    nobody.sql.handshake("bob", "builder").await.unwrap();
    assert_eq!(
        user(&mut nobody).await.unwrap(),
        1,
        "passwords work beside certificates"
    );
    // With TLS 1.3 a client learns with its first call that the server does not take its certificate.
    match authority.connect(&house, Some(strangers.issue("carol"))).await {
        Ok(mut forger) => assert!(user(&mut forger).await.is_err(), "another authority's certificate"),
        Err(refused) => drop(refused),
    }
    let dropped = strangers.connect(&house, None).await;
    assert!(
        dropped.is_err(),
        "a server of an authority that the client does not know"
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_can_be_demanded_and_passwords_still_asked_for() {
    let authority = Authority::new();
    authority.renew("localhost");
    let house = House::with(|config| {
        config.tls = Some(authority.config(true, true));
        config.auth = two_users();
    })
    .await;
    match authority.connect(&house, None).await {
        Ok(mut client) => assert!(client.sql.handshake("bob", "builder").await.is_err()),
        Err(refused) => drop(refused),
    }
    let mut client = authority.connect(&house, Some(authority.issue("carol"))).await.unwrap();
    is_unauthenticated(user(&mut client).await, "this server wants a user and a password");
    client.sql.handshake("bob", "builder").await.unwrap();
    assert_eq!(user(&mut client).await.unwrap(), 1);
    house.close().await;
}

/// What a connection of now is shown; the running one stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_counts_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    old.renew("localhost");
    let house = House::with(|config| config.tls = Some(old.config(false, false))).await;
    let mut before = old.connect(&house, None).await.unwrap();
    assert_eq!(user(&mut before).await.unwrap(), 1);
    assert!(new.connect(&house, None).await.is_err());

    std::fs::write(old.file("server.pem"), "-----BEGIN CERTIFICATE-----\ndamaged\n").unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    old.connect(&house, None).await.unwrap();

    let (certificate, key) = new.issue("localhost");
    std::fs::write(old.file("server.key"), key).unwrap();
    std::fs::write(old.file("server.pem"), certificate).unwrap();
    let began = Instant::now();
    while new.connect(&house, None).await.is_err() {
        assert!(began.elapsed() < SOON, "the new certificate does not count");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(old.connect(&house, None).await.is_err(), "the old one is gone");
    assert_eq!(user(&mut before).await.unwrap(), 1, "who was there stays");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_users_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    // "password", as the reference implementation hashes it.
    let hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    std::fs::write(&file, format!("alice:{hash}\n")).unwrap();
    let house = House::with(|config| {
        config.auth.mode = Mode::Basic;
        config.auth.users_file = Some(file.clone());
    })
    .await;
    let mut alice = house.client_of("alice", "password").await;
    assert_eq!(user(&mut alice).await.unwrap(), 1);
    let denied = house
        .client()
        .await
        .sql
        .handshake("bob", "password")
        .await
        .unwrap_err()
        .to_string();
    assert!(denied.contains("wrong user or password"), "{denied}");

    std::fs::write(&file, format!("bob:{hash}\n")).unwrap();
    let began = Instant::now();
    while house.client().await.sql.handshake("bob", "password").await.is_err() {
        assert!(began.elapsed() < SOON, "the new user is not let in");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    is_unauthenticated(user(&mut alice).await, "log in again");
    house.close().await;
}

/// A provider that publishes its description and its keys over HTTP.
struct Provider {
    issuer: String,
    keys: Arc<Mutex<Vec<serde_json::Value>>>,
    _serving: JoinSet<()>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}/realm", listener.local_addr().unwrap());
        let keys: Arc<Mutex<Vec<serde_json::Value>>> = Arc::default();
        let mut serving = JoinSet::new();
        let (own, published) = (issuer.clone(), Arc::clone(&keys));
        serving.spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let length = connection.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let body = match request.split(' ').nth(1) {
                    Some("/realm/.well-known/openid-configuration") => {
                        json!({"issuer": own, "jwks_uri": format!("{own}/keys")}).to_string()
                    }
                    Some("/realm/keys") => json!({"keys": *published.lock().unwrap()}).to_string(),
                    _ => String::new(),
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                connection.write_all((head + &body).as_bytes()).await.unwrap();
            }
        });
        Self {
            issuer,
            keys,
            _serving: serving,
        }
    }

    /// Replaces the keys by a new one, and gives what signs with it.
    fn rotate(&self, id: &'static str) -> impl Fn(serde_json::Value) -> String + use<> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..]),
        );
        *self.keys.lock().unwrap() = vec![json!({"kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y})];
        let issuer = self.issuer.clone();
        move |mut claims| {
            let expires_s = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 300;
            claims["iss"] = json!(issuer);
            claims["exp"] = json!(expires_s);
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": id}).to_string());
            let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
            let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_provider_open_the_door() {
    let provider = Provider::start().await;
    let sign = provider.rotate("first");
    let house = House::with(|config| {
        config.auth = auth::Config {
            mode: Mode::Required,
            jwt: Some(JwtConfig {
                issuer: provider.issuer.clone(),
                audience: "lakewing".to_owned(),
                jwks: None,
                algorithms: vec![Algorithm::ES256],
                user_claim: "sub".to_owned(),
                groups_claim: "groups".to_owned(),
                groups: vec!["analysts".to_owned()],
                clock_skew: Duration::ZERO,
            }),
            ..two_users()
        };
    })
    .await;
    let bearing = async |token: String| {
        let mut client = house.client().await;
        client.sql.set_token(token);
        client
    };
    let carol = json!({"aud": "lakewing", "sub": "carol", "groups": ["analysts"]});
    let mut client = bearing(sign(carol.clone())).await;
    assert_eq!(user(&mut client).await.unwrap(), 1);
    client.query("USE lake.shop").await.unwrap();
    assert_eq!(
        client.query("SELECT * FROM orders").await.unwrap().1.num_rows(),
        5,
        "it has a session"
    );
    let mut same = bearing(client.sql.token().unwrap().clone()).await;
    assert_eq!(
        same.query("SELECT * FROM orders").await.unwrap().1.num_rows(),
        5,
        "the same one"
    );

    let outsider = sign(json!({"aud": "lakewing", "sub": "dave", "groups": ["guests"]}));
    let denied = user(&mut bearing(outsider).await).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");
    let elsewhere = sign(json!({"aud": "mail", "sub": "carol", "groups": ["analysts"]}));
    is_unauthenticated(user(&mut bearing(elsewhere).await).await, "for another audience");
    is_unauthenticated(
        user(&mut bearing("forged".to_owned()).await).await,
        "the token is not valid",
    );
    is_unauthenticated(
        user(&mut house.client().await).await,
        "a user and a password or a bearer token",
    );
    assert_eq!(user(&mut house.client_of("bob", "builder").await).await.unwrap(), 1);

    let rotated = provider.rotate("second");
    let began = Instant::now();
    while user(&mut bearing(rotated(carol.clone())).await).await.is_err() {
        assert!(began.elapsed() < SOON, "the new key is not found");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    is_unauthenticated(user(&mut bearing(sign(carol)).await).await, "does not list");
    house.close().await;
}

//! A MinIO without keys to configure: whoever shows a token of its identity provider gets temporary ones, over TLS, as
//! the pods of a cloud do.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Minio;
use crate::{Process, free_port, part};

/// Whom tokens are for.
const CLIENT: &str = "lakewing";
/// The key that signs tokens.
const KEY_ID: &str = "the key";
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// The store with its bucket `lake`, and what a process needs to get in.
pub struct WebIdentity {
    /// The variables of a process that may read and write, as a cloud sets them.
    pub variables: Vec<(String, String)>,
    /// The file that holds the token.
    pub token: PathBuf,
    endpoint: String,
    _process: Process,
    _provider: JoinSet<()>,
    _folder: TempDir,
}

impl WebIdentity {
    /// Starts the provider and the store, and waits until that answers.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (data, certificates) = (folder.path().join("data"), folder.path().join("certs"));
        std::fs::create_dir_all(data.join("lake"))?;
        std::fs::create_dir_all(&certificates)?;
        let authority = folder.path().join("authority.pem");
        let [trusted, certificate, key] = certificate()?;
        for (path, text) in [
            (&authority, trusted),
            (&certificates.join("public.crt"), certificate),
            (&certificates.join("private.key"), key),
        ] {
            std::fs::write(path, text)?;
        }
        let pair = Pair::new()?;
        let mut provider = JoinSet::new();
        let issuer = serve(pair.public(), &mut provider).await?;
        let token = folder.path().join("token");
        std::fs::write(&token, pair.token(&issuer)?)?;

        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(part("minio")?.join("minio"));
        command.args(["server", "--address", &address, "--certs-dir"]);
        command.arg(&certificates).arg(data);
        command
            .env("MINIO_ROOT_USER", Minio::ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", Minio::SECRET_KEY)
            .env("MINIO_BROWSER", "off")
            .env("HOME", folder.path());
        for (name, value) in [
            ("CONFIG_URL", &*format!("{issuer}/.well-known/openid-configuration")),
            ("CLIENT_ID", CLIENT),
            ("ROLE_POLICY", "readwrite"),
        ] {
            command.env(format!("MINIO_IDENTITY_OPENID_{name}"), value);
        }
        let mut process = Process::start("minio", command, folder.path())?;
        let role = process.prints("arn:minio:iam:::role/").await?;
        let role = role
            .split_whitespace()
            .next()
            .context("a role without a name")?
            .to_owned();
        process
            .ready(async || TcpStream::connect(&address).await.is_ok())
            .await?;
        let endpoint = format!("https://{address}");
        let variables = [
            ("AWS_ROLE_ARN", format!("arn:minio:iam:::role/{role}")),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
            ("AWS_ENDPOINT_URL_STS", endpoint.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("SSL_CERT_FILE", authority.display().to_string()),
        ];
        Ok(Self {
            variables: variables.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            token,
            endpoint,
            _process: process,
            _provider: provider,
            _folder: folder,
        })
    }

    /// The `[[storage]]` section that reaches it, without any key.
    pub fn storage(&self) -> String {
        format!("[[storage]]\nprefix = \"s3://lake\"\nendpoint = {:?}\n", self.endpoint)
    }
}

/// An authority, and a certificate of this machine that it vouches for with its key: PEM.
pub fn certificate() -> Result<[String; 3]> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "an authority of the tests");
    let authority_key = KeyPair::generate()?;
    let trusted = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let own = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    Ok([trusted, own.pem(), key.serialize_pem()])
}

/// Tells everybody the provider's key, and returns the provider's name.
async fn serve(key: Value, serving: &mut JoinSet<()>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let issuer = format!("http://{}", listener.local_addr()?);
    let own = issuer.clone();
    serving.spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = connection.read(&mut request).await.unwrap_or(0);
            let is_keys = String::from_utf8_lossy(&request[..length]).starts_with("GET /keys");
            let body = match is_keys {
                true => json!({"keys": [key]}),
                false => json!({"issuer": own, "jwks_uri": format!("{own}/keys")}),
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            drop(connection.write_all((head + &body).as_bytes()).await);
        }
    });
    Ok(issuer)
}

/// What tokens are signed with.
struct Pair(EcdsaKeyPair);

impl Pair {
    fn new() -> Result<Self> {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
            .ok()
            .context("no key")?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random);
        Ok(Self(pair.ok().context("a key that is none")?))
    }

    /// As a JSON Web Key (RFC 7517).
    fn public(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID, "x": x, "y": y})
    }

    fn token(&self, issuer: &str) -> Result<String> {
        let expires = UNIX_EPOCH.elapsed()? + TOKEN_LIFE;
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": KEY_ID});
        let claims = json!({"iss": issuer, "sub": "an executor", "aud": CLIENT, "exp": expires.as_secs()});
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.ok().context("no signature")?);
        Ok(format!("{message}.{signature}"))
    }
}

//! Tokens that a provider of this process signs, with keys that it publishes and changes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use proto::ErrorKind;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::*;

/// Short enough for a test.
const AGES: Ages = Ages {
    refresh: Duration::from_millis(20),
    max: Duration::from_secs(60),
    between: Duration::ZERO,
};

struct Signer {
    id: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Self { id, pair }
    }

    fn published(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..]),
        );
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "x": x, "y": y})
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"alg": "ES256", "typ": "JWT", "kid": self.id}), claims)
    }

    fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn publish(file: &Path, signers: &[&Signer]) {
    let keys: Vec<_> = signers.iter().map(|signer| signer.published()).collect();
    std::fs::write(file, json!({ "keys": keys }).to_string()).unwrap();
}

fn config(file: &Path) -> JwtConfig {
    JwtConfig {
        issuer: "https://login.example.org/".to_owned(),
        audience: "lakewing".to_owned(),
        jwks: Some(file.display().to_string()),
        algorithms: Algorithm::all(),
        user_claim: "sub".to_owned(),
        groups_claim: "groups".to_owned(),
        groups: Vec::new(),
        clock_skew: Duration::from_secs(60),
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({"iss": "https://login.example.org/", "aud": ["other", "lakewing"], "sub": "alice", "exp": now_s() + 300})
}

/// The claims of [`claims`] with another value, or without one.
fn but(name: &str, value: Option<Value>) -> Value {
    let mut claims = claims();
    match value {
        Some(value) => claims[name] = value,
        None => drop(claims.as_object_mut().unwrap().remove(name)),
    }
    claims
}

async fn refusal(jwt: &Jwt, token: &str) -> String {
    let error = jwt.verify(token, SystemTime::now()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    error.to_string()
}

#[tokio::test]
async fn claims_are_checked_by_value_and_by_type() {
    let folder = tempfile::tempdir().unwrap();
    let (file, signer) = (folder.path().join("keys.json"), Signer::new("one"));
    publish(&file, &[&signer]);
    let jwt = Jwt::new(&config(&file), AGES).unwrap();
    for good in [
        claims(),
        but("aud", Some(json!("lakewing"))),
        but("exp", Some(json!(now_s() - 30))),
        but("exp", Some(json!(now_s() as f64 + 0.5))),
        but("nbf", Some(json!(now_s() + 30))),
    ] {
        let user = jwt.verify(&signer.sign(&good), SystemTime::now()).await;
        assert_eq!(user.unwrap(), "alice", "{good}");
    }
    for (bad, expect) in [
        (but("iss", None), "the token is of another issuer"),
        (
            but("iss", Some(json!("https://login.example.org"))),
            "the token is of another issuer",
        ),
        (
            but("iss", Some(json!(["https://login.example.org/"]))),
            "the token is of another issuer",
        ),
        (but("aud", None), "the token is for another audience"),
        (
            but("aud", Some(json!(["lakewing2"]))),
            "the token is for another audience",
        ),
        (
            but("aud", Some(json!({"lakewing": true}))),
            "the token is for another audience",
        ),
        (but("exp", None), "the token does not say when it expires"),
        (
            but("exp", Some(json!("never"))),
            "the token does not say when it expires",
        ),
        (but("exp", Some(json!(now_s() - 61))), "the token has expired"),
        (but("nbf", Some(json!(now_s() + 90))), "the token is not valid yet"),
        (but("nbf", Some(json!("now"))), "the token is not valid yet"),
        (but("sub", None), "the token names no user in its claim sub"),
        (but("sub", Some(json!(7))), "the token names no user in its claim sub"),
        (
            but("sub", Some(json!("a\nb"))),
            "the token names no user in its claim sub",
        ),
        (json!([]), "the token is malformed"),
    ] {
        assert_eq!(refusal(&jwt, &signer.sign(&bad)).await, expect, "{bad}");
    }
}

#[tokio::test]
async fn only_the_issuers_signature_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (file, signer, forger) = (folder.path().join("keys.json"), Signer::new("one"), Signer::new("one"));
    publish(&file, &[&signer]);
    let jwt = Jwt::new(&config(&file), AGES).unwrap();
    assert_eq!(
        refusal(&jwt, &forger.sign(&claims())).await,
        "the token has a wrong signature"
    );

    let good = signer.sign(&claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let other = URL_SAFE_NO_PAD.encode(but("sub", Some(json!("root"))).to_string());
    assert_eq!(
        refusal(&jwt, &format!("{header}.{other}.{signature}")).await,
        "the token has a wrong signature"
    );
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS256", "kid": "one"}),
        json!({"alg": "es256", "kid": "one"}),
    ] {
        let refused = refusal(&jwt, &signer.sign_with(&header, &claims())).await;
        assert_eq!(refused, "the token is signed in a way that is not allowed", "{header}");
    }
    let extended = json!({"alg": "ES256", "kid": "one", "crit": ["b64"]});
    assert!(
        refusal(&jwt, &signer.sign_with(&extended, &claims()))
            .await
            .contains("extension")
    );
    for nonsense in ["..", "a.b.c", "e30.e30.", &good[1..], &"a.".repeat(20_000)] {
        assert_eq!(refusal(&jwt, nonsense).await, "the token is malformed");
    }
    let only_rsa = JwtConfig {
        algorithms: vec![Algorithm::RS256],
        ..config(&file)
    };
    let refused = refusal(&Jwt::new(&only_rsa, AGES).unwrap(), &good).await;
    assert_eq!(refused, "the token is signed in a way that is not allowed");
    let nameless = signer.sign_with(&json!({"alg": "ES256"}), &claims());
    assert_eq!(jwt.verify(&nameless, SystemTime::now()).await.unwrap(), "alice");
}

#[tokio::test]
async fn users_and_groups_are_where_the_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    let (file, signer) = (folder.path().join("keys.json"), Signer::new("one"));
    publish(&file, &[&signer]);
    let wanted = JwtConfig {
        user_claim: "https://example.org/name".to_owned(),
        groups_claim: "realm_access.roles".to_owned(),
        groups: vec!["analysts".to_owned(), "admins".to_owned()],
        ..config(&file)
    };
    let jwt = Jwt::new(&wanted, AGES).unwrap();
    let with = |roles: Value| {
        let mut claims = but("https://example.org/name", Some(json!("alice@example.org")));
        claims["realm_access"] = json!({ "roles": roles });
        signer.sign(&claims)
    };
    for roles in [json!(["staff", "analysts"]), json!("admins")] {
        let user = jwt.verify(&with(roles), SystemTime::now()).await;
        assert_eq!(user.unwrap(), "alice@example.org");
    }
    for roles in [json!([]), json!(["staff"]), json!({"analysts": 1}), json!(null)] {
        let error = jwt.verify(&with(roles), SystemTime::now()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(
            error.to_string().contains("alice@example.org is in none of the groups"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn keys_rotate_and_are_kept_while_they_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (file, old, new) = (folder.path().join("keys.json"), Signer::new("old"), Signer::new("new"));
    let jwt = Jwt::new(&config(&file), AGES).unwrap();
    let (with_old, with_new) = (old.sign(&claims()), new.sign(&claims()));
    let unread = "the token cannot be checked now: the server cannot read its issuer's keys";
    assert_eq!(refusal(&jwt, &with_old).await, unread, "a file that is not there yet");

    publish(&file, &[&old]);
    assert!(jwt.verify(&with_old, SystemTime::now()).await.is_ok());
    let unlisted = "the token is signed with a key that its issuer does not list";
    assert_eq!(refusal(&jwt, &with_new).await, unlisted);

    publish(&file, &[&old, &new]);
    assert!(
        jwt.verify(&with_new, SystemTime::now()).await.is_ok(),
        "an unknown key is looked up"
    );
    std::fs::write(&file, "{").unwrap();
    assert!(
        jwt.verify(&with_old, SystemTime::now()).await.is_ok(),
        "known keys stay"
    );

    publish(&file, &[&new]);
    let withdrawn = async {
        while jwt.verify(&with_old, SystemTime::now()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = jwt.watch() => panic!("it watches for ever"),
        ended = tokio::time::timeout(Duration::from_secs(20), withdrawn) => ended.unwrap(),
    }
    assert_eq!(refusal(&jwt, &with_old).await, unlisted, "withdrawn");
}

#[tokio::test]
async fn old_keys_are_not_believed_and_made_up_keys_cause_no_requests() {
    let folder = tempfile::tempdir().unwrap();
    let (file, signer) = (folder.path().join("keys.json"), Signer::new("one"));
    publish(&file, &[&signer]);
    let aged = Ages {
        max: Duration::ZERO,
        between: Duration::ZERO,
        ..AGES
    };
    let jwt = Jwt::new(&config(&file), aged).unwrap();
    let refused = refusal(&jwt, &signer.sign(&claims())).await;
    assert!(refused.contains("does not list"), "{refused}");

    let patient = Ages {
        between: Duration::from_secs(3600),
        ..AGES
    };
    let jwt = Jwt::new(&config(&file), patient).unwrap();
    assert!(jwt.verify(&signer.sign(&claims()), SystemTime::now()).await.is_ok());
    let made_up = Signer::new("two");
    publish(&file, &[&signer, &made_up]);
    assert!(
        refusal(&jwt, &made_up.sign(&claims())).await.contains("does not list"),
        "not read again so soon"
    );
}

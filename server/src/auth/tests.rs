//! Logins and calls in both modes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proto::ErrorKind;

use super::*;

fn config(mode: Mode) -> Config {
    Config {
        mode,
        users: BTreeMap::from([("alice".to_owned(), Secret::new("wonder:land"))]),
        secret: Some(Secret::new("0123456789abcdef")),
        ..Config::default()
    }
}

fn call(authorization: &str) -> Request<()> {
    let mut call = Request::new(());
    call.metadata_mut()
        .insert("authorization", authorization.parse().unwrap());
    call
}

fn basic(user: &str, password: &str) -> Request<()> {
    call(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

#[tokio::test]
async fn basic_mode_wants_the_right_password() {
    let auth = Authenticator::new(&config(Mode::Basic)).unwrap();
    let caller = auth.caller(&basic("alice", "wonder:land")).await.unwrap();
    assert_eq!(
        caller,
        Caller {
            user: "alice".to_owned(),
            session_id: None,
            tags: Vec::new(),
        }
    );

    for refused in [
        basic("alice", "wonderland"),
        basic("alice", ""),
        basic("bob", "wonder:land"),
        basic("", ""),
        call("Basic !!!"),
        call("Basic"),
        call("Digest abc"),
        call("Bearer abc"),
        Request::new(()),
    ] {
        assert_eq!(
            auth.caller(&refused).await.unwrap_err().kind(),
            ErrorKind::Unauthenticated,
            "{refused:?}"
        );
        assert_eq!(
            auth.log_in(&refused).await.unwrap_err().kind(),
            ErrorKind::Unauthenticated,
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_login_opens_a_session_that_every_server_with_the_key_knows() {
    let auth = Authenticator::new(&config(Mode::Basic)).unwrap();
    let token = auth.log_in(&basic("alice", "wonder:land")).await.unwrap();
    let bearer = call(&format!("Bearer {token}"));
    let caller = Authenticator::new(&config(Mode::Basic))
        .unwrap()
        .caller(&bearer)
        .await
        .unwrap();
    assert_eq!(caller.user, "alice");
    assert!(caller.session_id.is_some());
    let renewed = auth.log_in(&bearer).await.unwrap();
    assert_eq!(
        auth.caller(&call(&format!("Bearer {renewed}"))).await.unwrap(),
        caller,
        "the same session"
    );

    let stranger = Authenticator::new(&Config {
        secret: None,
        ..config(Mode::Basic)
    })
    .unwrap();
    assert_eq!(
        stranger.caller(&bearer).await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
}

#[tokio::test]
async fn a_login_ends_with_what_it_was_for() {
    let before = Authenticator::new(&config(Mode::Basic)).unwrap();
    let token = before.log_in(&basic("alice", "wonder:land")).await.unwrap();
    let bearer = call(&format!("Bearer {token}"));
    let changed = Config {
        users: BTreeMap::from([("alice".to_owned(), Secret::new("another"))]),
        ..config(Mode::Basic)
    };
    let gone = Config {
        users: BTreeMap::from([("bob".to_owned(), Secret::new("wonder:land"))]),
        ..config(Mode::Basic)
    };
    for config in [changed, gone] {
        let error = Authenticator::new(&config).unwrap().caller(&bearer).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.to_string().contains("log in again"), "{error}");
    }

    let open = Config {
        users: BTreeMap::new(),
        ..config(Mode::Anonymous)
    };
    let token = Authenticator::new(&open)
        .unwrap()
        .log_in(&Request::new(()))
        .await
        .unwrap();
    let error = before.caller(&call(&format!("Bearer {token}"))).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unauthenticated,
        "from when everybody was let in"
    );
}

#[tokio::test]
async fn guessing_is_slowed_down_and_who_knows_is_not() {
    let auth = Authenticator::new(&config(Mode::Basic)).unwrap();
    let mut reasons = Vec::new();
    for _ in 0..12 {
        reasons.push(auth.caller(&basic("alice", "guess")).await.unwrap_err().to_string());
    }
    assert_eq!(reasons[9], "wrong user or password");
    assert_eq!(reasons[11], "too many logins failed: wait a minute");
    assert!(auth.caller(&basic("alice", "wonder:land")).await.is_ok());
}

#[tokio::test]
async fn a_call_without_credentials_is_told_what_is_wanted() {
    let both = Config {
        users_file: None,
        ..config(Mode::Required)
    };
    for (config, expect) in [
        (config(Mode::Basic), "this server wants a user and a password"),
        (both, "this server wants a user and a password or a client certificate"),
    ] {
        let auth = Authenticator::new(&config).unwrap();
        assert_eq!(auth.caller(&Request::new(())).await.unwrap_err().to_string(), expect);
    }
}

#[tokio::test]
async fn anonymous_mode_lets_everybody_in() {
    let auth = Authenticator::new(&Config::default()).unwrap();
    for offered in [Request::new(()), basic("who", "ever"), call("Bearer somebody-elses")] {
        assert_eq!(
            auth.caller(&offered).await.unwrap(),
            Caller {
                user: ANONYMOUS.to_owned(),
                session_id: None,
                tags: Vec::new(),
            }
        );
        let token = auth.log_in(&offered).await.unwrap();
        let caller = auth.caller(&call(&format!("Bearer {token}"))).await.unwrap();
        assert_eq!(caller.user, ANONYMOUS);
        assert!(caller.session_id.is_some());
    }
}

#[test]
fn tokens_expire() {
    let tokens = Tokens::new(Seal::random().unwrap(), Duration::from_secs(60));
    let now = SystemTime::now();
    let alice = Claims {
        user: "alice".to_owned(),
        ..Claims::default()
    };
    let token = tokens.issue(alice, now);
    assert_eq!(
        tokens.verify(&token, now + Duration::from_secs(58)).unwrap().user,
        "alice"
    );
    let late = tokens.verify(&token, now + Duration::from_secs(61)).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unauthenticated);
    assert!(late.to_string().contains("expired"), "{late}");
}

#[test]
fn a_config_that_cannot_work_is_refused() {
    let check = |config: Config, key: &str| {
        let error = config.validate(false).unwrap_err();
        assert!(error.to_string().starts_with(key), "{error}");
    };
    check(
        Config {
            users: BTreeMap::new(),
            ..config(Mode::Basic)
        },
        "auth.users:",
    );
    check(
        Config {
            secret: Some(Secret::new("short")),
            ..config(Mode::Basic)
        },
        "auth.secret:",
    );
    check(
        Config {
            token_lifetime: Duration::ZERO,
            ..config(Mode::Basic)
        },
        "auth.token_lifetime:",
    );
    let users = BTreeMap::from([("a:b".to_owned(), Secret::new("x"))]);
    check(
        Config {
            users,
            ..config(Mode::Basic)
        },
        "auth.users.a:b:",
    );
    check(config(Mode::Anonymous), "auth.mode:");
    let nobody = Config {
        mode: Mode::Required,
        ..Config::default()
    };
    assert!(nobody.validate(true).is_ok());
    check(nobody, "auth.mode:");
    let hashed = BTreeMap::from([("alice".to_owned(), Secret::new("$2b$12$x"))]);
    let bcrypt = Config {
        users: hashed,
        ..config(Mode::Basic)
    };
    check(bcrypt, "auth.users.alice:");
}

#[test]
fn tokens_that_prove_nothing_are_not_configured() {
    let check = |config: Config, key: &str| {
        let error = config.validate(false).unwrap_err();
        assert!(error.to_string().starts_with(key), "{error}");
    };
    let jwt = || JwtConfig {
        issuer: "https://login.example.org".to_owned(),
        audience: "lakewing".to_owned(),
        jwks: None,
        algorithms: vec![Algorithm::RS256],
        user_claim: "sub".to_owned(),
        groups_claim: "groups".to_owned(),
        groups: Vec::new(),
        clock_skew: Duration::ZERO,
    };
    let with = |jwt: JwtConfig| Config {
        jwt: Some(jwt),
        ..config(Mode::Required)
    };
    assert!(with(jwt()).validate(false).is_ok());
    let http = Some("http://login.example.org/keys".to_owned());
    check(with(JwtConfig { jwks: http, ..jwt() }), "auth.jwt.jwks:");
    check(
        with(JwtConfig {
            issuer: "me".to_owned(),
            ..jwt()
        }),
        "auth.jwt.jwks:",
    );
    check(
        with(JwtConfig {
            audience: String::new(),
            ..jwt()
        }),
        "auth.jwt.audience:",
    );
    check(
        with(JwtConfig {
            algorithms: Vec::new(),
            ..jwt()
        }),
        "auth.jwt.algorithms:",
    );
    let misplaced = Config {
        jwt: Some(jwt()),
        ..config(Mode::Basic)
    };
    check(misplaced, "auth.jwt:");
}

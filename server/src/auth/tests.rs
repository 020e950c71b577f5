//! Logins and calls in both modes.
#![allow(clippy::unwrap_used, reason = "tests")]

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

fn headers(authorization: &str) -> MetadataMap {
    let mut headers = MetadataMap::new();
    headers.insert("authorization", authorization.parse().unwrap());
    headers
}

fn basic(user: &str, password: &str) -> MetadataMap {
    headers(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

#[test]
fn basic_mode_wants_the_right_password() {
    let auth = Authenticator::new(&config(Mode::Basic)).unwrap();
    let caller = auth.caller(&basic("alice", "wonder:land")).unwrap();
    assert_eq!(
        caller,
        Caller {
            user: "alice".to_owned(),
            session_id: None
        }
    );

    for refused in [
        basic("alice", "wonderland"),
        basic("alice", ""),
        basic("bob", "wonder:land"),
        basic("", ""),
        headers("Basic !!!"),
        headers("Basic"),
        headers("Digest abc"),
        headers("Bearer abc"),
        MetadataMap::new(),
    ] {
        assert_eq!(
            auth.caller(&refused).unwrap_err().kind(),
            ErrorKind::Unauthenticated,
            "{refused:?}"
        );
        assert_eq!(
            auth.log_in(&refused).unwrap_err().kind(),
            ErrorKind::Unauthenticated,
            "{refused:?}"
        );
    }
}

#[test]
fn a_login_opens_a_session_that_every_server_with_the_key_knows() {
    let auth = Authenticator::new(&config(Mode::Basic)).unwrap();
    let token = auth.log_in(&basic("alice", "wonder:land")).unwrap();
    let bearer = headers(&format!("Bearer {token}"));
    let caller = Authenticator::new(&config(Mode::Basic))
        .unwrap()
        .caller(&bearer)
        .unwrap();
    assert_eq!(caller.user, "alice");
    assert!(caller.session_id.is_some());
    assert_eq!(auth.log_in(&bearer).unwrap(), token);

    let stranger = Authenticator::new(&Config {
        secret: None,
        ..config(Mode::Basic)
    })
    .unwrap();
    assert_eq!(stranger.caller(&bearer).unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[test]
fn anonymous_mode_lets_everybody_in() {
    let auth = Authenticator::new(&config(Mode::Anonymous)).unwrap();
    for offered in [
        MetadataMap::new(),
        basic("who", "ever"),
        headers("Bearer somebody-elses"),
    ] {
        assert_eq!(
            auth.caller(&offered).unwrap(),
            Caller {
                user: ANONYMOUS.to_owned(),
                session_id: None
            }
        );
        let token = auth.log_in(&offered).unwrap();
        let caller = auth.caller(&headers(&format!("Bearer {token}"))).unwrap();
        assert_eq!(caller.user, ANONYMOUS);
        assert!(caller.session_id.is_some());
    }
}

#[test]
fn tokens_expire() {
    let tokens = Tokens::new(Seal::random().unwrap(), Duration::from_secs(60));
    let now = SystemTime::now();
    let token = tokens.issue("alice", "s", now);
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
        let error = config.validate().unwrap_err();
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
}

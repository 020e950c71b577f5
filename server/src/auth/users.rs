//! Users and their passwords, those of the configuration and those of a file that may change while the server runs.
//! Whatever is wrong with a login, the answer is the same and takes as long.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use catalog::Secret;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use ring::hmac;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::Config;
use super::config::check_name;
use super::password::Password;
use super::seal::{self, Seal};
use crate::error::{Error, Result};

/// How often the file is looked at.
pub(super) const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// Hashes that are checked at once: each takes 19 MiB and a processor.
const CHECKS_MAX: usize = 2;
/// Logins that need no second check of the hash.
const VERIFIED_MAX: u64 = 10_000;
const VERIFIED_LIFETIME: Duration = Duration::from_secs(10 * 60);
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

type Book = BTreeMap<String, Password>;

/// All users who have passwords.
pub(super) struct Users {
    configured: Book,
    file: Option<PathBuf>,
    /// The configured users and those of the file.
    book: RwLock<Arc<Book>>,
    nobody: Password,
    /// Nobody outside this process can compute hashes with it.
    key: hmac::Key,
    /// By user, the keyed hash of the password that matched, with what it matched.
    verified: Cache<String, hmac::Tag>,
    checks: Semaphore,
}

impl Users {
    /// Reads the file where there is one.
    pub(super) fn new(config: &Config) -> Result<Self> {
        let mut configured = Book::new();
        for (name, text) in &config.users {
            let password =
                Password::parse(text.expose()).map_err(|detail| Error::config(format!("auth.users.{name}"), detail))?;
            configured.insert(name.clone(), password);
        }
        let book = match &config.users_file {
            Some(file) => with_file(&configured, file).map_err(|detail| Error::config("auth.users_file", detail))?,
            None => configured.clone(),
        };
        Ok(Self {
            configured,
            file: config.users_file.clone(),
            book: RwLock::new(Arc::new(book)),
            nobody: Password::nobody()?,
            key: seal::random_key()?,
            verified: Cache::builder()
                .max_capacity(VERIFIED_MAX)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(VERIFIED_LIFETIME)
                .build(),
            checks: Semaphore::new(CHECKS_MAX),
        })
    }

    /// Whether there is a user of that name.
    pub(super) fn has(&self, user: &str) -> bool {
        self.password(user).is_some()
    }

    /// Whether `offered` is the user's password, when that can be told at once: it is not hashed, or matched lately.
    pub(super) async fn known(&self, user: &str, offered: &Secret) -> bool {
        let Some(password) = self.password(user) else {
            return false;
        };
        match &password {
            Password::Plain(_) => self.is_tag(&password, offered, &self.tag(&password, password.expose().as_bytes())),
            Password::Hashed(_) => match self.verified.get(user).await {
                Some(tag) => self.is_tag(&password, offered, &tag),
                None => false,
            },
        }
    }

    /// Whether `offered` is the user's password. Whoever is not [`Users::known`] waits for a hash to be checked, also
    /// where there is none to check.
    pub(super) async fn check(self: &Arc<Self>, user: &str, offered: &Secret) -> bool {
        if self.known(user, offered).await {
            return true;
        }
        let Ok(_turn) = self.checks.acquire().await else {
            return false;
        };
        let password = self.password(user);
        let expected = match &password {
            Some(password @ Password::Hashed(_)) => password.clone(),
            _ => self.nobody.clone(),
        };
        let candidate = offered.clone();
        let matches = tokio::task::spawn_blocking(move || expected.matches(&candidate)).await;
        let (Ok(true), Some(password)) = (matches, password) else {
            return false;
        };
        let tag = self.tag(&password, offered.expose().as_bytes());
        self.verified.insert(user.to_owned(), tag).await;
        true
    }

    /// Tells this password of the user from every other: logins end when it changes. None for strangers.
    pub(super) fn fingerprint(&self, user: &str, seal: &Seal) -> Option<Vec<u8>> {
        Some(seal.fingerprint(&named(user, &self.password(user)?)))
    }

    /// Whether `fingerprint` is of the password that the user has now.
    pub(super) fn is_fingerprint(&self, user: &str, seal: &Seal, fingerprint: &[u8]) -> bool {
        let password = self.password(user);
        password.is_some_and(|password| seal.is_fingerprint(&named(user, &password), fingerprint))
    }

    /// Looks `every` so often whether the file changed, as long as it is polled. A file with mistakes changes nothing.
    pub(super) async fn watch(self: Arc<Self>, every: Duration) {
        let Some(file) = self.file.clone() else { return };
        let mut complained = None;
        loop {
            tokio::time::sleep(every).await;
            match with_file(&self.configured, &file) {
                Ok(book) => {
                    complained = None;
                    let mut current = self.book.write().unwrap_or_else(PoisonError::into_inner);
                    if **current != book {
                        info!(file = %file.display(), users = book.len(), "the users changed");
                        *current = Arc::new(book);
                    }
                }
                Err(detail) if complained.as_ref() != Some(&detail) => {
                    warn!(%detail, "the users stay as they are: the file cannot be read");
                    complained = Some(detail);
                }
                Err(_) => {}
            }
        }
    }

    fn password(&self, user: &str) -> Option<Password> {
        self.book
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(user)
            .cloned()
    }

    fn tag(&self, password: &Password, offered: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, &tagged(password, offered))
    }

    fn is_tag(&self, password: &Password, offered: &Secret, tag: &hmac::Tag) -> bool {
        hmac::verify(&self.key, &tagged(password, offered.expose().as_bytes()), tag.as_ref()).is_ok()
    }
}

/// What a keyed hash is made of: what was offered, for what it was compared with.
fn tagged(password: &Password, offered: &[u8]) -> Vec<u8> {
    let expected = password.expose().as_bytes();
    [&expected.len().to_le_bytes()[..], expected, offered].concat()
}

fn named(user: &str, password: &Password) -> Vec<u8> {
    [user.as_bytes(), &[0], password.expose().as_bytes()].concat()
}

/// The configured users and those of `file`. Says what is wrong with the file, never with a password in it.
fn with_file(configured: &Book, file: &Path) -> std::result::Result<Book, String> {
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
    if std::fs::metadata(file).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(format!("{} is too large", file.display()));
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let mut book = configured.clone();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |detail: &str| format!("{} line {number}: {detail}", file.display());
        let (name, hash) = line.split_once(':').ok_or_else(|| wrong("must be name:hash"))?;
        check_name(name).map_err(wrong)?;
        let password = Password::parse_hash(hash).map_err(wrong)?;
        if book.insert(name.to_owned(), password).is_some() {
            return Err(wrong(&format!("the user {name} is there twice")));
        }
    }
    Ok(book)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use argon2::password_hash::SaltString;
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
    use tokio::task::JoinSet;

    use super::*;

    /// A hash that is cheap to check.
    fn hash(password: &str) -> String {
        let argon2 = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(64, 1, 1, None).unwrap(),
        );
        let salt = SaltString::from_b64("c29tZXNhbHQ").unwrap();
        argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string()
    }

    fn users(users: &[(&str, &str)], file: Option<&Path>) -> Result<Arc<Users>> {
        let config = Config {
            users: users
                .iter()
                .map(|(name, text)| (name.to_string(), Secret::new(*text)))
                .collect(),
            users_file: file.map(Path::to_owned),
            ..Config::default()
        };
        Users::new(&config).map(Arc::new)
    }

    async fn check(users: &Arc<Users>, user: &str, password: &str) -> bool {
        users.check(user, &Secret::new(password)).await
    }

    #[tokio::test]
    async fn plain_and_hashed_passwords_are_checked() {
        let hashed = hash("wonderland");
        let users = users(&[("alice", &hashed), ("bob", "builder")], None).unwrap();
        for (user, password, expect) in [
            ("alice", "wonderland", true),
            ("alice", "wonderland", true),
            ("alice", "builder", false),
            ("alice", &hashed, false),
            ("alice", "", false),
            ("bob", "builder", true),
            ("bob", "wonderland", false),
            ("eve", "builder", false),
            ("", "", false),
        ] {
            assert_eq!(check(&users, user, password).await, expect, "{user}:{password}");
        }
        assert!(users.known("alice", &Secret::new("wonderland")).await);
        assert!(!users.known("alice", &Secret::new("builder")).await);
    }

    #[tokio::test]
    async fn the_file_may_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let (first, second) = (hash("wonderland"), hash("builder"));
        std::fs::write(&file, format!("# people\n\nalice:{first}\n")).unwrap();
        let users = users(&[("carol", "plain")], Some(&file)).unwrap();
        let seal = Seal::random().unwrap();
        let mut watching = JoinSet::new();
        let every = Duration::from_millis(5);
        watching.spawn(Arc::clone(&users).watch(every));
        assert!(check(&users, "alice", "wonderland").await);
        let before = users.fingerprint("alice", &seal).unwrap();

        std::fs::write(&file, format!("alice:{second}\nbob:{second}\n")).unwrap();
        tokio::time::sleep(100 * every).await;
        assert!(!check(&users, "alice", "wonderland").await, "not from memory either");
        assert!(check(&users, "alice", "builder").await && check(&users, "bob", "builder").await);
        assert!(!users.is_fingerprint("alice", &seal, &before));
        assert!(users.is_fingerprint("alice", &seal, &users.fingerprint("alice", &seal).unwrap()));

        std::fs::write(&file, "alice:plain").unwrap();
        tokio::time::sleep(100 * every).await;
        assert!(check(&users, "alice", "builder").await, "mistakes change nothing");

        std::fs::write(&file, "").unwrap();
        tokio::time::sleep(100 * every).await;
        assert!(!check(&users, "alice", "builder").await);
        assert_eq!(users.fingerprint("alice", &seal), None);
        assert!(check(&users, "carol", "plain").await);
    }

    #[test]
    fn mistakes_in_the_file_are_named_by_line_without_what_stands_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let refused = |text: &str| {
            std::fs::write(&file, text).unwrap();
            users(&[("carol", "plain")], Some(&file)).err().unwrap().to_string()
        };
        let error = refused("\nalice:s3cret");
        assert!(
            error.starts_with("auth.users_file: ") && error.contains("line 2: must be a hash"),
            "{error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
        assert!(refused("alice").contains("line 1: must be name:hash"));
        assert!(refused(&format!("carol:{}", hash("builder"))).contains("the user carol is there twice"));
        std::fs::remove_file(&file).unwrap();
        let error = users(&[], Some(&file)).err().unwrap().to_string();
        assert!(error.contains("cannot read"), "{error}");
    }
}

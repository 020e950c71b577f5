//! One password: its hash, and how an offered one is compared with it.

use std::io::{Read, Write};

use argon2::password_hash::{PasswordHash, PasswordHashString, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use catalog::Secret;
use ring::rand::{SecureRandom, SystemRandom};

use crate::cli;
use crate::error::{Error, Result};

/// A hash that takes more memory than this to check is refused: every login would take it.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
/// As above for passes over that memory.
const PASSES_MAX: u32 = 100;
const SALT_BYTES: usize = 16;
/// Longer texts are no passwords.
const PASSWORD_BYTES_MAX: usize = 1024;
/// Takes as long to check as any other hash, and no password is known for it.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bGFrZXdpbmcgbm9ib2R5IQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password as it is configured. Has no `Debug`: it holds a secret.
#[derive(Clone, PartialEq)]
pub(super) enum Password {
    /// The password itself.
    Plain(Secret),
    /// Its argon2id hash in the PHC form.
    Hashed(PasswordHashString),
}

impl Password {
    /// Reads a configured text: a hash where it begins as one. Says what is wrong with a hash.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        match text {
            "" => Err("must not be empty"),
            text if text.starts_with('$') => Self::parse_hash(text),
            text => Ok(Password::Plain(Secret::new(text))),
        }
    }

    /// Reads a hash. Says what is wrong with it.
    pub(super) fn parse_hash(text: &str) -> std::result::Result<Self, &'static str> {
        let wrong = "must be a hash as \"lakewing hash-password\" prints it: $argon2id$...";
        let hash = PasswordHash::new(text).map_err(|_| wrong)?;
        let params = Params::try_from(&hash).map_err(|_| wrong)?;
        if hash.algorithm != argon2::ARGON2ID_IDENT || hash.hash.is_none() || hash.salt.is_none() {
            return Err(wrong);
        }
        if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
            return Err("the hash takes too much memory or time to check: at most m=262144,t=100");
        }
        Ok(Password::Hashed(hash.serialize()))
    }

    /// What no password matches, as slow to find out as a wrong password.
    pub(super) fn nobody() -> Result<Self> {
        Self::parse_hash(NOBODY).map_err(|detail| Error::config("auth.users", detail))
    }

    /// The text that it was read from.
    pub(super) fn expose(&self) -> &str {
        match self {
            Password::Plain(secret) => secret.expose(),
            Password::Hashed(hash) => hash.as_str(),
        }
    }

    /// Whether a hash belongs to `offered`. Takes milliseconds on purpose. Never for a password that is no hash:
    /// those are compared by their keyed hashes.
    pub(super) fn matches(&self, offered: &Secret) -> bool {
        match self {
            Password::Plain(_) => false,
            Password::Hashed(hash) => {
                let offered = offered.expose().as_bytes();
                offered.len() <= PASSWORD_BYTES_MAX
                    && Argon2::default()
                        .verify_password(offered, &hash.password_hash())
                        .is_ok()
            }
        }
    }
}

/// `lakewing hash-password`: a password from standard input, its hash to standard output.
pub fn run(arguments: &cli::HashPassword) -> Result<()> {
    let mut text = String::new();
    let limit = u64::try_from(PASSWORD_BYTES_MAX + 2).unwrap_or(u64::MAX);
    let failed = |source| Error::Io {
        action: "read the password from standard input".to_owned(),
        source,
    };
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    let hash = hash(password)?;
    let line = match &arguments.user {
        Some(user) => {
            super::config::check_name(user).map_err(|detail| Error::config("--user", detail))?;
            format!("{user}:{hash}\n")
        }
        None => format!("{hash}\n"),
    };
    std::io::stdout()
        .lock()
        .write_all(line.as_bytes())
        .map_err(|source| Error::Io {
            action: "write to standard output".to_owned(),
            source,
        })
}

fn hash(password: &str) -> Result<String> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX || password.contains('\n') {
        let detail = format!("a password is one line of 1 to {PASSWORD_BYTES_MAX} bytes");
        return Err(Error::config("standard input", detail));
    }
    let mut salt = [0; SALT_BYTES];
    let failed = || Error::config("hash-password", "the system has no random numbers to make a salt from");
    SystemRandom::new().fill(&mut salt).map_err(|_| failed())?;
    let salt = SaltString::encode_b64(&salt).map_err(|_| failed())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
    match argon2.hash_password(password.as_bytes(), &salt) {
        Ok(hash) => Ok(hash.to_string()),
        Err(error) => Err(Error::config(
            "standard input",
            format!("the password has no hash: {error}"),
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_hash_matches_its_password_only() {
        let first = hash("wonder:land ü").unwrap();
        assert_ne!(first, hash("wonder:land ü").unwrap(), "salts differ");
        let password = Password::parse(&first).ok().unwrap();
        assert!(password.matches(&Secret::new("wonder:land ü")));
        assert!(!password.matches(&Secret::new("wonder:land")));
        assert!(!password.matches(&Secret::new("")));
        assert!(!Password::nobody().unwrap().matches(&Secret::new("")));
    }

    /// Made by the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32`, as the
    /// test vectors of its repository have it.
    #[test]
    fn hashes_of_the_reference_implementation_match() {
        let reference = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let password = Password::parse(reference).ok().unwrap();
        assert!(password.matches(&Secret::new("password")));
        assert!(!password.matches(&Secret::new("Password")));
    }

    #[test]
    fn other_hashes_are_refused() {
        for refused in [
            "$2b$12$KbQiAbEbDpYJvIKR9ANsAeWc6iDnYEPjxiVFhRdfoSSnxDtTfYPQy",
            "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id",
            "",
        ] {
            assert!(Password::parse(refused).is_err(), "{refused}");
        }
        assert!(Password::parse_hash("plain").is_err());
        assert!(hash("").is_err() && hash("two\nlines").is_err());
    }
}

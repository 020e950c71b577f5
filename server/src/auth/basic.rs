//! Users and passwords: the `Basic` header and a comparison that takes the same time whatever is wrong.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::engine::{DecodePaddingMode, GeneralPurpose};
use catalog::Secret;
use ring::hmac;

use super::seal;
use crate::error::{Error, Result};

/// Some drivers leave the padding away.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Keyed hashes of all passwords; the passwords themselves are not kept.
pub(super) struct Passwords {
    key: hmac::Key,
    by_user: BTreeMap<String, hmac::Tag>,
    nobody: hmac::Tag,
}

impl Passwords {
    pub(super) fn new(users: &BTreeMap<String, Secret>) -> Result<Self> {
        let key = seal::random_key()?;
        let by_user = users
            .iter()
            .map(|(user, password)| (user.clone(), hmac::sign(&key, password.expose().as_bytes())))
            .collect();
        let nobody = hmac::sign(&seal::random_key()?, b"");
        Ok(Self { key, by_user, nobody })
    }

    /// The error is the same for a wrong user and a wrong password, and comes after the same time.
    pub(super) fn check(&self, user: &str, password: &Secret) -> Result<()> {
        let expected = self.by_user.get(user).unwrap_or(&self.nobody);
        hmac::verify(&self.key, password.expose().as_bytes(), expected.as_ref())
            .map_err(|_| Error::unauthenticated("wrong user or password"))
    }
}

/// The user and password behind `Basic `.
pub(super) fn decode(encoded: &str) -> Option<(String, Secret)> {
    let text = LENIENT.decode(encoded).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), Secret::new(password)))
}

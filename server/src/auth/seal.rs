//! Bytes that only this server, or one with the same key, can have written. They are readable by whoever holds them:
//! sealed is not encrypted.

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::{Error, Result};

const TAG_BYTES: usize = 32;
const KEY_BYTES: usize = 32;

/// What sealed bytes are for: bytes of one purpose are never accepted for another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Token = 1,
    Statement = 2,
    Prepared = 3,
    Result = 8,
    Poll = 9,
    Reference = 10,
    Session = 11,
    Ending = 12,
    Fingerprint = 64,
}

/// A signing key.
#[derive(Clone)]
pub(crate) struct Seal {
    key: hmac::Key,
}

impl Seal {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    pub(crate) fn random() -> Result<Self> {
        Ok(Self { key: random_key()? })
    }

    /// `payload`, followed by its authentication tag.
    pub(crate) fn seal(&self, purpose: Purpose, mut payload: Vec<u8>) -> Vec<u8> {
        let tag = self.tag(purpose, &payload);
        payload.extend_from_slice(tag.as_ref());
        payload
    }

    /// The payload of what [`Self::seal`] made for the same purpose; nothing when a single bit differs.
    pub(crate) fn open<'a>(&self, purpose: Purpose, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (payload, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_BYTES)?)?;
        let signed = [&[purpose as u8], payload].concat();
        hmac::verify(&self.key, &signed, tag).ok()?;
        Some(payload)
    }

    /// Tells `bytes` from all others without showing anything of them to who has no key.
    pub(crate) fn fingerprint(&self, bytes: &[u8]) -> Vec<u8> {
        self.tag(Purpose::Fingerprint, bytes).as_ref().to_vec()
    }

    /// Whether `fingerprint` is that of `bytes`; takes as long where it is not.
    pub(crate) fn is_fingerprint(&self, bytes: &[u8], fingerprint: &[u8]) -> bool {
        let signed = [&[Purpose::Fingerprint as u8], bytes].concat();
        hmac::verify(&self.key, &signed, fingerprint).is_ok()
    }

    fn tag(&self, purpose: Purpose, payload: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[purpose as u8]);
        context.update(payload);
        context.sign()
    }
}

/// A key that nobody knows.
pub(super) fn random_key() -> Result<hmac::Key> {
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::config("auth.secret", "the system has no random numbers to make a key from"))?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_it_sealed() {
        let seal = Seal::new(b"0123456789abcdef");
        let sealed = seal.seal(Purpose::Statement, b"select 1".to_vec());
        assert_eq!(seal.open(Purpose::Statement, &sealed).unwrap(), b"select 1");

        for byte in 0..sealed.len() {
            for bit in 0..8 {
                let mut flipped = sealed.clone();
                flipped[byte] ^= 1 << bit;
                assert!(
                    seal.open(Purpose::Statement, &flipped).is_none(),
                    "bit {bit} of byte {byte}"
                );
            }
        }
        for length in 0..sealed.len() {
            assert!(
                seal.open(Purpose::Statement, &sealed[..length]).is_none(),
                "{length} bytes"
            );
        }
        assert!(seal.open(Purpose::Prepared, &sealed).is_none(), "another purpose");
        assert!(
            Seal::new(b"fedcba9876543210")
                .open(Purpose::Statement, &sealed)
                .is_none(),
            "another key"
        );
        assert!(
            Seal::random().unwrap().open(Purpose::Statement, &sealed).is_none(),
            "a random key"
        );
    }

    #[test]
    fn seals_nothing_too() {
        let seal = Seal::random().unwrap();
        let sealed = seal.seal(Purpose::Token, Vec::new());
        assert_eq!(seal.open(Purpose::Token, &sealed), Some(&[][..]));
    }
}

//! The user that a client's certificate names. TLS has checked the certificate before anybody looks at it here; what
//! is left to do is to find one name in its DER form (X.690, RFC 5280).

use super::config::{CertificateUser, check_name};
use crate::error::{Error, Result};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
/// `[0] version` and `[3] extensions` of a certificate.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// The kinds of alternative names.
const EMAIL: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
/// 2.5.4.3 and 2.5.29.17.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

const NAME_BYTES_MAX: usize = 256;

/// The one name of the kind `wanted`. Fails where there is none, or more than one to choose from.
pub(super) fn user(certificate: &[u8], wanted: CertificateUser) -> Result<String> {
    let (what, names) = match wanted {
        CertificateUser::CommonName => ("common name", common_names(certificate)),
        CertificateUser::DnsName => ("DNS name", alternative_names(certificate, DNS_NAME)),
        CertificateUser::Email => ("mail address", alternative_names(certificate, EMAIL)),
        CertificateUser::Uri => ("URI", alternative_names(certificate, URI)),
    };
    let refused = |detail: &str| {
        Err(Error::unauthenticated(format!(
            "the client's certificate {detail} {what}"
        )))
    };
    match names.as_deref() {
        None | Some([]) => refused("has no"),
        // `a:b` is a name in certificates, so that only what could be shown wrongly is refused.
        Some([name]) if name.len() > NAME_BYTES_MAX || check_name(&name.replace(':', "")).is_err() => {
            refused("has an unusable")
        }
        Some([name]) => Ok(name.clone()),
        Some(_) => refused("has more than one"),
    }
}

/// The elements of a DER value one after the other: tag and content. Ends before what is not well formed.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

/// The content of the first element, which has the tag `tag`.
fn first(value: &[u8], tag: u8) -> Option<&[u8]> {
    Elements(value)
        .next()
        .filter(|(found, _)| *found == tag)
        .map(|(_, content)| content)
}

/// The fields of the certificate's signed part, without its version.
fn fields(certificate: &[u8]) -> Option<impl Iterator<Item = (u8, &[u8])>> {
    let signed = first(first(certificate, SEQUENCE)?, SEQUENCE)?;
    Some(Elements(signed).skip_while(|(tag, _)| *tag == VERSION))
}

fn common_names(certificate: &[u8]) -> Option<Vec<String>> {
    // Serial number, algorithm, issuer, validity, subject.
    let (_, subject) = fields(certificate)?.nth(4)?;
    let sets = Elements(subject).filter(|(tag, _)| *tag == SET);
    let attributes = sets
        .flat_map(|(_, set)| Elements(set))
        .filter(|(tag, _)| *tag == SEQUENCE);
    let names = attributes.filter_map(|(_, attribute)| {
        let mut parts = Elements(attribute);
        let is_name = parts.next()? == (OBJECT_IDENTIFIER, COMMON_NAME);
        let (tag, text) = parts.next()?;
        (is_name && [UTF8_STRING, PRINTABLE_STRING, IA5_STRING].contains(&tag)).then_some(text)
    });
    names.map(text).collect()
}

fn alternative_names(certificate: &[u8], kind: u8) -> Option<Vec<String>> {
    let (_, extensions) = fields(certificate)?.find(|(tag, _)| *tag == EXTENSIONS)?;
    let names = Elements(first(extensions, SEQUENCE)?).find_map(|(_, extension)| {
        let mut parts = Elements(extension);
        if parts.next()? != (OBJECT_IDENTIFIER, ALTERNATIVE_NAMES) {
            return None;
        }
        let (_, value) = parts
            .find(|(tag, _)| *tag != BOOLEAN)
            .filter(|(tag, _)| *tag == OCTET_STRING)?;
        first(value, SEQUENCE)
    })?;
    Elements(names)
        .filter(|(tag, _)| *tag == kind)
        .map(|(_, name)| text(name))
        .collect()
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(names: &[&str], alternatives: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Lake & Co");
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = alternatives;
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn finds_the_name_that_is_asked_for() {
        let alternatives = vec![
            SanType::DnsName("client.example.org".try_into().unwrap()),
            SanType::Rfc822Name("alice@example.org".try_into().unwrap()),
            SanType::URI("spiffe://example.org/alice".try_into().unwrap()),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        let certificate = certificate(&["Alice Ä."], alternatives);
        for (wanted, expect) in [
            (CertificateUser::CommonName, "Alice Ä."),
            (CertificateUser::DnsName, "client.example.org"),
            (CertificateUser::Email, "alice@example.org"),
            (CertificateUser::Uri, "spiffe://example.org/alice"),
        ] {
            assert_eq!(user(&certificate, wanted).unwrap(), expect);
        }
    }

    #[test]
    fn no_name_and_two_names_are_refused() {
        let hosts = ["a.example.org", "b.example.org"].map(|name| SanType::DnsName(name.try_into().unwrap()));
        let two = certificate(&["alice"], hosts.to_vec());
        let none = certificate(&[], Vec::new());
        let check = |certificate: &[u8], wanted, expect: &str| {
            let error = user(certificate, wanted).unwrap_err();
            assert_eq!(error.kind(), proto::ErrorKind::Unauthenticated);
            assert_eq!(error.to_string(), expect);
        };
        check(
            &two,
            CertificateUser::DnsName,
            "the client's certificate has more than one DNS name",
        );
        check(&two, CertificateUser::Uri, "the client's certificate has no URI");
        check(
            &none,
            CertificateUser::CommonName,
            "the client's certificate has no common name",
        );
        check(
            &none,
            CertificateUser::Email,
            "the client's certificate has no mail address",
        );
        let unusable = certificate(&["a\nb"], Vec::new());
        let expect = "the client's certificate has an unusable common name";
        check(&unusable, CertificateUser::CommonName, expect);
    }

    #[test]
    fn no_bytes_are_too_damaged() {
        let whole = certificate(&["alice"], vec![SanType::DnsName("a.example.org".try_into().unwrap())]);
        for wanted in [CertificateUser::CommonName, CertificateUser::DnsName] {
            for end in 0..whole.len() {
                assert!(user(&whole[..end], wanted).is_err(), "{end} bytes");
                let mut damaged = whole.clone();
                damaged[end] ^= 0xff;
                // Whatever it finds, it comes back.
                let _found = user(&damaged, wanted);
            }
        }
    }
}

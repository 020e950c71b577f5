//! Public keys as identity providers publish them (RFC 7517, RFC 8037), and the check of a signature with one of them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use super::config::Algorithm;

/// More keys than this are a mistake.
const KEYS_MAX: usize = 100;
/// The first byte of a point of an elliptic curve with both coordinates.
const UNCOMPRESSED: u8 = 4;

/// A key that may sign tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// Its name, where it has one.
    pub(super) id: Option<String>,
    /// The only algorithm it is for, where that is said.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Published {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a key set that can sign tokens; others are left out, as the standard asks. Says what is wrong with it.
pub(super) fn parse(document: &[u8]) -> Result<Vec<Key>, String> {
    let set: KeySet = serde_json::from_slice(document).map_err(|error| format!("is no key set: {error}"))?;
    if set.keys.len() > KEYS_MAX {
        return Err(format!("has more than {KEYS_MAX} keys"));
    }
    let published = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
    let keys: Vec<_> = published.filter_map(Key::read).collect();
    match keys.is_empty() {
        true => Err("has no key that could sign tokens".to_owned()),
        false => Ok(keys),
    }
}

impl Key {
    fn read(published: Published) -> Option<Self> {
        let decode = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?.trim_end_matches('=')).ok();
        if published.purpose.as_ref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let point = |bytes: usize| {
            let (x, y) = (decode(&published.x)?, decode(&published.y)?);
            (x.len() == bytes && y.len() == bytes).then(|| [&[UNCOMPRESSED][..], &x, &y].concat())
        };
        let material = match (published.kty.as_str(), published.crv.as_deref()) {
            ("RSA", _) => Material::Rsa {
                modulus: unpadded(decode(&published.n)?),
                exponent: unpadded(decode(&published.e)?),
            },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(decode(&published.x)?),
            _ => return None,
        };
        Some(Self {
            id: published.kid,
            algorithm: published.alg,
            material,
        })
    }

    /// Whether `signature` is one of `message`, by this key and by `algorithm`. A key of another kind says no.
    pub(super) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let rsa = |parameters: &'static signature::RsaParameters| match &self.material {
            Material::Rsa {
                modulus: n,
                exponent: e,
            } => RsaPublicKeyComponents { n, e }
                .verify(parameters, message, signature)
                .is_ok(),
            _ => false,
        };
        let plain = |algorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key)
                .verify(message, signature)
                .is_ok()
        };
        if self
            .algorithm
            .as_ref()
            .is_some_and(|only| *only != format!("{algorithm:?}"))
        {
            return false;
        }
        match (algorithm, &self.material) {
            (RS256, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            (RS384, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            (RS512, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            (PS256, _) => rsa(&signature::RSA_PSS_2048_8192_SHA256),
            (PS384, _) => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            (PS512, _) => rsa(&signature::RSA_PSS_2048_8192_SHA512),
            (ES256, Material::P256(key)) => plain(&signature::ECDSA_P256_SHA256_FIXED, key),
            (ES384, Material::P384(key)) => plain(&signature::ECDSA_P384_SHA384_FIXED, key),
            (EdDSA, Material::Ed25519(key)) => plain(&signature::ED25519 as &dyn signature::VerificationAlgorithm, key),
            (ES256 | ES384 | EdDSA, _) => false,
        }
    }
}

/// Some issuers write leading zeros before a number.
fn unpadded(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// RFC 7515, appendices A.2 and A.3.
    const RSA: &str = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const PAYLOAD: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const RS256: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const ES256: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    /// Made with OpenSSL, over the same payload.
    const OWN_RSA: &str = r#"{"kty":"RSA","e":"AQAB","n":"r29BDxQHpQbNkntFXq6XsKIbbCUkEvn9ZUFwGzQrzd6vpa1Ki9w5NTyJw-sLKJ9a4tvEUKGiWdnAT3xUFH6h7FKgO5Aa6PN5t3TSuzekO5HcxycRvcmQZy1nKnOJRaIHKOeyBYAatd945JuHqthMh0P83o229Edj1aY1j8vvPIvOSZbOr2yskMR1SUVh-mjvqXZpmzlw-2WSnA22CvL0Yb8JI1z8_SFBKITYi0-kL3aoXXnxIUSM-gnHdB2xKmVe5sfRg4U7gWlqK9AdaCMzAz3hZyAzKg9vFSeD9rtffNLNDasSb-j9DXzF_wExLb00HjMfr5BvgWiQu64Y4FoXlQ"}"#;
    const PS256: &str = "isCd1rbLcJWcxxAJLgtcj6vA_TU9TPI5WefW0AALe5siKZ1BfmrSb-XyA-e3ySMo7-Z8H3oak4OByJdFamxOyPAABIcGtaECfX6HlZR59OBWzq51t0mc7CbE2fcEewgLCI6VGsc2RFZuWc8fIZCFoMWMoKhEeTPTvJR5yrv81te1iADF3g3wuQWTfXbWhOr29az0rBcTEGK-3Fk3K3RS5j3o-3plDXJrIE5skzKT1V4Fm_VrC4z2A2tR6RQbS7dOWwFY-twYVV36ATu3h0chccE4t7zatuwtaX2sL7sBYD2JBXuPbwOjpVfSO0b41g_AO5m4BABwKxXFq3P8Gd3jGg";
    const RS512: &str = "eFHF1TSdiWy3F_gRtOB2sqvER1iSIDhyV6LRN7jkgdBPYioPQv3_d5EUwAqxw7pv0l6Z7x2i0yKQl3_aidZIp55Iv7Mp30DmiMg5EXloX09HeUqR_FW3Guz5sgdk-XvNlXG-IPdy8SW4XfCAl35mUZ0FTBfxt1BX4EN-WS5iKxI1mewIvx_dbmdH8Tf933lzvNSksXBgMgnhGWgH7boh7juecDqbttjg7MjFIqNp2ogRxfs2XEhokfrgwIKHjjkY5qToPj1MzBbQeeCC0waw4X9Dz-maAPqPCDuGxf7Y10OEG_M3wBGHoq1zYC1WYeuSxKXSC2moIaJirs7An7kJoA";
    const P384: &str = r#"{"kty":"EC","crv":"P-384","x":"CIRpz4tqK_K0nLw2rGnywr1JoCc4Oib8RGmXTJ5wLBxjyvQ8wSVSnUVPBOdj129b","y":"qAWNWS4DjXmalcnb27YZqd7t4QNVBkTUwQvKolCu1jHTHMl3gO-MpVYxw_rkQu-9"}"#;
    const ES384: &str = "R4Miw6lzNR9HbK6H6gaXwZfBq6lPfd9ftLKkmGqbULFvOWVSoNqLKC3T8ujz5roUNtfToIF5U8WfShxlUUcVEY8fqtdfUsMY4boBWtf445Z9bMn8aHHGrkI0iD1-wOhC";
    const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"_n_xfJncVFWrnnM1sGo5DjLdLBCbKjdf6kKv2FQrqFc"}"#;
    const EDDSA: &str = "Ec7zUpEThfzKrAIMUXDjAtIPJ2aL1iQL5lr_FO4OkvIQqWkCgPg7e0SS2Vgj8PBk9-HkvrOX1sXMEQHeskhFBw";

    fn keys(keys: &[&str]) -> Result<Vec<Key>, String> {
        parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    fn verify(key: &str, algorithm: Algorithm, header: &str, signature: &str) -> bool {
        let message = format!("{}.{PAYLOAD}", URL_SAFE_NO_PAD.encode(header));
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        keys(&[key]).unwrap()[0].verify(algorithm, message.as_bytes(), &signature)
    }

    #[test]
    fn the_examples_of_the_standard_verify() {
        let (rs256, es256) = (r#"{"alg":"RS256"}"#, r#"{"alg":"ES256"}"#);
        assert!(verify(RSA, Algorithm::RS256, rs256, RS256));
        assert!(verify(EC, Algorithm::ES256, es256, ES256));
        assert!(!verify(RSA, Algorithm::RS256, es256, RS256), "another message");
        assert!(!verify(RSA, Algorithm::RS512, rs256, RS256), "another algorithm");
        assert!(!verify(RSA, Algorithm::PS256, rs256, RS256), "another padding");
        assert!(!verify(EC, Algorithm::RS256, rs256, RS256), "another kind of key");
        assert!(!verify(RSA, Algorithm::ES256, es256, ES256), "another kind of key");
        assert!(!verify(EC, Algorithm::ES384, es256, ES256), "another curve");
        let only = RSA.replace(r#""kty""#, r#""alg":"RS384","kty""#);
        assert!(
            !verify(&only, Algorithm::RS256, rs256, RS256),
            "a key for another algorithm"
        );
    }

    #[test]
    fn signatures_of_another_library_verify() {
        for (key, algorithm, signature) in [
            (OWN_RSA, Algorithm::PS256, PS256),
            (OWN_RSA, Algorithm::RS512, RS512),
            (P384, Algorithm::ES384, ES384),
            (ED25519, Algorithm::EdDSA, EDDSA),
        ] {
            let header = format!(r#"{{"alg":"{algorithm:?}"}}"#);
            assert!(verify(key, algorithm, &header, signature), "{algorithm:?}");
            assert!(!verify(key, algorithm, "{}", signature), "{algorithm:?}");
            for other in Algorithm::all().into_iter().filter(|other| *other != algorithm) {
                assert!(!verify(key, other, &header, signature), "{algorithm:?} as {other:?}");
            }
        }
    }

    #[test]
    fn what_cannot_sign_is_left_out() {
        let encrypts = RSA.replace(r#""kty""#, r#""use":"enc","kty""#);
        let named = EC.replace(r#""kty""#, r#""kid":"one","use":"sig","kty""#);
        let short = EC.replace("f83OJ3D2", "");
        let shared = r#"{"kty":"oct","k":"c2VjcmV0"}"#;
        let found = keys(&[&encrypts, &named, &short, shared, r#"{"crv":1}"#, "7"]).unwrap();
        assert_eq!(
            found.iter().map(|key| key.id.as_deref()).collect::<Vec<_>>(),
            [Some("one")]
        );
        assert!(keys(&[shared]).unwrap_err().contains("no key that could sign"));
        assert!(keys(&vec![EC; KEYS_MAX + 1]).unwrap_err().contains("more than 100"));
        for nonsense in ["", "{}", "[]", "<html>"] {
            assert!(parse(nonsense.as_bytes()).unwrap_err().starts_with("is no key set"));
        }
    }
}

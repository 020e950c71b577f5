//! Owners and grants as properties of schemas.
//!
//! ```text
//! lakewing.owner.<object>                          the user who owns it
//! lakewing.grant.<object>.<grantee>.<privilege>    who granted it
//! ```
//!
//! An object is empty for the schema itself, a name for a table or view, and a name with `()` for a function. Every grant
//! is a property of its own: two servers that grant at once never undo each other, and what is revoked is gone.

use std::collections::{BTreeMap, HashMap};

use super::Privilege;

const OWNER: &str = "lakewing.owner.";
const GRANT: &str = "lakewing.grant.";

/// Something in a schema that somebody may have rights on, or the schema itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Object {
    /// The schema. Rights on it hold for everything in it.
    Schema,
    /// A table or view.
    Relation(String),
    /// A function.
    Function(String),
}

impl Object {
    fn encode(&self) -> String {
        match self {
            Object::Schema => String::new(),
            Object::Relation(name) => encode(name),
            Object::Function(name) => format!("{}()", encode(name)),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        Some(match text.strip_suffix("()") {
            _ if text.is_empty() => Object::Schema,
            Some(name) => Object::Function(decode(name)?),
            None => Object::Relation(decode(text)?),
        })
    }
}

/// One user's privilege on an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grant {
    pub(crate) object: Object,
    pub(crate) grantee: String,
    pub(crate) privilege: Privilege,
}

impl Grant {
    /// The key of the property that keeps it.
    pub(super) fn key(&self) -> String {
        let (object, grantee) = (self.object.encode(), encode(&self.grantee));
        format!("{GRANT}{object}.{grantee}.{}", self.privilege.name().to_lowercase())
    }

    fn parse(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix(GRANT)?.split('.');
        let (object, grantee, privilege) = (parts.next()?, parts.next()?, parts.next()?);
        match parts.next() {
            None => Some(Self {
                object: Object::decode(object)?,
                grantee: decode(grantee)?,
                privilege: Privilege::parse(privilege)?,
            }),
            Some(_) => None,
        }
    }
}

/// The key of the property that tells who owns `object`.
pub(super) fn owner_key(object: &Object) -> String {
    format!("{OWNER}{}", object.encode())
}

/// What the properties of one schema tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grants {
    owners: BTreeMap<Object, String>,
    /// With who granted it.
    granted: BTreeMap<Grant, String>,
}

impl Grants {
    /// Of the properties of a schema. Keys that are not understood grant nothing.
    pub(super) fn read(properties: &HashMap<String, String>) -> Self {
        let mut grants = Self::default();
        for (key, value) in properties {
            if let Some(object) = key.strip_prefix(OWNER).and_then(Object::decode) {
                grants.owners.insert(object, value.clone());
            } else if let Some(grant) = Grant::parse(key) {
                grants.granted.insert(grant, value.clone());
            }
        }
        grants
    }

    /// Who owns `object`.
    pub(crate) fn owner(&self, object: &Object) -> Option<&str> {
        self.owners.get(object).map(String::as_str)
    }

    /// Whether `user` may do that: as the owner of the object or of its schema, or by a grant on either.
    pub(super) fn allows(&self, user: &str, object: &Object, privilege: Privilege) -> bool {
        let granted = |object: &Object| {
            self.granted.contains_key(&Grant {
                object: object.clone(),
                grantee: user.to_owned(),
                privilege,
            })
        };
        [object, &Object::Schema]
            .into_iter()
            .any(|object| self.owner(object) == Some(user) || granted(object))
    }

    /// Whether `user` has any right on what is in the object.
    pub(super) fn shows(&self, user: &str, object: &Object) -> bool {
        let all = Privilege::OF_TABLES;
        all.into_iter().any(|privilege| self.allows(user, object, privilege))
    }

    /// Whether `user` has any right in the schema.
    pub(super) fn shows_schema(&self, user: &str) -> bool {
        self.owners.values().any(|owner| owner == user) || self.granted.keys().any(|grant| grant.grantee == user)
    }

    /// The grants on `object` with who granted each, sorted.
    pub(crate) fn on<'a>(&'a self, object: &'a Object) -> impl Iterator<Item = (&'a Grant, &'a str)> {
        let granted = self.granted.iter().filter(move |(grant, _)| grant.object == *object);
        granted.map(|(grant, grantor)| (grant, grantor.as_str()))
    }

    /// Every property about `object`.
    pub(super) fn keys(&self, object: &Object) -> Vec<String> {
        let owner = self.owner(object).map(|_| owner_key(object));
        owner
            .into_iter()
            .chain(self.on(object).map(|(grant, _)| grant.key()))
            .collect()
    }
}

/// Letters, digits, `_` and `-` as they are, every other byte as `%` and two digits.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// What [`encode`] made `text` of; none where it is no such text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok().filter(|decoded| !decoded.is_empty())
}

//! The name of a table, and what to suggest when it names nothing.

use std::fmt;

/// `catalog.namespace.table`. A nested Iceberg namespace is one text joined by dots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The catalog's name in the configuration.
    pub catalog: String,
    /// The namespace, called a schema in SQL.
    pub namespace: String,
    /// The table's own name.
    pub table: String,
}

impl TableName {
    /// Builds a name from its three parts.
    pub fn new(catalog: impl Into<String>, namespace: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            catalog: catalog.into(),
            namespace: namespace.into(),
            table: table.into(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.catalog, self.namespace, self.table)
    }
}

/// The candidate most like `wanted`, if one is like it at all: same letters in another case, or few edits away.
pub(crate) fn closest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a String>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_like_it() {
        let names = ["orders".to_owned(), "lineitem".to_owned(), "Customer".to_owned()];
        let check = |wanted: &str, expect: Option<&str>| assert_eq!(closest(wanted, &names), expect, "{wanted}");
        check("order", Some("orders"));
        check("customer", Some("Customer"));
        check("lineitems", Some("lineitem"));
        check("region", None);
    }
}

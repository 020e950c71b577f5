//! GRANT, REVOKE and SHOW GRANTS.

use catalog::{Lakehouse, TableName};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, Path};
use super::table_name;
use crate::access::{Grant, Guard, Object, Privilege, missing};
use crate::error::{Error, Result};
use crate::session::Session;

/// What privileges are on, by its name as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A table or view.
    Relation(Path),
    /// A schema and everything in it.
    Schema(Path),
}

/// GRANT or REVOKE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangeGrants {
    /// GRANT, and not REVOKE.
    give: bool,
    /// None is ALL.
    privileges: Option<Vec<Privilege>>,
    target: Target,
    /// Users.
    grantees: Vec<String>,
}

impl Target {
    /// What stands behind ON.
    fn parse(cursor: &mut Cursor) -> Result<Self> {
        if cursor.words("CATALOG") {
            return Err(Error::unsupported(
                "a grant ON CATALOG",
                ": the server's configuration has those, below access.catalogs",
            ));
        }
        for kind in [
            "FUNCTION",
            "ALL TABLES",
            "ALL VIEWS",
            "FUTURE TABLES",
            "DATABASE",
            "COLUMN",
        ] {
            if cursor.words(kind) {
                let what = format!("a grant ON {kind}");
                return Err(Error::unsupported(
                    what,
                    ": privileges are on tables, views and schemas",
                ));
            }
        }
        if cursor.any(&["SCHEMA", "NAMESPACE"]) {
            return Ok(Self::Schema(cursor.path()?));
        }
        cursor.any(&["TABLE", "VIEW"]);
        Ok(Self::Relation(cursor.path()?))
    }

    /// The target of SHOW GRANTS ON; nothing where the statement is another.
    pub(in crate::sql) fn shown(tokens: &[TokenWithSpan]) -> Result<Option<Self>> {
        let mut cursor = Cursor::new(tokens);
        if !cursor.words("SHOW GRANTS") {
            return Ok(None);
        }
        cursor.expect("ON")?;
        let target = Self::parse(&mut cursor)?;
        cursor.end()?;
        Ok(Some(target))
    }

    /// The catalog, the schema and the object there.
    pub(in crate::sql) fn resolve(&self, session: &Session) -> (String, String, Object) {
        match self {
            Self::Relation(name) => {
                let TableName {
                    catalog,
                    namespace,
                    table,
                } = table_name(name, session);
                (catalog, namespace, Object::Relation(table))
            }
            Self::Schema(name) => match name.as_slice() {
                [catalog, namespace @ ..] if !namespace.is_empty() => {
                    (catalog.clone(), namespace.join("."), Object::Schema)
                }
                _ => (session.catalog.clone(), name.join("."), Object::Schema),
            },
        }
    }

    /// Refuses what does not exist, and what the user may not know of.
    pub(in crate::sql) async fn check(&self, session: &Session, lakehouse: &Lakehouse, guard: &Guard) -> Result<()> {
        let (catalog, namespace, object) = self.resolve(session);
        match object {
            Object::Relation(table) => {
                let name = TableName::new(catalog, namespace, table);
                let found = guard.sees(&session.user, &name).await?
                    && lakehouse.client(&name.catalog)?.load(&name).await?.is_some();
                match found {
                    true => Ok(()),
                    false => Err(missing("table", &name).into()),
                }
            }
            _ => {
                let sees = guard.sees_schema(&session.user, &catalog, &namespace).await?;
                let found = sees && lakehouse.list_namespaces(&catalog).await?.contains(&namespace);
                match found {
                    true => Ok(()),
                    false => Err(catalog::Error::NotFound {
                        what: "namespace",
                        name: format!("{catalog}.{namespace}"),
                        hint: Some(format!("SHOW SCHEMAS IN {catalog} lists what there is")),
                    }
                    .into()),
                }
            }
        }
    }
}

impl ChangeGrants {
    /// The statement, where the next word begins one.
    pub(super) fn parse(cursor: &mut Cursor) -> Result<Option<Self>> {
        let give = cursor.words("GRANT");
        if !give && !cursor.words("REVOKE") {
            return Ok(None);
        }
        if cursor.words("GRANT OPTION FOR") {
            return Err(Error::unsupported("REVOKE GRANT OPTION FOR", WHO_GRANTS));
        }
        let privileges = privileges(cursor)?;
        cursor.expect("ON")?;
        let target = Target::parse(cursor)?;
        cursor.expect(if give { "TO" } else { "FROM" })?;
        let mut grantees = vec![grantee(cursor)?];
        while cursor.token(&Token::Comma) {
            grantees.push(grantee(cursor)?);
        }
        if cursor.words("WITH GRANT OPTION") {
            return Err(Error::unsupported("GRANT ... WITH GRANT OPTION", WHO_GRANTS));
        }
        if cursor.words("CASCADE") {
            return Err(Error::unsupported(
                "REVOKE ... CASCADE",
                ": no grant depends on another",
            ));
        }
        cursor.words("RESTRICT");
        Ok(Some(Self {
            give,
            privileges,
            target,
            grantees,
        }))
    }

    /// Does it, where the user owns what it is about.
    pub(super) async fn run(self, session: &Session, lakehouse: &Lakehouse, guard: &Guard) -> Result<()> {
        guard.access().require_on(if self.give { "GRANT" } else { "REVOKE" })?;
        self.target.check(session, lakehouse, guard).await?;
        let (catalog, namespace, object) = self.target.resolve(session);
        let known: &[Privilege] = match &object {
            Object::Schema => {
                guard
                    .require_on_schema(&session.user, &catalog, &namespace, Privilege::Own)
                    .await?;
                &Privilege::OF_SCHEMAS
            }
            Object::Relation(table) | Object::Function(table) => {
                let name = TableName::new(&catalog, &namespace, table);
                guard.require(&session.user, "table", &name, &[Privilege::Own]).await?;
                &Privilege::OF_TABLES
            }
        };
        let privileges = self.privileges.as_deref().unwrap_or(known);
        if let Some(other) = privileges.iter().find(|privilege| !known.contains(privilege)) {
            let detail = format!("{other} is a privilege on schemas, and not on tables and views");
            return Err(Error::statement(detail));
        }
        let grants: Vec<Grant> = self
            .grantees
            .iter()
            .flat_map(|grantee| {
                privileges.iter().map(|privilege| Grant {
                    object: object.clone(),
                    grantee: grantee.clone(),
                    privilege: *privilege,
                })
            })
            .collect();
        guard
            .change(&session.user, (&catalog, &namespace), &grants, self.give)
            .await
    }
}

const WHO_GRANTS: &str = ": owners grant, and those who may make them";

/// `ALL [PRIVILEGES]`, which is none here, or a list.
fn privileges(cursor: &mut Cursor) -> Result<Option<Vec<Privilege>>> {
    if cursor.any(&["ALL PRIVILEGES", "ALL"]) {
        return Ok(None);
    }
    let mut privileges = Vec::new();
    loop {
        let name = cursor.name()?;
        let privilege = Privilege::parse(&name).ok_or_else(|| Error::Statement {
            detail: format!("unrecognized privilege {}", name.to_uppercase()),
            hint: Some("the privileges are SELECT, INSERT, UPDATE, DELETE, CREATE and ALL".to_owned()),
        })?;
        if cursor.is_token(&Token::LParen) {
            return Err(Error::unsupported(
                format!("GRANT {privilege} on columns"),
                ": make a view of the columns, and grant that",
            ));
        }
        privileges.push(privilege);
        if !cursor.token(&Token::Comma) {
            return Ok(Some(privileges));
        }
    }
}

/// A user, whose name is in lower case unless it is quoted.
fn grantee(cursor: &mut Cursor) -> Result<String> {
    for kind in ["ROLE", "GROUP", "PUBLIC"] {
        if cursor.words(kind) {
            return Err(Error::unsupported(
                format!("a grant to {kind}"),
                ": privileges are those of users, since logins keep no groups",
            ));
        }
    }
    cursor.words("USER");
    match cursor.text() {
        Ok(name) => Ok(name),
        Err(_) => cursor.name(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proto::ErrorKind;

    use super::*;
    use crate::sql::ddl::Ddl;
    use crate::sql::parse::Statement;
    use crate::sql::show::Show;

    fn parsed(sql: &str) -> ChangeGrants {
        match Statement::parse(sql).unwrap() {
            Statement::Ddl(Ddl::ChangeGrants(change)) => *change,
            other => panic!("{sql}: {other:?}"),
        }
    }

    fn path(parts: &[&str]) -> Path {
        parts.iter().map(|part| (*part).to_owned()).collect()
    }

    #[test]
    fn who_may_do_what_on_what() {
        let check = |sql: &str, give: bool, privileges: Option<&[Privilege]>, target: Target, grantees: &[&str]| {
            let expect = ChangeGrants {
                give,
                privileges: privileges.map(<[Privilege]>::to_vec),
                target,
                grantees: path(grantees),
            };
            assert_eq!(parsed(sql), expect, "{sql}");
        };
        let (select, insert) = (Privilege::Select, Privilege::Insert);
        let table = || Target::Relation(path(&["lake", "s", "T"]));
        check(
            "grant select, Insert on lake.s.\"T\" to Alice, \"Bob@x\"",
            true,
            Some(&[select, insert]),
            table(),
            &["alice", "Bob@x"],
        );
        check(
            "GRANT ALL PRIVILEGES ON TABLE lake.s.\"T\" TO USER 'x y';",
            true,
            None,
            table(),
            &["x y"],
        );
        check(
            "REVOKE ALL ON VIEW lake.s.\"T\" FROM bob RESTRICT",
            false,
            None,
            table(),
            &["bob"],
        );
        let schema = Target::Schema(path(&["s"]));
        check(
            "GRANT CREATE ON SCHEMA s TO bob",
            true,
            Some(&[Privilege::Create]),
            schema,
            &["bob"],
        );
    }

    #[test]
    fn what_is_shown() {
        let check = |sql: &str, expect: Target| match Statement::parse(sql).unwrap() {
            Statement::Show(Show::Grants { target }) => assert_eq!(target, expect, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        };
        check("show grants on s.t", Target::Relation(path(&["s", "t"])));
        check("SHOW GRANTS ON SCHEMA lake.s", Target::Schema(path(&["lake", "s"])));
        assert!(Statement::parse("SHOW GRANTS").is_err());
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        let check = |sql: &str, kind: ErrorKind, expect: &str| {
            let error = Statement::parse(sql).unwrap_err();
            assert_eq!(error.kind(), kind, "{sql}: {error}");
            assert!(error.to_string().contains(expect), "{sql}: {error}");
        };
        let no = ErrorKind::Unsupported;
        check("GRANT SELECT ON t TO ROLE r", no, "a grant to ROLE");
        check("GRANT SELECT ON t TO PUBLIC", no, "a grant to PUBLIC");
        check("GRANT SELECT ON t TO bob WITH GRANT OPTION", no, "WITH GRANT OPTION");
        check("REVOKE GRANT OPTION FOR SELECT ON t FROM bob", no, "GRANT OPTION FOR");
        check("REVOKE SELECT ON t FROM bob CASCADE", no, "CASCADE");
        check("GRANT SELECT ON CATALOG lake TO bob", no, "access.catalogs");
        check("GRANT SELECT (a) ON t TO bob", no, "on columns");
        check(
            "GRANT USAGE ON t TO bob",
            ErrorKind::InvalidInput,
            "unrecognized privilege USAGE",
        );
        check("GRANT SELECT ON t TO bob now", ErrorKind::InvalidInput, "syntax error");
        check("GRANT SELECT ON t FROM bob", ErrorKind::InvalidInput, "TO is expected");
    }
}

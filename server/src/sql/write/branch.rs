//! `INSERT INTO t FOR VERSION AS OF 'branch' ...`: a change of a branch. The clause stands behind the target of INSERT,
//! UPDATE, DELETE or MERGE as it does behind a table that is read; it is taken out of the tokens, and the target gets a
//! name of its own. Every other table of the statement is what its own name says.

use datafusion::sql::sqlparser::ast::{
    Delete, FromTable, Ident, ObjectName, ObjectNamePart, Statement, TableAlias, TableFactor, TableObject,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Error, Result};
use crate::sql::parse::{Version, VersionedTable, name_parts};

/// Takes the clause out of the tokens of a statement that changes rows: the name of the branch.
pub(in crate::sql) fn take(mut tokens: Vec<TokenWithSpan>) -> Result<(Vec<TokenWithSpan>, Option<String>)> {
    let is_of = |token: &TokenWithSpan| matches!(&token.token, Token::Word(word) if word.keyword == Keyword::OF);
    if !tokens.iter().any(is_of) {
        return Ok((tokens, None));
    }
    let significant: Vec<usize> = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| !matches!(token.token, Token::Whitespace(_)))
        .map(|(index, _)| index)
        .collect();
    let word = |nth: usize, expect: &str| {
        let token = significant.get(nth).and_then(|index| tokens.get(*index));
        matches!(token.map(|token| &token.token), Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expect))
    };
    let token = |nth: usize| {
        let index = significant.get(nth)?;
        Some(&tokens.get(*index)?.token)
    };
    let mut depth = 0_usize;
    let mut head = None;
    for nth in 0..significant.len() {
        match token(nth) {
            Some(Token::LParen) => depth += 1,
            Some(Token::RParen) => depth = depth.saturating_sub(1),
            _ if depth == 0 => head = head.or_else(|| target(nth, &word)),
            _ => {}
        }
        if head.is_some() || (nth == 0 && !word(0, "WITH")) {
            break;
        }
    }
    let Some(mut nth) = head else {
        return Ok((tokens, None));
    };
    while matches!(token(nth), Some(Token::Word(_))) && matches!(token(nth + 1), Some(Token::Period)) {
        nth += 2;
    }
    let clause = nth + 1;
    let starts = ["FOR", "VERSION", "AS", "OF"];
    if !starts
        .iter()
        .enumerate()
        .all(|(index, expect)| word(clause + index, expect))
    {
        return Ok((tokens, None));
    }
    let branch = match token(clause + starts.len()) {
        Some(Token::SingleQuotedString(branch)) => branch.clone(),
        _ => {
            return Err(Error::Statement {
                detail: "rows are written to a branch: FOR VERSION AS OF takes its name in single quotes".to_owned(),
                hint: None,
            });
        }
    };
    if let (Some(first), Some(last)) = (significant.get(clause), significant.get(clause + starts.len())) {
        tokens.drain(*first..=*last);
    }
    Ok((tokens, Some(branch)))
}

/// Where the target's name begins, if a statement that changes rows begins at `nth`.
fn target(nth: usize, word: &impl Fn(usize, &str) -> bool) -> Option<usize> {
    let all = |words: &[&str]| {
        words
            .iter()
            .enumerate()
            .all(|(index, expect)| word(nth + index, expect))
    };
    let heads: [&[&str]; 9] = [
        &["INSERT", "INTO", "TABLE"],
        &["INSERT", "INTO"],
        &["INSERT", "OVERWRITE", "TABLE"],
        &["INSERT", "OVERWRITE", "INTO"],
        &["INSERT", "OVERWRITE"],
        &["UPDATE"],
        &["DELETE", "FROM"],
        &["MERGE", "INTO"],
        &["MERGE"],
    ];
    heads.iter().find(|head| all(head)).map(|head| nth + head.len())
}

/// Gives the target of the statement a name that stands for the branch.
pub(in crate::sql) fn name_target(statement: &mut Statement, branch: &str) -> Result<VersionedTable> {
    let wrong = || Error::statement("a branch is written to by INSERT, UPDATE, DELETE and MERGE");
    match statement {
        Statement::Insert(insert) => match &mut insert.table {
            TableObject::TableName(name) => rename(name, branch).map(|(named, _)| named),
            _ => Err(wrong()),
        },
        Statement::Update(update) => rename_factor(&mut update.table.relation, branch),
        Statement::Merge(merge) => rename_factor(&mut merge.table, branch),
        Statement::Delete(Delete { from, .. }) => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
            match from.first_mut() {
                Some(first) => rename_factor(&mut first.relation, branch),
                None => Err(wrong()),
            }
        }
        Statement::Query(query) => match query.body.as_mut() {
            datafusion::sql::sqlparser::ast::SetExpr::Insert(inner)
            | datafusion::sql::sqlparser::ast::SetExpr::Update(inner)
            | datafusion::sql::sqlparser::ast::SetExpr::Delete(inner)
            | datafusion::sql::sqlparser::ast::SetExpr::Merge(inner) => name_target(inner, branch),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

fn rename_factor(factor: &mut TableFactor, branch: &str) -> Result<VersionedTable> {
    let TableFactor::Table { name, alias, .. } = factor else {
        return Err(Error::statement("a branch is one of a table"));
    };
    let (named, own) = rename(name, branch)?;
    // Columns are still known by the table's own name.
    alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: own,
        columns: Vec::new(),
        at: None,
    });
    Ok(named)
}

/// The name that stands for the branch, and the last part of the table's own.
fn rename(name: &mut ObjectName, branch: &str) -> Result<(VersionedTable, Ident)> {
    let table = name_parts(name)?.pop().unwrap_or_default();
    let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut() else {
        return Err(Error::statement(format!("\"{name}\" is no name")));
    };
    let quoted = |value: &str| Ident {
        value: value.to_owned(),
        quote_style: Some('"'),
        span: last.span,
    };
    let versioned = VersionedTable {
        name: format!("{table} of the branch {branch}"),
        version: Version::Ref(branch.to_owned()),
        table,
    };
    let own = quoted(&versioned.table);
    *last = quoted(&versioned.name);
    Ok((versioned, own))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use crate::sql::parse::{Statement, Version};

    /// The name of the target's branch, and how many tables of the statement have a version.
    fn check(sql: &str, expect: Option<(&str, usize)>) {
        let versions = match Statement::parse(sql).unwrap() {
            Statement::Write { versions, .. } => versions,
            other => panic!("{sql}: {other:?}"),
        };
        let branch = versions.iter().find(|table| table.name.contains("of the branch"));
        let found = branch.map(|table| match &table.version {
            Version::Ref(name) => (name.as_str(), versions.len()),
            other => panic!("{other:?}"),
        });
        assert_eq!(found, expect, "{sql}");
    }

    #[test]
    fn every_change_may_be_one_of_a_branch() {
        check("INSERT INTO s.t FOR VERSION AS OF 'b' (id) VALUES (1)", Some(("b", 1)));
        check("INSERT INTO s.t (id) VALUES (1)", None);
        check(
            "INSERT OVERWRITE t FOR VERSION AS OF 'b' SELECT * FROM t",
            Some(("b", 1)),
        );
        check(
            "UPDATE a.s.t for version as of 'b' SET x = 1 WHERE t.id = 2",
            Some(("b", 1)),
        );
        check(
            "DELETE FROM t FOR VERSION AS OF 'b' AS d WHERE d.id = 2",
            Some(("b", 1)),
        );
        check(
            "MERGE INTO t FOR VERSION AS OF 'b' AS x USING t FOR VERSION AS OF 'c' AS s ON x.id = s.id \
             WHEN MATCHED THEN DELETE",
            Some(("b", 2)),
        );
        check(
            "DELETE FROM t WHERE id IN (SELECT id FROM t FOR VERSION AS OF 'b')",
            None,
        );
        check(
            "INSERT INTO t FOR VERSION AS OF 'b' SELECT * FROM t FOR VERSION AS OF 'b'",
            Some(("b", 2)),
        );
    }

    #[test]
    fn only_branches_are_written_to() {
        assert!(Statement::parse("INSERT INTO t FOR VERSION AS OF 7 VALUES (1)").is_err());
        assert!(Statement::parse("UPDATE t FOR VERSION AS OF 7 SET x = 1").is_err());
    }
}

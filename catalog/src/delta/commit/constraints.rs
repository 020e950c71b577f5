//! The conditions that a table's rows must fulfil: CHECK constraints and column invariants.
//!
//! Their texts are Spark SQL. They are passed on where every dialect reads them alike: columns, numbers, texts,
//! comparisons, NULL tests, AND, OR and NOT; all others are refused by the constraint's name.

use serde_json::Value;

use crate::delta::read::DeltaSnapshot;
use crate::error::Result;

const CONSTRAINT: &str = "delta.constraints.";
const WORDS: [&str; 10] = [
    "AND", "OR", "NOT", "IS", "NULL", "IN", "BETWEEN", "TRUE", "FALSE", "LIKE",
];
const SIGNS: [&str; 13] = ["<=", ">=", "<>", "!=", "==", "<", ">", "=", "(", ")", ",", "+", "-"];

const COMPARING: [char; 4] = ['<', '>', '=', '!'];

/// Names and texts of the conditions. A row fulfils one where it is true; NULL is not enough.
pub(crate) fn of(snapshot: &DeltaSnapshot) -> Result<Vec<(String, String)>> {
    let columns: Vec<&str> = snapshot
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let mut conditions = Vec::new();
    let mut add = |name: &str, text: &str| match translate(text, &columns) {
        Some(text) => {
            conditions.push((name.to_owned(), format!("({text}) IS TRUE")));
            Ok(())
        }
        None => Err(snapshot.log.unsupported(format!("the constraint {name}: {text}"))),
    };
    let properties = snapshot.version.kernel.metadata_configuration();
    let mut checks: Vec<_> = properties
        .iter()
        .filter_map(|(key, text)| Some((key.strip_prefix(CONSTRAINT)?, text)))
        .collect();
    checks.sort();
    for (name, text) in checks {
        add(name, text)?;
    }
    for field in snapshot.schema_json()?["fields"].as_array().into_iter().flatten() {
        let invariant = field["metadata"]["delta.invariants"].as_str();
        let parsed = invariant.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let text = parsed
            .as_ref()
            .and_then(|rule| rule["expression"]["expression"].as_str());
        match (invariant, text) {
            (None, _) => {}
            (Some(_), Some(text)) => add(field["name"].as_str().unwrap_or_default(), text)?,
            (Some(other), None) => return Err(snapshot.log.unsupported(format!("the invariant {other}"))),
        }
    }
    Ok(conditions)
}

/// The condition with its columns quoted; `None` where it may mean something else in another dialect.
fn translate(text: &str, columns: &[&str]) -> Option<String> {
    let mut rest = text.trim_start();
    let mut words: Vec<String> = Vec::new();
    let column = |name: &str| {
        let mut found = columns.iter().filter(|column| column.eq_ignore_ascii_case(name));
        let name = found.next().filter(|_| found.next().is_none())?;
        Some(format!("\"{}\"", name.replace('"', "\"\"")))
    };
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\'' => {
                let end = rest[1..].find('\'')? + 2;
                let literal = &rest[..end];
                // Spark escapes with a backslash; a quote behind a quote is two texts there and one here.
                if literal.contains('\\') || rest[end..].trim_start().starts_with('\'') {
                    return None;
                }
                words.push(literal.to_owned());
                end
            }
            '`' => {
                let end = rest[1..].find('`')? + 2;
                words.push(column(&rest[1..end - 1])?);
                end
            }
            '0'..='9' => {
                let end = rest
                    .find(|c: char| !c.is_ascii_digit() && c != '.')
                    .unwrap_or(rest.len());
                words.push(rest[..end].to_owned());
                // Letters behind a number give it a type or an exponent.
                if rest[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                    return None;
                }
                end
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                let word = &rest[..end];
                let known = WORDS.iter().find(|known| known.eq_ignore_ascii_case(word));
                words.push(match known {
                    Some(known) => (*known).to_owned(),
                    None => column(word)?,
                });
                // Calls and fields of structs.
                if known.is_none() && rest[end..].trim_start().starts_with(['(', '.', '[']) {
                    return None;
                }
                end
            }
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign))?;
                let compares = sign.starts_with(COMPARING);
                if compares && rest[sign.len()..].starts_with(COMPARING) {
                    return None;
                }
                words.push((if *sign == "==" { "=" } else { sign }).to_owned());
                sign.len()
            }
        };
        rest = rest[taken..].trim_start();
    }
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_conditions_are_passed_on_and_others_are_not() {
        let check = |text: &str, expect: Option<&str>| {
            let columns = ["id", "Amount", "kind"];
            assert_eq!(translate(text, &columns).as_deref(), expect, "{text}");
        };
        check("id > 0 AND amount<=10.5", Some("\"id\" > 0 AND \"Amount\" <= 10.5"));
        check(
            "`kind` in ('a', 'b') or kind is null",
            Some("\"kind\" IN ( 'a' , 'b' ) OR \"kind\" IS NULL"),
        );
        check("id == -1", Some("\"id\" = - 1"));
        for other in [
            "length(kind) > 3",
            "id / 2 > 1",
            "kind = \"a\"",
            "kind = 'a\\'b'",
            "kind = 'a''b'",
            "other > 1",
            "id > 1e3",
            "id > 1L",
            "id <=> 3",
            "",
        ] {
            check(other, None);
        }
    }
}

//! Where in a statement's text something is wrong: its line with a mark below.

use datafusion::common::Location;
use datafusion::error::DataFusionError;

/// Characters of a line that are shown on each side of the mark.
const AROUND_CHARS: usize = 60;

/// The place that an error of the engine names, shown in `text`, which must be what the engine was given.
pub(super) fn excerpt(error: &DataFusionError, text: &str) -> Option<String> {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let location = span
        .map(|span| span.start)
        .or_else(|| written(&innermost(error).to_string()))?;
    mark(text, location)
}

/// The engine's error below its wrappings.
fn innermost(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => innermost(inner),
        DataFusionError::Shared(inner) => innermost(inner),
        other => other,
    }
}

/// The place that the parser writes at the end of its messages: ` at Line: 2, Column: 5`.
fn written(message: &str) -> Option<Location> {
    let (_, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let digits = column.find(|c: char| !c.is_ascii_digit()).unwrap_or(column.len());
    Some(Location {
        line: line.parse().ok()?,
        column: column.get(..digits)?.parse().ok()?,
    })
}

/// The line at `location` with a mark below its character.
fn mark(text: &str, location: Location) -> Option<String> {
    let line = text
        .split('\n')
        .nth(usize::try_from(location.line).ok()?.checked_sub(1)?)?;
    let column = usize::try_from(location.column).ok()?.checked_sub(1)?;
    let shown: String = line
        .trim_end()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let length = shown.chars().count();
    if column > length {
        return None;
    }
    let start = column.saturating_sub(AROUND_CHARS);
    let end = length.min(column + AROUND_CHARS);
    let (before, after) = (
        if start > 0 { "..." } else { "" },
        if end < length { "..." } else { "" },
    );
    let window: String = shown.chars().skip(start).take(end - start).collect();
    let indent = " ".repeat(before.len() + column - start);
    let Location { line, column } = location;
    Some(format!(
        "line {line}, column {column}:\n  {before}{window}{after}\n  {indent}^"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn marked(text: &str, line: u64, column: u64) -> Option<String> {
        mark(text, Location { line, column })
    }

    #[test]
    fn the_mark_stands_below_the_character() {
        assert_eq!(
            marked("SELECT a\nFROM t", 2, 6).unwrap(),
            "line 2, column 6:\n  FROM t\n       ^"
        );
        assert_eq!(
            marked("SELECT 'ä' x\r\n", 1, 12).unwrap(),
            "line 1, column 12:\n  SELECT 'ä' x\n             ^"
        );
        assert_eq!(
            marked("SELECT", 1, 7).unwrap(),
            "line 1, column 7:\n  SELECT\n        ^",
            "behind the end"
        );
        assert_eq!(marked("a\u{1b}b", 1, 3).unwrap(), "line 1, column 3:\n  a b\n    ^");
        for (line, column) in [(0, 1), (1, 0), (3, 1), (1, 99), (u64::MAX, u64::MAX)] {
            assert_eq!(marked("SELECT 1", line, column), None, "{line}:{column}");
        }
    }

    #[test]
    fn a_long_line_is_cut_on_both_sides() {
        let text = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let shown = marked(&text, 1, 5001).unwrap();
        let lines: Vec<_> = shown.lines().collect();
        assert!(shown.len() < 300, "{shown}");
        assert_eq!(lines[1].chars().nth(lines[2].len() - 1), Some('X'), "{shown}");
    }

    #[test]
    fn the_parsers_messages_are_understood() {
        let place = written("sql parser error: Expected: x, found: y at Line: 2, Column: 15").unwrap();
        assert_eq!((place.line, place.column), (2, 15));
        assert!(written("Expected: x at Line: two, Column: 1").is_none());
        assert!(written("no place").is_none());
    }
}

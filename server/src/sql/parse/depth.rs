//! How deep the tree of a text will be, told from its tokens. The parser bounds brackets, but a chain such as
//! `1 + 1 + 1` becomes a tree as deep as the chain is long, and a tree too deep for the stack ends the process.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// The depth that the tree of these tokens can reach, apart from what the parser bounds itself.
pub(super) fn depth(tokens: &[TokenWithSpan]) -> usize {
    let mut levels = vec![Level::default()];
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => levels.push(Level::default()),
            Token::RParen | Token::RBracket | Token::RBrace => close(&mut levels),
            token => {
                if let Some(level) = levels.last_mut() {
                    level.count(token);
                }
            }
        }
    }
    while levels.len() > 1 {
        close(&mut levels);
    }
    levels.first().map_or(0, Level::depth)
}

fn close(levels: &mut Vec<Level>) {
    if levels.len() > 1
        && let Some(inner) = levels.pop()
        && let Some(outer) = levels.last_mut()
    {
        // What follows a bracket may be applied to it: `(a)[1][1]`.
        outer.operators += 1;
        outer.deepest_inner = outer.deepest_inner.max(inner.depth());
    }
}

/// The tokens between two brackets, without those between further brackets inside.
#[derive(Default)]
struct Level {
    /// Operators of the expression that is being read.
    operators: usize,
    /// The deepest brackets inside it.
    deepest_inner: usize,
    /// The deepest expression before it.
    deepest: usize,
    /// Queries and tables that are chained by UNION and JOIN.
    chained: usize,
}

impl Level {
    fn count(&mut self, token: &Token) {
        match token {
            Token::Comma | Token::SemiColon => self.next_expression(),
            Token::Whitespace(_) | Token::Number(..) | Token::Placeholder(_) | Token::Period => {}
            Token::Word(word) => match word.keyword {
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS | Keyword::JOIN => {
                    self.chained += 1;
                    self.next_expression();
                }
                Keyword::SELECT
                | Keyword::FROM
                | Keyword::WHERE
                | Keyword::ON
                | Keyword::GROUP
                | Keyword::HAVING
                | Keyword::ORDER
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE => self.next_expression(),
                Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::AT => self.operators += 1,
                _ => {}
            },
            literal if is_text(literal) => {}
            _operator => self.operators += 1,
        }
    }

    fn next_expression(&mut self) {
        self.deepest = self.deepest.max(self.operators + self.deepest_inner);
        self.operators = 0;
        self.deepest_inner = 0;
    }

    fn depth(&self) -> usize {
        self.chained + self.deepest.max(self.operators + self.deepest_inner)
    }
}

fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::NationalStringLiteral(_)
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn check(sql: &str, expect: usize) {
        let tokens = Tokenizer::new(&GenericDialect {}, sql)
            .tokenize_with_location()
            .unwrap();
        assert_eq!(depth(&tokens), expect, "{sql}");
    }

    #[test]
    fn chains_are_as_deep_as_they_are_long() {
        check("SELECT a, b FROM t", 0);
        check("SELECT 1 + 1 + 1", 2);
        check("SELECT a = 1 OR a = 2 OR a = 3", 5);
        check("SELECT x::int::int::int", 3);
        check("SELECT 1 UNION SELECT 2 UNION SELECT 3", 2);
        check("SELECT * FROM a JOIN b ON a.x = b.x JOIN c ON b.y = c.y", 3);
    }

    #[test]
    fn lists_are_not_deep() {
        check("SELECT a + 1, b + 1, c + 1", 1);
        check("SELECT * FROM t WHERE a IN (1, 2, 3, 4)", 2);
        check("VALUES (-1, -2), (-3, -4)", 2);
        check(
            "SELECT CASE WHEN a = 1 THEN 1 WHEN a = 2 THEN 2 WHEN a = 3 THEN 3 END",
            1,
        );
    }

    #[test]
    fn brackets_add_to_what_is_around_them() {
        check("SELECT (1 + 1 + 1) + 1", 4);
        check("SELECT 1 + (2 + (3 + 4))", 5);
        check("SELECT a[1][1]", 2);
        check("SELECT ((((", 4);
        check("SELECT ))))", 0);
    }
}

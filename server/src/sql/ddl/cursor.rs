//! A statement's tokens, read word by word. Whatever has a grammar of its own (types, constants) is the parser's.

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{self, ArrayElemTypeDef, ExactNumberInfo, TimezoneInfo};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::error::{Error, Result};

/// The parts of a dotted name, in lower case unless quoted.
pub(super) type Path = Vec<String>;

/// The metadata key of a field that tells its extension type.
const EXTENSION_NAME: &str = "ARROW:extension:name";

/// What is left of a statement.
pub(super) struct Cursor {
    parser: Parser<'static>,
}

impl Cursor {
    pub(super) fn new(tokens: &[TokenWithSpan]) -> Self {
        let parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(tokens.to_vec());
        Self { parser }
    }

    /// Goes past these words, if they are next.
    pub(super) fn words(&mut self, words: &str) -> bool {
        let expected: Vec<&str> = words.split(' ').collect();
        let all = expected.iter().enumerate().all(|(index, expected)| {
            matches!(&self.parser.peek_nth_token(index).token,
                Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
        });
        if all {
            expected.iter().for_each(|_| {
                self.parser.next_token();
            });
        }
        all
    }

    /// Goes past the first of these alternatives that is next.
    pub(super) fn any(&mut self, alternatives: &[&str]) -> bool {
        alternatives.iter().any(|words| self.words(words))
    }

    /// Goes past these words, which must be next.
    pub(super) fn expect(&mut self, words: &str) -> Result<()> {
        match self.words(words) {
            true => Ok(()),
            false => Err(self.wanted(words)),
        }
    }

    /// Where the next token begins.
    pub(super) fn location(&self) -> Location {
        self.parser.peek_token().span.start
    }

    pub(super) fn is_token(&self, token: &Token) -> bool {
        self.parser.peek_token().token == *token
    }

    pub(super) fn token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> Result<()> {
        match self.token(token) {
            true => Ok(()),
            false => Err(self.wanted(&token.to_string())),
        }
    }

    /// Nothing may follow but a semicolon.
    pub(super) fn end(&mut self) -> Result<()> {
        while self.token(&Token::SemiColon) {}
        match self.parser.peek_token().token {
            Token::EOF => Ok(()),
            _ => Err(self.wanted("the end of the statement")),
        }
    }

    /// The tokens that are left.
    pub(super) fn rest(&mut self) -> Vec<TokenWithSpan> {
        let mut rest = Vec::new();
        loop {
            let token = self.parser.next_token();
            if token.token == Token::EOF {
                return rest;
            }
            rest.push(token);
        }
    }

    /// The error for what is next where something else belongs.
    pub(super) fn wanted(&self, wanted: &str) -> Error {
        let found = self.parser.peek_token();
        let at = match found.span.start {
            start if start.line > 0 => format!(" at line {}, column {}", start.line, start.column),
            _ => String::new(),
        };
        let found = match found.token {
            Token::EOF => "the end of the statement".to_owned(),
            token => format!("\"{token}\""),
        };
        Error::statement(format!(
            "syntax error: {wanted} is expected{at}, and {found} stands there"
        ))
    }

    /// One name, in lower case unless quoted.
    pub(super) fn name(&mut self) -> Result<String> {
        match self.parser.parse_identifier() {
            Ok(ident) if ident.quote_style.is_some() => Ok(ident.value),
            Ok(ident) => Ok(ident.value.to_lowercase()),
            Err(_) => Err(self.wanted("a name")),
        }
    }

    /// Names joined by dots.
    pub(super) fn path(&mut self) -> Result<Path> {
        let mut path = vec![self.name()?];
        while self.token(&Token::Period) {
            path.push(self.name()?);
        }
        Ok(path)
    }

    /// A text in quotes.
    pub(super) fn text(&mut self) -> Result<String> {
        match self.parser.peek_token().token {
            Token::SingleQuotedString(text) => {
                self.parser.next_token();
                Ok(text)
            }
            _ => Err(self.wanted("a text in quotes")),
        }
    }

    /// A text in quotes, or NULL.
    pub(super) fn text_or_null(&mut self) -> Result<Option<String>> {
        match self.words("NULL") {
            true => Ok(None),
            false => self.text().map(Some),
        }
    }

    /// A whole number that is not negative.
    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        let parsed = match &self.parser.peek_token().token {
            Token::Number(digits, _) => digits.parse().ok(),
            _ => None,
        };
        let number = parsed.ok_or_else(|| self.wanted("a whole number"))?;
        self.parser.next_token();
        Ok(number)
    }

    /// `(one, two, ...)`.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect_token(&Token::LParen)?;
        let mut items = Vec::new();
        loop {
            items.push(item(self)?);
            if !self.token(&Token::Comma) {
                self.expect_token(&Token::RParen)?;
                return Ok(items);
            }
        }
    }

    /// Goes past `()`, if that is next.
    pub(super) fn empty_brackets(&mut self) -> bool {
        let are_next = self.is_token(&Token::LParen) && self.parser.peek_nth_token(1).token == Token::RParen;
        if are_next {
            self.parser.next_token();
            self.parser.next_token();
        }
        are_next
    }

    /// The text of an expression in brackets, as the parser prints it.
    pub(super) fn expression(&mut self) -> Result<String> {
        self.expect_token(&Token::LParen)?;
        let expression = self.parser.parse_expr();
        let expression = expression.map_err(|error| Error::statement(error.to_string()))?;
        self.expect_token(&Token::RParen)?;
        Ok(expression.to_string())
    }

    /// The text of an expression without brackets, as the parser prints it.
    pub(super) fn unbracketed(&mut self) -> Result<String> {
        let expression = self.parser.parse_expr();
        let expression = expression.map_err(|error| Error::statement(error.to_string()))?;
        Ok(expression.to_string())
    }

    /// The text of a type, as the parser prints it.
    pub(super) fn data_type(&mut self) -> Result<String> {
        let named = self.parser.parse_data_type();
        Ok(named.map_err(|_| self.wanted("a type"))?.to_string())
    }

    /// A text in single quotes or between dollar signs.
    pub(super) fn quoted(&mut self) -> Result<String> {
        match self.parser.peek_token().token {
            Token::DollarQuotedString(text) => {
                self.parser.next_token();
                Ok(text.value)
            }
            _ => self.text(),
        }
    }

    /// A constant, as text to be read as the type of its column; `None` for NULL.
    pub(super) fn constant(&mut self) -> Result<Option<ScalarValue>> {
        let not_constant = || Error::Statement {
            detail: "DEFAULT takes a constant".to_owned(),
            hint: Some("write a number, a text, TRUE, FALSE, DATE '...' or TIMESTAMP '...'".to_owned()),
        };
        let negative = self.token(&Token::Minus);
        let expression = self.parser.parse_prefix().map_err(|_| not_constant())?;
        let value = match expression {
            ast::Expr::Value(value) => value.value,
            ast::Expr::TypedString(typed) if !negative => typed.value.value,
            _ => return Err(not_constant()),
        };
        let text = match value {
            ast::Value::Null => return Ok(None),
            ast::Value::Number(digits, _) if negative => format!("-{digits}"),
            ast::Value::Number(digits, _) => digits,
            ast::Value::Boolean(flag) if !negative => flag.to_string(),
            ast::Value::SingleQuotedString(text) if !negative => text,
            _ => return Err(not_constant()),
        };
        Ok(Some(ScalarValue::Utf8(Some(text))))
    }

    /// A type, and whether it is a UUID, which Arrow has no type for.
    pub(super) fn field(&mut self, name: &str, nullable: bool) -> Result<Field> {
        let mut closing = 0;
        let field = self.field_of_type(name, nullable, &mut closing)?;
        match closing {
            0 => Ok(field),
            _ => Err(self.wanted("a type with its brackets")),
        }
    }

    /// `closing` are brackets of types around this one that its own token has closed: `>>` is one token.
    fn field_of_type(&mut self, name: &str, nullable: bool, closing: &mut usize) -> Result<Field> {
        let opens = matches!(self.parser.peek_nth_token(1).token, Token::Lt);
        if opens && self.words("ARRAY") {
            self.expect_token(&Token::Lt)?;
            let element = self.field_of_type("element", true, closing)?;
            self.close(closing)?;
            return Ok(Field::new(name, DataType::List(element.into()), nullable));
        }
        if opens && self.words("MAP") {
            self.expect_token(&Token::Lt)?;
            let key = self.field_of_type("key", false, closing)?;
            self.expect_token(&Token::Comma)?;
            let value = self.field_of_type("value", true, closing)?;
            self.close(closing)?;
            let entries = Field::new("key_value", DataType::Struct(vec![key, value].into()), false);
            return Ok(Field::new(name, DataType::Map(entries.into(), false), nullable));
        }
        if opens && self.words("STRUCT") {
            self.expect_token(&Token::Lt)?;
            let mut fields = Vec::new();
            loop {
                let inner = self.name()?;
                self.token(&Token::Colon);
                let field = self.field_of_type(&inner, true, closing)?;
                let field = match *closing == 0 && self.words("NOT NULL") {
                    true => field.with_nullable(false),
                    false => field,
                };
                fields.push(field);
                if *closing > 0 || !self.token(&Token::Comma) {
                    break;
                }
            }
            self.close(closing)?;
            return Ok(Field::new(name, DataType::Struct(fields.into()), nullable));
        }
        let named = self.parser.parse_data_type();
        let named = named.map_err(|_| self.wanted("a type"))?;
        plain_field(name, &named, nullable)
    }

    fn close(&mut self, closing: &mut usize) -> Result<()> {
        if *closing > 0 {
            *closing -= 1;
        } else if self.token(&Token::ShiftRight) {
            *closing = 1;
        } else {
            self.expect_token(&Token::Gt)?;
        }
        Ok(())
    }
}

fn plain_field(name: &str, named: &ast::DataType, nullable: bool) -> Result<Field> {
    let field = Field::new(name, data_type(named)?, nullable);
    Ok(match named {
        ast::DataType::Uuid => field.with_metadata([(EXTENSION_NAME.to_owned(), "arrow.uuid".to_owned())].into()),
        _ => field,
    })
}

/// A decimal whose scale is no larger than its precision.
fn decimal(digits: &ExactNumberInfo) -> Option<DataType> {
    let (precision, scale) = match digits {
        ExactNumberInfo::None => (38, 10),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let precision = u8::try_from(precision)
        .ok()
        .filter(|digits| (1..=38).contains(digits))?;
    let scale = i8::try_from(scale).ok().filter(|scale| *scale >= 0)?;
    (i16::from(scale) <= i16::from(precision)).then_some(DataType::Decimal128(precision, scale))
}

/// The type of a column. TIMESTAMP is without a time zone, as in the standard; both formats keep microseconds.
fn data_type(named: &ast::DataType) -> Result<DataType> {
    use ast::DataType as N;
    let unknown = || Error::Statement {
        detail: format!("the type {named} is not known"),
        hint: Some(
            "write BOOLEAN, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p, s), DATE, TIME, TIMESTAMP, STRING, \
                    BINARY, UUID, ARRAY<...>, MAP<..., ...> or STRUCT<name type, ...>"
                .to_owned(),
        ),
    };
    let micros = |zone: bool| DataType::Timestamp(TimeUnit::Microsecond, zone.then(|| "UTC".into()));
    Ok(match named {
        N::Boolean | N::Bool => DataType::Boolean,
        N::TinyInt(_) => DataType::Int8,
        N::SmallInt(_) | N::Int2(_) => DataType::Int16,
        N::Int(_) | N::Integer(_) | N::Int4(_) => DataType::Int32,
        N::BigInt(_) | N::Int8(_) | N::Int64 => DataType::Int64,
        N::Real | N::Float4 | N::Float(ExactNumberInfo::None) => DataType::Float32,
        N::Double(_) | N::DoublePrecision | N::Float8 => DataType::Float64,
        N::Decimal(digits) | N::Numeric(digits) | N::Dec(digits) => decimal(digits).ok_or_else(unknown)?,
        N::Date => DataType::Date32,
        N::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => DataType::Time64(TimeUnit::Microsecond),
        N::Timestamp(Some(7..=9), zone) => {
            let zoned = matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz);
            DataType::Timestamp(TimeUnit::Nanosecond, zoned.then(|| "UTC".into()))
        }
        N::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => micros(true),
        N::Timestamp(..) | N::TimestampNtz(_) | N::Datetime(_) => micros(false),
        N::String(_)
        | N::Text
        | N::Varchar(_)
        | N::Char(_)
        | N::Character(_)
        | N::CharacterVarying(_)
        | N::CharVarying(_)
        | N::Nvarchar(_) => DataType::Utf8,
        N::Varbinary(_) | N::Blob(_) | N::Bytea | N::Bytes(_) | N::Binary(_) => DataType::Binary,
        N::Uuid => DataType::FixedSizeBinary(16),
        N::Array(ArrayElemTypeDef::SquareBracket(item, _) | ArrayElemTypeDef::AngleBracket(item)) => {
            DataType::List(plain_field("element", item, true)?.into())
        }
        N::Custom(name, arguments) => {
            let name = name.to_string().to_lowercase();
            match (name.as_str(), arguments.as_slice()) {
                ("long", []) => DataType::Int64,
                ("byte", []) => DataType::Int8,
                ("short", []) => DataType::Int16,
                ("timestamp_ntz", []) => micros(false),
                ("timestamp_ltz", []) => micros(true),
                ("timestamp_ns", []) => DataType::Timestamp(TimeUnit::Nanosecond, None),
                ("timestamptz_ns", []) => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
                ("fixed", [length]) => match length.parse() {
                    Ok(length) if length > 0 => DataType::FixedSizeBinary(length),
                    _ => return Err(unknown()),
                },
                _ => return Err(unknown()),
            }
        }
        _ => return Err(unknown()),
    })
}

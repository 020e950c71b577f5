//! `locate(part, text[, from])`, as ODBC, MySQL and Spark have it: where a text first stands in another.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// A place is counted in characters from 1, and 0 where there is none.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Locate {
    signature: Signature,
}

impl Default for Locate {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Locate {
    fn name(&self) -> &str {
        "locate"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let is_text = |argument: &DataType| match argument {
            DataType::Dictionary(_, values) => values.is_string(),
            other => other.is_string() || other.is_null(),
        };
        match arguments {
            [part, text] if is_text(part) && is_text(text) => Ok(vec![DataType::Utf8View; 2]),
            [part, text, from] if is_text(part) && is_text(text) && (from.is_integer() || from.is_null()) => {
                Ok(vec![DataType::Utf8View, DataType::Utf8View, DataType::Int64])
            }
            _ => plan_err!("locate takes two texts, and the place to begin at"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        make_scalar_function(places, Vec::new())(&arguments.args)
    }
}

fn places(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let [parts, texts, from @ ..] = arguments else {
        return exec_err!("locate takes two texts");
    };
    let (parts, texts) = (parts.as_string_view(), texts.as_string_view());
    let from = from.first().map(|from| from.as_primitive::<Int64Type>());
    let places = (0..texts.len()).map(|row| {
        let from = match from {
            None => 1,
            Some(from) if from.is_valid(row) => from.value(row),
            Some(_) => return None,
        };
        let is_known = parts.is_valid(row) && texts.is_valid(row);
        is_known.then(|| place(parts.value(row), texts.value(row), from))
    });
    Ok(Arc::new(places.collect::<Int32Array>()))
}

fn place(part: &str, text: &str, from: i64) -> i32 {
    let skipped = usize::try_from(from).ok().and_then(|from| from.checked_sub(1));
    let mut begins = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let Some(begin) = skipped.and_then(|skipped| begins.nth(skipped)) else {
        return 0;
    };
    match text[begin..].find(part) {
        Some(at) => i32::try_from(text[..begin + at].chars().count() + 1).unwrap_or(i32::MAX),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters_from_one() {
        let check = |part: &str, text: &str, from: i64, expect: i32| {
            assert_eq!(place(part, text, from), expect, "{part} in {text} from {from}");
        };
        check("b", "abcb", 1, 2);
        check("b", "abcb", 3, 4);
        check("b", "abcb", 5, 0);
        check("x", "abcb", 1, 0);
        check("ö", "äöö", 3, 3);
        check("", "abc", 1, 1);
        check("", "abc", 4, 4);
        check("", "abc", 5, 0);
        check("a", "abc", 0, 0);
        check("a", "abc", -1, 0);
        check("a", "abc", i64::MAX, 0);
        check("a", "", 1, 0);
    }
}

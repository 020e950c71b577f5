//! Batches as text: a bounded table for people, complete CSV or JSON for programs. Does no I/O but [`pass_on`].

use std::io::{ErrorKind, Write};

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{JsonArray, Writer as JsonWriter, WriterBuilder as JsonBuilder};
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;

use crate::cli::Format;
use crate::error::{Error, Result};

/// Turns the batches of one answer into text, piece by piece.
pub(super) enum Printer {
    Table {
        batches: Vec<RecordBatch>,
        rows: usize,
        rows_max: usize,
    },
    Csv {
        schema: SchemaRef,
        begun: bool,
    },
    Json(Box<JsonWriter<Vec<u8>, JsonArray>>),
}

impl Printer {
    /// For an answer with the columns of `schema`. `rows_max` bounds a table; the other formats hold nothing back.
    pub(super) fn new(format: Format, rows_max: usize, schema: SchemaRef) -> Self {
        match format {
            Format::Table => Printer::Table {
                batches: vec![RecordBatch::new_empty(schema)],
                rows: 0,
                rows_max,
            },
            Format::Csv => Printer::Csv { schema, begun: false },
            Format::Json => Printer::Json(Box::new(JsonBuilder::new().with_explicit_nulls(true).build(Vec::new()))),
        }
    }

    /// Whether another batch would change what is printed.
    pub(super) fn wants_more(&self) -> bool {
        match self {
            Printer::Table { rows, rows_max, .. } => rows <= rows_max,
            Printer::Csv { .. } | Printer::Json(_) => true,
        }
    }

    /// Takes `batch`; returns the text that is ready.
    pub(super) fn batch(&mut self, batch: RecordBatch) -> Result<Vec<u8>> {
        match self {
            Printer::Table { batches, rows, .. } => {
                *rows += batch.num_rows();
                batches.push(batch);
                Ok(Vec::new())
            }
            Printer::Csv { begun, .. } => {
                let with_names = !std::mem::replace(begun, true);
                csv(&batch, with_names)
            }
            Printer::Json(writer) => {
                writer.write(&batch).map_err(unprintable)?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }

    /// The text that is left after the last batch.
    pub(super) fn end(self) -> Result<Vec<u8>> {
        match self {
            Printer::Table {
                batches,
                rows,
                rows_max,
            } => {
                let text = table(&first_rows(batches, rows_max))?;
                let footer = match rows {
                    1 => "(1 row)".to_owned(),
                    rows if rows <= rows_max => format!("({rows} rows)"),
                    _ => format!("(the first {rows_max} rows; --format csv or json prints all)"),
                };
                Ok(format!("{text}\n{footer}\n").into_bytes())
            }
            Printer::Csv { schema, begun: false } => csv(&RecordBatch::new_empty(schema), true),
            Printer::Csv { .. } => Ok(Vec::new()),
            Printer::Json(mut writer) => {
                writer.finish().map_err(unprintable)?;
                let mut text = writer.into_inner();
                text.push(b'\n');
                Ok(text)
            }
        }
    }
}

/// `batches` as an aligned table.
pub(crate) fn table(batches: &[RecordBatch]) -> Result<String> {
    let options = FormatOptions::new().with_null("NULL");
    let table = pretty_format_batches_with_options(batches, &options).map_err(unprintable)?;
    Ok(table.to_string())
}

/// Writes `text` to `out`; false when nobody reads any more, as after `| head`.
pub(super) fn pass_on(out: &mut impl Write, text: &[u8]) -> Result<bool> {
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(source) => Err(Error::Io {
            action: "write the answer".to_owned(),
            source,
        }),
    }
}

fn csv(batch: &RecordBatch, with_names: bool) -> Result<Vec<u8>> {
    let mut writer = CsvBuilder::new().with_header(with_names).build(Vec::new());
    writer.write(batch).map_err(unprintable)?;
    Ok(writer.into_inner())
}

fn first_rows(batches: Vec<RecordBatch>, rows_max: usize) -> Vec<RecordBatch> {
    let mut left = rows_max;
    batches
        .into_iter()
        .map(|batch| {
            let taken = batch.num_rows().min(left);
            left -= taken;
            batch.slice(0, taken)
        })
        .collect()
}

fn unprintable(error: arrow::error::ArrowError) -> Error {
    Error::from(datafusion::error::DataFusionError::from(error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn batch(ids: &[i64]) -> RecordBatch {
        let names: StringArray = ids.iter().map(|id| (id % 2 == 0).then(|| format!("n,{id}"))).collect();
        let columns: [(&str, ArrayRef); 2] = [
            ("id", Arc::new(Int64Array::from(ids.to_vec()))),
            ("name", Arc::new(names)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
    }

    fn print(format: Format, rows_max: usize, batches: &[RecordBatch]) -> String {
        let mut printer = Printer::new(format, rows_max, batch(&[]).schema());
        let mut text = Vec::new();
        for batch in batches {
            if printer.wants_more() {
                text.extend(printer.batch(batch.clone()).unwrap());
            }
        }
        text.extend(printer.end().unwrap());
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_table_is_bounded_and_says_so() {
        let all = "+----+------+\n| id | name |\n+----+------+\n| 1  | NULL |\n| 2  | n,2  |\n+----+------+\n";
        assert_eq!(
            print(Format::Table, 2, &[batch(&[1]), batch(&[2])]),
            format!("{all}(2 rows)\n")
        );
        let cut = format!("{all}(the first 2 rows; --format csv or json prints all)\n");
        assert_eq!(
            print(Format::Table, 2, &[batch(&[1]), batch(&[2, 3]), batch(&[4])]),
            cut
        );
        let empty = "+----+------+\n| id | name |\n+----+------+\n+----+------+\n(0 rows)\n";
        assert_eq!(print(Format::Table, 2, &[]), empty);
    }

    #[test]
    fn csv_has_its_names_once() {
        assert_eq!(
            print(Format::Csv, 1, &[batch(&[1]), batch(&[2])]),
            "id,name\n1,\n2,\"n,2\"\n"
        );
        assert_eq!(print(Format::Csv, 1, &[]), "id,name\n");
    }

    #[test]
    fn json_is_one_array() {
        let expect = "[{\"id\":1,\"name\":null},{\"id\":2,\"name\":\"n,2\"}]\n";
        assert_eq!(print(Format::Json, 1, &[batch(&[1]), batch(&[2])]), expect);
        assert_eq!(print(Format::Json, 1, &[]), "[]\n");
    }
}

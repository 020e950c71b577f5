//! The TPC-H data: its eight tables, how many rows each has at a scale, and their rows as streams of batches.
//!
//! Knows nothing of catalogs or formats. No table is ever whole in memory: a generator thread fills a channel of a few
//! batches and waits while the reader is busy.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use tokio::sync::mpsc::Sender;
use tpchgen::distribution::Distributions;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen::text::TextPool;

use super::columns;

/// The smallest scale at which every table has rows and every key finds its partner.
pub(crate) const SCALE_MIN: f64 = 0.001;
/// A terabyte of text; more is no demo.
pub(crate) const SCALE_MAX: f64 = 1000.0;

const BATCH_ROWS: usize = 8192;
const BATCHES_AHEAD: usize = 4;
/// Comments are cut out of a text of exactly this size: another size makes other data than the TPC's own generator.
const TEXT_BYTES: i32 = 300 * 1024 * 1024;

/// A table of the TPC-H schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// 5 rows.
    Region,
    /// 25 rows.
    Nation,
    /// 10,000 rows at scale 1.
    Supplier,
    /// 150,000 rows at scale 1.
    Customer,
    /// 200,000 rows at scale 1.
    Part,
    /// 800,000 rows at scale 1.
    PartSupp,
    /// 1,500,000 rows at scale 1.
    Orders,
    /// About 6,000,000 rows at scale 1.
    LineItem,
}

impl Table {
    /// Every table, the small ones first.
    pub(crate) const ALL: [Table; 8] = [
        Table::Region,
        Table::Nation,
        Table::Supplier,
        Table::Customer,
        Table::Part,
        Table::PartSupp,
        Table::Orders,
        Table::LineItem,
    ];

    /// The name of the specification, in lower case.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Region => "region",
            Table::Nation => "nation",
            Table::Supplier => "supplier",
            Table::Customer => "customer",
            Table::Part => "part",
            Table::PartSupp => "partsupp",
            Table::Orders => "orders",
            Table::LineItem => "lineitem",
        }
    }

    /// How many rows the table has at `scale`: exact but for `lineitem`, whose orders have 1 to 7 lines, 4 on average.
    pub(crate) fn rows_expected(self, scale: f64) -> u64 {
        let rows = match self {
            Table::Region => 5,
            Table::Nation => 25,
            Table::Supplier => SupplierGenerator::calculate_row_count(scale, 1, 1),
            Table::Customer => CustomerGenerator::calculate_row_count(scale, 1, 1),
            Table::Part => PartGenerator::calculate_row_count(scale, 1, 1),
            Table::PartSupp => PartSuppGenerator::calculate_row_count(scale, 1, 1) * 4,
            Table::Orders => OrderGenerator::calculate_row_count(scale, 1, 1),
            Table::LineItem => OrderGenerator::calculate_row_count(scale, 1, 1) * 4,
        };
        rows.unsigned_abs()
    }

    /// The table's columns.
    pub(crate) fn schema(self) -> Result<SchemaRef> {
        let empty = match self {
            Table::Region => columns::region(&[]),
            Table::Nation => columns::nation(&[]),
            Table::Supplier => columns::supplier(&[]),
            Table::Customer => columns::customer(&[]),
            Table::Part => columns::part(&[]),
            Table::PartSupp => columns::partsupp(&[]),
            Table::Orders => columns::orders(&[]),
            Table::LineItem => columns::lineitem(&[]),
        };
        Ok(empty?.schema())
    }
}

/// What all tables of one scale are made from. Holds the 300 MiB text that comments are cut from: drop it when done.
#[derive(Debug, Clone)]
pub(crate) struct Generator {
    scale: f64,
    text: Arc<TextPool>,
}

impl Generator {
    /// Prepares the data of `scale`, between [`SCALE_MIN`] and [`SCALE_MAX`]. Takes a second or two of computing.
    pub(crate) fn new(scale: f64) -> Self {
        Self {
            scale,
            text: Arc::new(TextPool::new(TEXT_BYTES, Distributions::static_default())),
        }
    }

    /// The scale this makes the data of.
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// All rows of `table` in the order of the specification. Dropping the stream stops the making.
    pub(crate) fn rows(&self, table: Table) -> Result<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStream::builder(table.schema()?, BATCHES_AHEAD);
        let generator = self.clone();
        let sender = builder.tx();
        builder.spawn_blocking(move || generator.send(table, &sender));
        Ok(builder.build())
    }

    fn send(&self, table: Table, to: &Sender<Result<RecordBatch>>) -> Result<()> {
        let (scale, text, words) = (self.scale, self.text.as_ref(), Distributions::static_default());
        match table {
            Table::Region => {
                let rows = RegionGenerator::new_with_distributions_and_text_pool(words, text);
                send_batches(rows.iter(), columns::region, to)
            }
            Table::Nation => {
                let rows = NationGenerator::new_with_distributions_and_text_pool(words, text);
                send_batches(rows.iter(), columns::nation, to)
            }
            Table::Supplier => {
                let rows = SupplierGenerator::new_with_distributions_and_text_pool(scale, 1, 1, words, text);
                send_batches(rows.iter(), columns::supplier, to)
            }
            Table::Customer => {
                let rows = CustomerGenerator::new_with_distributions_and_text_pool(scale, 1, 1, words, text);
                send_batches(rows.iter(), columns::customer, to)
            }
            Table::Part => {
                let rows = PartGenerator::new_with_distributions_and_text_pool(scale, 1, 1, words, text);
                send_batches(rows.iter(), columns::part, to)
            }
            Table::PartSupp => {
                let rows = PartSuppGenerator::new_with_text_pool(scale, 1, 1, text);
                send_batches(rows.iter(), columns::partsupp, to)
            }
            Table::Orders => {
                let rows = OrderGenerator::new_with_distributions_and_text_pool(scale, 1, 1, words, text);
                send_batches(rows.iter(), columns::orders, to)
            }
            Table::LineItem => {
                let rows = LineItemGenerator::new_with_distributions_and_text_pool(scale, 1, 1, words, text);
                send_batches(rows.iter(), columns::lineitem, to)
            }
        }
    }
}

/// Sends `rows` batch by batch until they end or nobody reads any more.
fn send_batches<R>(
    mut rows: impl Iterator<Item = R>,
    columns: impl Fn(&[R]) -> Result<RecordBatch, ArrowError>,
    to: &Sender<Result<RecordBatch>>,
) -> Result<()> {
    loop {
        let batch: Vec<R> = rows.by_ref().take(BATCH_ROWS).collect();
        if batch.is_empty() {
            return Ok(());
        }
        let batch = columns(&batch).map_err(DataFusionError::from)?;
        if to.blocking_send(Ok(batch)).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::util::display::array_value_to_string;
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn rows_are_those_of_the_specification() {
        let generator = Generator::new(0.001);
        let mut counts = Vec::new();
        for table in Table::ALL {
            let stream = generator.rows(table).unwrap();
            assert_eq!(stream.schema(), table.schema().unwrap());
            let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
            assert!(batches.iter().all(|batch| batch.num_rows() <= BATCH_ROWS));
            counts.push((table.name(), batches.iter().map(RecordBatch::num_rows).sum::<usize>()));
            if table != Table::LineItem {
                assert_eq!(
                    counts.last().unwrap().1 as u64,
                    table.rows_expected(0.001),
                    "{}",
                    table.name()
                );
            }
        }
        let expect = [
            ("region", 5),
            ("nation", 25),
            ("supplier", 10),
            ("customer", 150),
            ("part", 200),
            ("partsupp", 800),
            ("orders", 1500),
            ("lineitem", 6005),
        ];
        assert_eq!(counts, expect);
    }

    #[tokio::test]
    async fn the_first_line_is_the_known_one() {
        let mut stream = Generator::new(0.01).rows(Table::LineItem).unwrap();
        let batch = stream.try_next().await.unwrap().unwrap();
        let row: Vec<String> = batch
            .columns()
            .iter()
            .map(|c| array_value_to_string(c, 0).unwrap())
            .collect();
        // The first row of lineitem.tbl as the TPC's generator writes it at scale 0.01.
        let expect =
            "1|1552|93|1|17.00|24710.35|0.04|0.02|N|O|1996-03-13|1996-02-12|1996-03-22|DELIVER IN PERSON|TRUCK|";
        assert!(row.join("|").starts_with(expect), "{}", row.join("|"));
    }
}

//! Rows of the TPC-H generator as Arrow batches: one function per table, which is also the table's schema.
//!
//! Types are those of the TPC-H specification as every engine's test data has them: keys are 64 bit, quantities and
//! prices `decimal(15, 2)`, no column is nullable. Knows nothing of files, tables or formats.

use std::fmt::Display;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use tpchgen::dates::TPCHDate;
use tpchgen::decimal::TPCHDecimal;
use tpchgen::generators::{Customer, LineItem, Nation, Order, Part, PartSupp, Region, Supplier};

const MONEY: DataType = DataType::Decimal128(15, 2);

/// One batch of `region`.
pub(super) fn region(rows: &[Region<'_>]) -> Result<RecordBatch, ArrowError> {
    Columns::default()
        .int64("r_regionkey", rows.iter().map(|r| r.r_regionkey))
        .text("r_name", rows.iter().map(|r| r.r_name))
        .text("r_comment", rows.iter().map(|r| r.r_comment))
        .batch()
}

/// One batch of `nation`.
pub(super) fn nation(rows: &[Nation<'_>]) -> Result<RecordBatch, ArrowError> {
    Columns::default()
        .int64("n_nationkey", rows.iter().map(|r| r.n_nationkey))
        .text("n_name", rows.iter().map(|r| r.n_name))
        .int64("n_regionkey", rows.iter().map(|r| r.n_regionkey))
        .text("n_comment", rows.iter().map(|r| r.n_comment))
        .batch()
}

/// One batch of `supplier`.
pub(super) fn supplier(rows: &[Supplier]) -> Result<RecordBatch, ArrowError> {
    Columns::default()
        .int64("s_suppkey", rows.iter().map(|r| r.s_suppkey))
        .shown("s_name", rows.iter().map(|r| r.s_name))
        .shown("s_address", rows.iter().map(|r| &r.s_address))
        .int64("s_nationkey", rows.iter().map(|r| r.s_nationkey))
        .shown("s_phone", rows.iter().map(|r| &r.s_phone))
        .money("s_acctbal", rows.iter().map(|r| r.s_acctbal))
        .text("s_comment", rows.iter().map(|r| &r.s_comment))
        .batch()
}

/// One batch of `customer`.
pub(super) fn customer(rows: &[Customer<'_>]) -> Result<RecordBatch, ArrowError> {
    Columns::default()
        .int64("c_custkey", rows.iter().map(|r| r.c_custkey))
        .shown("c_name", rows.iter().map(|r| r.c_name))
        .shown("c_address", rows.iter().map(|r| &r.c_address))
        .int64("c_nationkey", rows.iter().map(|r| r.c_nationkey))
        .shown("c_phone", rows.iter().map(|r| &r.c_phone))
        .money("c_acctbal", rows.iter().map(|r| r.c_acctbal))
        .text("c_mktsegment", rows.iter().map(|r| r.c_mktsegment))
        .text("c_comment", rows.iter().map(|r| r.c_comment))
        .batch()
}

/// One batch of `part`.
pub(super) fn part(rows: &[Part<'_>]) -> Result<RecordBatch, ArrowError> {
    Columns::default()
        .int64("p_partkey", rows.iter().map(|r| r.p_partkey))
        .shown("p_name", rows.iter().map(|r| &r.p_name))
        .shown("p_mfgr", rows.iter().map(|r| r.p_mfgr))
        .shown("p_brand", rows.iter().map(|r| r.p_brand))
        .text("p_type", rows.iter().map(|r| r.p_type))
        .int32("p_size", rows.iter().map(|r| r.p_size))
        .text("p_container", rows.iter().map(|r| r.p_container))
        .money("p_retailprice", rows.iter().map(|r| r.p_retailprice))
        .text("p_comment", rows.iter().map(|r| r.p_comment))
        .batch()
}

/// One batch of `partsupp`.
pub(super) fn partsupp(rows: &[PartSupp<'_>]) -> Result<RecordBatch, ArrowError> {
    Columns::default()
        .int64("ps_partkey", rows.iter().map(|r| r.ps_partkey))
        .int64("ps_suppkey", rows.iter().map(|r| r.ps_suppkey))
        .int32("ps_availqty", rows.iter().map(|r| r.ps_availqty))
        .money("ps_supplycost", rows.iter().map(|r| r.ps_supplycost))
        .text("ps_comment", rows.iter().map(|r| r.ps_comment))
        .batch()
}

/// One batch of `orders`.
pub(super) fn orders(rows: &[Order<'_>]) -> Result<RecordBatch, ArrowError> {
    Columns::default()
        .int64("o_orderkey", rows.iter().map(|r| r.o_orderkey))
        .int64("o_custkey", rows.iter().map(|r| r.o_custkey))
        .shown("o_orderstatus", rows.iter().map(|r| r.o_orderstatus))
        .money("o_totalprice", rows.iter().map(|r| r.o_totalprice))
        .date("o_orderdate", rows.iter().map(|r| r.o_orderdate))
        .text("o_orderpriority", rows.iter().map(|r| r.o_orderpriority))
        .shown("o_clerk", rows.iter().map(|r| r.o_clerk))
        .int32("o_shippriority", rows.iter().map(|r| r.o_shippriority))
        .text("o_comment", rows.iter().map(|r| r.o_comment))
        .batch()
}

/// One batch of `lineitem`.
pub(super) fn lineitem(rows: &[LineItem<'_>]) -> Result<RecordBatch, ArrowError> {
    Columns::default()
        .int64("l_orderkey", rows.iter().map(|r| r.l_orderkey))
        .int64("l_partkey", rows.iter().map(|r| r.l_partkey))
        .int64("l_suppkey", rows.iter().map(|r| r.l_suppkey))
        .int32("l_linenumber", rows.iter().map(|r| r.l_linenumber))
        .money("l_quantity", rows.iter().map(|r| TPCHDecimal::new(r.l_quantity * 100)))
        .money("l_extendedprice", rows.iter().map(|r| r.l_extendedprice))
        .money("l_discount", rows.iter().map(|r| r.l_discount))
        .money("l_tax", rows.iter().map(|r| r.l_tax))
        .text("l_returnflag", rows.iter().map(|r| r.l_returnflag))
        .text("l_linestatus", rows.iter().map(|r| r.l_linestatus))
        .date("l_shipdate", rows.iter().map(|r| r.l_shipdate))
        .date("l_commitdate", rows.iter().map(|r| r.l_commitdate))
        .date("l_receiptdate", rows.iter().map(|r| r.l_receiptdate))
        .text("l_shipinstruct", rows.iter().map(|r| r.l_shipinstruct))
        .text("l_shipmode", rows.iter().map(|r| r.l_shipmode))
        .text("l_comment", rows.iter().map(|r| r.l_comment))
        .batch()
}

/// Columns of equal length, each with its name and type.
#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    fn int64(self, name: &str, values: impl Iterator<Item = i64>) -> Self {
        self.push(name, Arc::new(Int64Array::from_iter_values(values)))
    }

    fn int32(self, name: &str, values: impl Iterator<Item = i32>) -> Self {
        self.push(name, Arc::new(Int32Array::from_iter_values(values)))
    }

    fn money(self, name: &str, values: impl Iterator<Item = TPCHDecimal>) -> Self {
        let cents = values.map(|value| i128::from(value.into_inner()));
        self.push(
            name,
            Arc::new(Decimal128Array::from_iter_values(cents).with_data_type(MONEY)),
        )
    }

    fn date(self, name: &str, values: impl Iterator<Item = TPCHDate>) -> Self {
        self.push(
            name,
            Arc::new(Date32Array::from_iter_values(values.map(|date| date.to_unix_epoch()))),
        )
    }

    fn text(self, name: &str, values: impl Iterator<Item: AsRef<str>>) -> Self {
        self.push(name, Arc::new(StringArray::from_iter_values(values)))
    }

    fn shown(self, name: &str, values: impl Iterator<Item: Display>) -> Self {
        self.text(name, values.map(|value| value.to_string()))
    }

    fn push(mut self, name: &str, array: ArrayRef) -> Self {
        self.fields.push(Field::new(name, array.data_type().clone(), false));
        self.arrays.push(array);
        self
    }

    fn batch(self) -> Result<RecordBatch, ArrowError> {
        RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays)
    }
}

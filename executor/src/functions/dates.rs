//! `dateadd`, `datediff` and `last_day`, as Snowflake, Redshift, Trino and SQL Server have them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Date32Array, Int64Array, IntervalMonthDayNanoArray};
use datafusion::arrow::compute::kernels::numeric::{add, sub};
use datafusion::arrow::compute::{DatePart, cast, date_part};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, Int32Type, Int64Type, IntervalMonthDayNano, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// A timestamp without a time zone, in the unit of both table formats.
const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Every function of this file.
pub(super) fn functions() -> [Arc<dyn ScalarUDFImpl>; 3] {
    let [add, difference] = [&["date_add", "timestampadd"], &["date_diff", "timestampdiff"]]
        .map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let signature = || Signature::user_defined(Volatility::Immutable);
    [
        Arc::new(DateAdd {
            signature: signature(),
            aliases: add,
        }),
        Arc::new(DateDiff {
            signature: signature(),
            aliases: difference,
        }),
        Arc::new(LastDay {
            signature: Signature::exact(vec![DataType::Date32], Volatility::Immutable),
        }),
    ]
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// So many months.
    Months(i64),
    /// So many days; weeks begin on Monday.
    Days(i64),
    /// So many microseconds.
    Microseconds(i64),
}

impl Unit {
    fn parse(name: &str) -> Result<Self> {
        let name = name.to_ascii_lowercase();
        Ok(match name.strip_suffix('s').unwrap_or(&name) {
            "year" | "yy" | "yyyy" => Self::Months(12),
            "quarter" | "qq" => Self::Months(3),
            "month" | "mm" => Self::Months(1),
            "week" | "isoweek" | "wk" => Self::Days(7),
            "day" | "dd" => Self::Days(1),
            "hour" | "hh" => Self::Microseconds(3_600_000_000),
            "minute" | "mi" => Self::Microseconds(60_000_000),
            "second" => Self::Microseconds(1_000_000),
            "millisecond" => Self::Microseconds(1000),
            "microsecond" => Self::Microseconds(1),
            _ => {
                return plan_err!(
                    "\"{name}\" is no unit of time: write year, quarter, month, week, day, hour, minute, second, \
                     millisecond or microsecond"
                );
            }
        })
    }

    /// The unit that stands as a constant before the other arguments.
    fn of(argument: Option<&ScalarValue>, function: &str) -> Result<Self> {
        match argument.and_then(|value| value.try_as_str().flatten()) {
            Some(name) => Self::parse(name),
            None => plan_err!("{function} takes its unit as a word or a text: {function}(day, ...)"),
        }
    }

    /// `count` of them.
    fn interval(self, count: i64) -> Result<IntervalMonthDayNano> {
        let (months, days, nanoseconds) = match self {
            Self::Months(each) => (count.checked_mul(each), Some(0), Some(0)),
            Self::Days(each) => (Some(0), count.checked_mul(each), Some(0)),
            Self::Microseconds(each) => (
                Some(0),
                Some(0),
                count.checked_mul(each).and_then(|all| all.checked_mul(1000)),
            ),
        };
        let small = |number: Option<i64>| number.and_then(|number| i32::try_from(number).ok());
        match (small(months), small(days), nanoseconds) {
            (Some(months), Some(days), Some(nanoseconds)) => Ok(IntervalMonthDayNano::new(months, days, nanoseconds)),
            _ => exec_err!("{count} is too far away in time"),
        }
    }

    /// The number of the unit that each timestamp of the type [`TIMESTAMP`] lies in, counted from some point in time.
    fn ordinals(self, times: &ArrayRef) -> Result<Int64Array> {
        Ok(match self {
            Self::Months(each) => {
                let (years, months) = (date_part(times, DatePart::Year)?, date_part(times, DatePart::Month)?);
                let (years, months) = (years.as_primitive::<Int32Type>(), months.as_primitive::<Int32Type>());
                let pairs = years.iter().zip(months.iter());
                let ordinal = |(year, month): (Option<i32>, Option<i32>)| {
                    Some((i64::from(year?) * 12 + i64::from(month?) - 1).div_euclid(each))
                };
                pairs.map(ordinal).collect()
            }
            Self::Days(each) => {
                // The epoch was a Thursday.
                let shift = if each == 7 { 3 } else { 0 };
                let times = times.as_primitive::<TimestampMicrosecondType>();
                times.unary::<_, Int64Type>(|time| (time.div_euclid(86_400_000_000) + shift).div_euclid(each))
            }
            Self::Microseconds(each) => {
                let times = times.as_primitive::<TimestampMicrosecondType>();
                times.unary::<_, Int64Type>(|time| time.div_euclid(each))
            }
        })
    }
}

/// `dateadd(unit, count, time)`: a date stays one as long as whole days are added; a text is a timestamp.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DateAdd {
    signature: Signature,
    aliases: Vec<String>,
}

impl ScalarUDFImpl for DateAdd {
    fn name(&self) -> &str {
        "dateadd"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [_, count, time] if count.is_numeric() || count.is_null() || count.is_string() => {
                Ok(vec![DataType::Utf8, DataType::Int64, point_in_time(self.name(), time)?])
            }
            _ => plan_err!("dateadd takes a unit, a number and a time: dateadd(day, 1, at)"),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        plan_err!("the type of dateadd depends on its unit")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let unit = Unit::of(arguments.scalar_arguments.first().copied().flatten(), self.name())?;
        let data_type = match (arguments.arg_fields.get(2).map(|field| field.data_type()), unit) {
            (Some(DataType::Date32), Unit::Microseconds(_)) | (None, _) => TIMESTAMP,
            (Some(time), _) => time.clone(),
        };
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let [unit, count, time] = &arguments.args[..] else {
            return exec_err!("dateadd takes three arguments");
        };
        let unit = constant_unit(unit, self.name())?;
        let count = count.to_array(rows)?;
        let intervals = count.as_primitive::<Int64Type>().iter();
        let intervals = intervals.map(|count| count.map(|count| unit.interval(count)).transpose());
        let intervals = intervals.collect::<Result<IntervalMonthDayNanoArray>>()?;
        let time = cast(&time.to_array(rows)?, arguments.return_type())?;
        give(add(&time, &intervals)?, &arguments)
    }
}

/// `datediff(unit, from, to)`: how many boundaries of the unit lie between two points in time.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DateDiff {
    signature: Signature,
    aliases: Vec<String>,
}

impl ScalarUDFImpl for DateDiff {
    fn name(&self) -> &str {
        "datediff"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [_, from, to] = arguments else {
            return plan_err!("datediff takes a unit and two points in time: datediff(day, began_at, ended_at)");
        };
        point_in_time(self.name(), from)?;
        point_in_time(self.name(), to)?;
        Ok(vec![DataType::Utf8, TIMESTAMP, TIMESTAMP])
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [unit, from, to] = &arguments.args[..] else {
            return exec_err!("datediff takes three arguments");
        };
        let unit = constant_unit(unit, self.name())?;
        let ordinals = |time: &ColumnarValue| unit.ordinals(&time.to_array(arguments.number_rows)?);
        give(sub(&ordinals(to)?, &ordinals(from)?)?, &arguments)
    }
}

/// `last_day(date)`: the last day of its month.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LastDay {
    signature: Signature,
}

impl ScalarUDFImpl for LastDay {
    fn name(&self) -> &str {
        "last_day"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [date] = &arguments.args[..] else {
            return exec_err!("last_day takes one argument");
        };
        let dates = date.to_array(arguments.number_rows)?;
        let days = date_part(&dates, DatePart::Day)?;
        let pairs = dates
            .as_primitive::<Date32Type>()
            .iter()
            .zip(days.as_primitive::<Int32Type>());
        // Adding a month to the 31st would end in the month after the next where that is shorter.
        let first = pairs.map(|(date, day)| Some(date? - (day? - 1)));
        let first: Date32Array = first.collect();
        let step = IntervalMonthDayNano::new(1, -1, 0);
        let steps = IntervalMonthDayNanoArray::from(vec![step; first.len()]);
        give(add(&first, &steps)?, &arguments)
    }
}

/// The type that a function computes with for an argument of the type `time`.
pub(super) fn point_in_time(function: &str, time: &DataType) -> Result<DataType> {
    match time {
        DataType::Date32 | DataType::Timestamp(..) => Ok(time.clone()),
        DataType::Date64 | DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(TIMESTAMP),
        other => plan_err!("{function} takes a date or timestamp, not {other}"),
    }
}

fn constant_unit(argument: &ColumnarValue, function: &str) -> Result<Unit> {
    match argument {
        ColumnarValue::Scalar(value) => Unit::of(Some(value), function),
        ColumnarValue::Array(_) => Unit::of(None, function),
    }
}

/// The values as a function returns them: one value where all arguments are.
fn give(values: ArrayRef, arguments: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let is_scalar = |argument: &ColumnarValue| matches!(argument, ColumnarValue::Scalar(_));
    match arguments.args.iter().all(is_scalar) {
        true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)),
        false => Ok(ColumnarValue::Array(values)),
    }
}

//! SQL's names for types that DataFusion does not know: those of the standard and of the tools' dialects, which appear in
//! casts that tools write. Knows names only; `types` is the way back.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::{DataType as Named, TimezoneInfo};

/// Reads the further names; every other name is the engine's.
#[derive(Debug)]
pub(super) struct TypeNames {
    /// The zone of TIMESTAMP WITH TIME ZONE: the session's.
    time_zone: Option<Arc<str>>,
}

impl TypeNames {
    /// In a session with that configuration.
    pub(super) fn of(config: &SessionConfig) -> Self {
        Self {
            time_zone: config.options().execution.time_zone.as_deref().map(Arc::from),
        }
    }
}

impl TypePlanner for TypeNames {
    fn plan_type_field(&self, named: &Named) -> Result<Option<FieldRef>> {
        let data_type = match named {
            Named::Varbinary(_) | Named::Binary(_) | Named::Blob(_) | Named::Bytes(_) => DataType::Binary,
            Named::Character(_)
            | Named::CharacterVarying(_)
            | Named::CharVarying(_)
            | Named::CharacterLargeObject(_)
            | Named::CharLargeObject(_)
            | Named::Clob(_)
            | Named::Nvarchar(_) => DataType::Utf8View,
            Named::Datetime(precision) => DataType::Timestamp(unit(*precision), None),
            Named::Timestamp(precision, zone) => {
                let zone = self.time_zone.clone().filter(|_| !without_zone(*zone));
                DataType::Timestamp(unit(*precision), zone)
            }
            Named::Time(Some(precision), zone) if without_zone(*zone) => match unit(Some(*precision)) {
                fine @ (TimeUnit::Microsecond | TimeUnit::Nanosecond) => DataType::Time64(fine),
                coarse => DataType::Time32(coarse),
            },
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}

/// The coarsest unit that holds so many digits of a second; microseconds, as in tables, where none are told.
fn unit(digits: Option<u64>) -> TimeUnit {
    match digits {
        Some(0) => TimeUnit::Second,
        Some(1..=3) => TimeUnit::Millisecond,
        None | Some(4..=6) => TimeUnit::Microsecond,
        Some(_) => TimeUnit::Nanosecond,
    }
}

fn without_zone(zone: TimezoneInfo) -> bool {
    matches!(zone, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)
}

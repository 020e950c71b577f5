//! Schemas, partition specs and sort orders that a table has had before, and takes again.

use std::collections::HashSet;

use iceberg::TableUpdate;
use iceberg::spec::{Schema, TableMetadata};

/// "The one that was added last", in the place of an id.
const LAST_ADDED: i32 = -1;

/// The `updates` from `base` to `after`, which name by its id what `base` has already. The crate adds such a thing again and then speaks of
/// the one that was added last; a catalog that knows it by then adds nothing, and refuses.
pub(crate) fn named_by_id(base: &TableMetadata, after: &TableMetadata, updates: Vec<TableUpdate>) -> Vec<TableUpdate> {
    let (mut schema, mut spec, mut order) = (None, None, None);
    let mut named = Vec::with_capacity(updates.len());
    for update in updates {
        named.push(match update {
            TableUpdate::AddSchema { schema: added } => {
                // One that there is does not have its id here.
                let mut known = base.schemas_iter();
                let known = known.find(|known| {
                    let keys = |schema: &Schema| schema.identifier_field_ids().collect::<HashSet<_>>();
                    known.as_struct() == added.as_struct() && keys(known) == keys(&added)
                });
                schema = known.map(|known| known.schema_id());
                if schema.is_some() {
                    continue;
                }
                TableUpdate::AddSchema { schema: added }
            }
            TableUpdate::AddSpec { spec: added } => {
                spec = added.spec_id().filter(|id| base.partition_spec_by_id(*id).is_some());
                if spec.is_some() {
                    continue;
                }
                // In the table, all of its fields have ids; other catalogs take all or none.
                let whole = added.spec_id().and_then(|id| after.partition_spec_by_id(id));
                let whole = whole.map(|spec| spec.as_ref().clone().into_unbound());
                TableUpdate::AddSpec {
                    spec: whole.unwrap_or(added),
                }
            }
            TableUpdate::AddSortOrder { sort_order } => {
                let known = base.sort_order_by_id(sort_order.order_id).is_some();
                order = known.then_some(sort_order.order_id);
                if known {
                    continue;
                }
                TableUpdate::AddSortOrder { sort_order }
            }
            TableUpdate::SetCurrentSchema { schema_id: LAST_ADDED } => TableUpdate::SetCurrentSchema {
                schema_id: schema.unwrap_or(LAST_ADDED),
            },
            TableUpdate::SetDefaultSpec { spec_id: LAST_ADDED } => TableUpdate::SetDefaultSpec {
                spec_id: spec.unwrap_or(LAST_ADDED),
            },
            TableUpdate::SetDefaultSortOrder { sort_order_id } if sort_order_id == i64::from(LAST_ADDED) => {
                TableUpdate::SetDefaultSortOrder {
                    sort_order_id: order.unwrap_or(sort_order_id),
                }
            }
            other => other,
        });
    }
    named
}

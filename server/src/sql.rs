//! From SQL text to a plan whose tables are pinned, or to a command on the session. The only room that sees SQL text;
//! it runs nothing.

pub(crate) mod command;
pub(crate) mod ddl;
mod define;
mod execute;
pub(crate) mod information_schema;
pub(crate) mod listing;
pub(crate) mod parse;
pub(crate) mod pinned;
pub(crate) mod plan;
mod queries;
pub(crate) mod show;
mod time_travel;
mod type_names;
pub(crate) mod types;
pub(crate) mod write;

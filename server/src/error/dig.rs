//! Finds the error that a reader can act on below the wrappings of the engine, of which some hold errors of ours.

use std::error::Error as StdError;

use executor::cause::Cause;

use super::Error;

/// The innermost cause that we know.
pub(super) fn cause(error: &(dyn StdError + 'static)) -> Cause {
    Cause::of(error, own)
}

fn own(error: &(dyn StdError + 'static)) -> Option<Cause> {
    let error = error.downcast_ref::<Error>()?;
    Some(Cause {
        kind: error.kind(),
        state: error.sqlstate(),
        message: error.to_string(),
        hint: error.hint(),
    })
}

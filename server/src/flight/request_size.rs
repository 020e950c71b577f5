//! How large a call may be. All calls but uploads are read as a whole before it is known who calls.

use http_body_util::{BodyExt, Limited};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tower::util::MapRequestLayer;

/// A call that is no upload: parameters and handles travel in it.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The call whose messages are read one by one, when its caller is known.
const UPLOAD: &str = "/arrow.flight.protocol.FlightService/DoPut";

/// Bounds what is read of a call.
pub(crate) type Limit = MapRequestLayer<fn(Request<Body>) -> Request<Body>>;

/// Fails calls that are larger than a client has reason to send.
pub(crate) fn limit_requests() -> Limit {
    MapRequestLayer::new(limited)
}

fn limited(request: Request<Body>) -> Request<Body> {
    if request.uri().path() == UPLOAD {
        return request;
    }
    request.map(|body| {
        let limited = Limited::new(body, REQUEST_BYTES_MAX).map_err(|error| match error.downcast::<Status>() {
            Ok(status) => *status,
            Err(_) => Status::resource_exhausted(format!(
                "a call has at most {} MiB: send large parameters with DoPut",
                REQUEST_BYTES_MAX / 1024 / 1024
            )),
        });
        Body::new(limited)
    })
}

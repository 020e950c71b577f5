//! Handshake: credentials in the request's headers, a bearer token in the answer's.

use arrow_flight::{HandshakeRequest, HandshakeResponse};
use futures::stream;
use tonic::{Request, Response, Status, Streaming};

use super::Answers;
use crate::auth::Authenticator;
use crate::error::Error;

/// Logs a caller in. Drivers read the token from the header `authorization`; the message itself says nothing.
pub(super) async fn handshake(
    auth: &Authenticator,
    request: &Request<Streaming<HandshakeRequest>>,
) -> Result<Response<Answers<HandshakeResponse>>, Status> {
    let token = auth.log_in(request).await?;
    let bearer = format!("Bearer {token}").parse();
    let bearer = bearer.map_err(|_| Error::unauthenticated("the token does not fit into a header"))?;
    let mut response: Response<Answers<_>> = Response::new(Box::pin(stream::iter([Ok(HandshakeResponse::default())])));
    response.metadata_mut().insert("authorization", bearer);
    Ok(response)
}

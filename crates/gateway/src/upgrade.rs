//! From a request to a WebSocket whose connection can be written to beside it, which axum's own hides.

use std::future::Future;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Request, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::wire::Wire;

pub type Io = Wire<TokioIo<Upgraded>>;
pub type Socket = WebSocketStream<Io>;

/// A request that wants to become a WebSocket (RFC 6455 section 4.2).
pub struct Upgrading {
    connection: OnUpgrade,
    response: Response<()>,
}

impl<S: Sync> FromRequestParts<S> for Upgrading {
    /// Of a request that wants something else.
    type Rejection = ();

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ()> {
        let mut request = Request::new(());
        (*request.method_mut(), *request.version_mut()) = (parts.method.clone(), parts.version);
        request.headers_mut().clone_from(&parts.headers);
        let response = create_response(&request).map_err(drop)?;
        let connection = parts.extensions.remove().ok_or(())?;
        Ok(Self { connection, response })
    }
}

impl Upgrading {
    /// Answers, and gives the WebSocket away once the answer has gone.
    pub fn into_response<F>(
        self,
        config: WebSocketConfig,
        talk: impl FnOnce(Socket) -> F + Send + 'static,
    ) -> Response<Body>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(async move {
            // Or the client has gone meanwhile.
            if let Ok(connection) = self.connection.await {
                let io = Wire::new(TokioIo::new(connection));
                talk(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await).await;
            }
        });
        self.response.map(|()| Body::empty())
    }
}

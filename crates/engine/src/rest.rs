//! The one thing a voice client asks over HTTP: where the gateway is.

use serde::Deserialize;

use crate::Trust;
use crate::limits::CONNECT_TIMEOUT;

#[derive(Debug, thiserror::Error)]
pub enum RestError {
    #[error("the server address {0:?} is no URL like https://host or http://host:port")]
    Address(String),
    #[error("the server at {server} cannot be reached: {source}")]
    Unreachable { server: String, source: reqwest::Error },
    #[error("the server at {server} does not speak this protocol (HTTP {status})")]
    Stranger { server: String, status: u16 },
}

#[derive(Deserialize)]
struct GatewayBody {
    url: String,
}

/// Asks `server` (scheme, host and port) for the gateway's URL.
pub async fn gateway_url(server: &str, trust: &Trust) -> Result<String, RestError> {
    let base = server.trim_end_matches('/');
    let url = reqwest::Url::parse(&format!("{base}/api/v10/gateway"))
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| RestError::Address(server.to_owned()))?;
    let unreachable = |source| RestError::Unreachable { server: base.to_owned(), source };
    // WebSocket and media connect directly, so a proxy for this one request would only hide that they cannot.
    let builder = reqwest::Client::builder().timeout(CONNECT_TIMEOUT).no_proxy();
    let client = trust.apply(builder).build().map_err(unreachable)?;
    let reply = client.get(url).send().await.map_err(unreachable)?;
    let status = reply.status().as_u16();
    let stranger = || RestError::Stranger { server: base.to_owned(), status };
    if !reply.status().is_success() {
        return Err(stranger());
    }
    reply.json::<GatewayBody>().await.map(|body| body.url).map_err(|_| stranger())
}

//! What a role without an HTTP port for clients says of itself at `metrics`: its metrics, and whether it does its work. And what it
//! tells systemd.

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::Value;
use tokio::net::TcpListener;

/// Because histograms keep every sample until then, and nobody may ever ask for them.
const METRICS_KEPT_UP_EVERY: Duration = Duration::from_secs(5);

/// For the whole process.
pub fn record_metrics() -> anyhow::Result<PrometheusHandle> {
    let metrics = PrometheusBuilder::new().install_recorder().context("metrics")?;
    let kept_up = metrics.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(METRICS_KEPT_UP_EVERY).await;
            kept_up.run_upkeep();
        }
    });
    Ok(metrics)
}

/// Whether a role does its work, and what else there is to say, as JSON.
pub type Health = (bool, Value);

/// Returns where, which the port 0 leaves open.
pub async fn serve(
    address: SocketAddr,
    metrics: PrometheusHandle,
    health: impl Fn() -> Health + Clone + Send + Sync + 'static,
) -> anyhow::Result<SocketAddr> {
    let metrics = get(async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()));
    let health = get(async move || {
        let (does_its_work, says) = health();
        let status = if does_its_work { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, [(CONTENT_TYPE, "application/json")], says.to_string()).into_response()
    });
    let router = Router::new().route("/metrics", metrics).route("/healthz", health);
    let listener = TcpListener::bind(address).await.with_context(|| format!("metrics at {address}"))?;
    let bound = listener.local_addr().context("metrics")?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(bound)
}

/// To the service manager that started this process, if one did and wants to know (`Type=notify`, `sd_notify(3)`).
pub fn tell_systemd(what: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = match socket.as_bytes() {
        [b'@', name @ ..] => UnixAddr::from_abstract_name(name),
        path => UnixAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
    };
    let told = told.and_then(|address| tell(&address, what));
    if let Err(error) = told {
        tracing::warn!(%error, "systemd could not be told: {what}");
    }
}

fn tell(address: &UnixAddr, what: &str) -> io::Result<()> {
    UnixDatagram::unbound()?.send_to_addr(what.as_bytes(), address).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(at: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_is_told_beside_metrics() {
        let works = Arc::new(AtomicBool::new(true));
        let health = {
            let works = Arc::clone(&works);
            move || (works.load(Ordering::Relaxed), json!({ "status": "so" }))
        };
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::counter!("guildhall_tests").increment(1));
        let at = serve(([127, 0, 0, 1], 0).into(), recorder.handle(), health).await.unwrap();
        let told = get(at, "/healthz").await;
        assert!(told.starts_with("HTTP/1.1 200") && told.ends_with(r#"{"status":"so"}"#), "{told}");
        works.store(false, Ordering::Relaxed);
        assert!(get(at, "/healthz").await.starts_with("HTTP/1.1 503"));
        let metrics = get(at, "/metrics").await;
        assert!(metrics.contains("guildhall_tests 1") && metrics.contains("text/plain"), "{metrics}");
        assert!(get(at, "/").await.starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn systemd_is_told_at_either_kind_of_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("guildhall-test-{}", std::process::id());
        let addresses =
            [UnixAddr::from_pathname(&path).unwrap(), UnixAddr::from_abstract_name(&name).unwrap()];
        for address in addresses {
            let systemd = UnixDatagram::bind_addr(&address).unwrap();
            tell(&address, "READY=1").unwrap();
            let mut told = [0; 32];
            let len = systemd.recv(&mut told).unwrap();
            assert_eq!(&told[..len], b"READY=1");
        }
    }
}

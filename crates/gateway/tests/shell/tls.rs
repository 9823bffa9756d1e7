//! The gateway's own port over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway::GatewayConfig;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{Connector, connect_async_tls_with_config};

use super::server::{Client, Server};

/// A certificate of an authority of its own.
pub struct Certified {
    /// With `ca.pem`.
    pub folder: TempDir,
    pub config: Arc<ServerConfig>,
}

impl Certified {
    pub fn new(host: &str) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let folder = tempfile::tempdir().unwrap();
        let pem = authority.self_signed(&authority_key).unwrap().pem();
        std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        Self { folder, config: Arc::new(config) }
    }

    /// What a client needs that trusts the authority.
    fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.folder.path().join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }
}

async fn get(addr: SocketAddr, client: Arc<ClientConfig>, path: &str) -> String {
    let tcp = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(client).connect(name, tcp).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn rest_and_websockets_go_over_tls_and_say_so() {
    let certified = Certified::new("127.0.0.1");
    let config = GatewayConfig { tls: Some(certified.config.clone()), ..GatewayConfig::default() };
    let server = Server::with(config).await;
    // Whoever connects and says nothing keeps nobody waiting.
    let _silent = TcpStream::connect(server.addr).await.unwrap();
    let answer = get(server.addr, certified.client(), "/api/v10/gateway").await;
    assert!(answer.contains(&format!(r#"{{"url":"wss://{}"}}"#, server.addr)), "{answer}");

    let url = format!("wss://{}/?v=10&encoding=json", server.addr);
    let connector = Connector::Rustls(certified.client());
    let (socket, _) = connect_async_tls_with_config(url, None, true, Some(connector)).await.unwrap();
    let mut client = Client { socket };
    client.hello().await;
    client.send(r#"{"op":2,"d":{"token":"Bot alice","intents":1}}"#).await;
    let (_, ready) = client.dispatch("READY").await;
    assert!(ready.get().contains(&format!("wss://{}", server.addr)), "{ready}");

    let plain = tokio_tungstenite::connect_async(format!("ws://{}/", server.addr)).await;
    assert!(plain.is_err(), "nothing is spoken in the clear");
    server.handle.shutdown().await;
}

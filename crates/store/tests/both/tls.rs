//! A PostgreSQL server elsewhere: it takes encrypted connections only, and its URL says how it proves who it is.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use store::{Store, StoreError};
use tempfile::TempDir;

use crate::postgres::{Server, write_for_server};

/// Nobody is let in but over TLS.
const HBA: &str = "hostssl all all all trust\n";
/// What the server's certificate says it is.
const NAME: &str = "localhost";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn write_authority(dir: &TempDir, name: &str, authority: &Authority) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, authority.pem()).unwrap();
    path
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Settings of a server that proves itself with a certificate of this authority's.
fn with_tls(data: &Path, authority: &Authority, port: u16) -> Vec<String> {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    write_for_server(&data.join("server.crt"), &certificate.pem());
    write_for_server(&data.join("server.key"), &key.serialize_pem());
    write_for_server(&data.join("pg_hba.conf"), HBA);
    vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "ssl=on".to_owned(),
        "ssl_cert_file=server.crt".to_owned(),
        "ssl_key_file=server.key".to_owned(),
    ]
}

#[tokio::test]
async fn a_connection_is_encrypted_and_the_server_proven_as_the_url_asks() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, another) = (authority(), authority());
    let right = write_authority(&dir, "right.pem", &authority);
    let wrong = write_authority(&dir, "wrong.pem", &another);
    let port = free_port();
    let _server = Server::start_with(|data| with_tls(data, &authority, port));
    let open = async |host: &str, options: &str| {
        let store = Store::open(&format!("postgres://postgres@{host}:{port}/postgres?{options}")).await?;
        store.meta_put_if_absent("key", "value").await?;
        store.close().await;
        Ok::<_, StoreError>(())
    };
    let of = |authority: &Path| format!("sslrootcert={}", authority.display());
    for options in [
        String::new(),
        "sslmode=require".to_owned(),
        format!("sslmode=verify-ca&{}", of(&right)),
        format!("sslmode=verify-full&{}", of(&right)),
    ] {
        open(NAME, &options).await.unwrap_or_else(|error| panic!("{options}: {error}"));
    }
    open("127.0.0.1", &format!("sslmode=verify-ca&{}", of(&right))).await.unwrap();
    for (host, options) in [
        (NAME, "sslmode=disable".to_owned()),
        (NAME, format!("sslmode=verify-full&{}", of(&wrong))),
        (NAME, format!("sslmode=verify-ca&{}", of(&wrong))),
        // Signed by nobody whom the world knows.
        (NAME, "sslmode=verify-full".to_owned()),
        // Another name than the certificate's.
        ("127.0.0.1", format!("sslmode=verify-full&{}", of(&right))),
    ] {
        assert!(open(host, &options).await.is_err(), "{host} {options}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_the_url_asks_for_it() {
    let port = free_port();
    let _server =
        Server::start_with(|_| vec!["listen_addresses=127.0.0.1".to_owned(), format!("port={port}")]);
    let url = |mode| format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode={mode}");
    Store::open(&url("prefer")).await.unwrap().close().await;
    let refused = Store::open(&url("require")).await.unwrap_err().to_string();
    assert!(refused.contains("TLS"), "{refused}");
}

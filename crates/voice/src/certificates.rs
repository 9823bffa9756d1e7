//! TLS for the voice gateway: given files, or a small certificate authority of our own and a leaf it signs.
//!
//! Libraries insist on TLS here, and some refuse a certificate authority's own certificate as a server's. So `ca.pem` is what clients
//! are made to trust, and each voice server has a leaf: made at the first start, and again when it is about to expire, when the
//! authority has changed or when it lacks a name by which this server is announced.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::VoiceError;

const DAY: Duration = Duration::from_secs(86_400);
/// Clocks differ: what is made now is valid since yesterday.
const BACKDATED: Duration = DAY;
const CA_LIFETIME: Duration = Duration::from_secs(3_650 * 86_400);
/// The longest that every platform accepts of a leaf.
const LEAF_LIFETIME: Duration = Duration::from_secs(397 * 86_400);
/// A leaf nearer to its end than this is made anew.
const LEAF_REMAINING_MIN: Duration = Duration::from_secs(30 * 86_400);
/// An authority must outlive the leaves it signs.
const CA_REMAINING_MIN: Duration = Duration::from_secs(400 * 86_400);

/// PEM files of a chain and its key.
#[derive(Debug, Clone)]
pub struct Files {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// The files for the server `name`, reached by `host`; made in `data` as far as they are missing or stale.
pub fn ensure(data: &Path, name: &str, host: &str, now: SystemTime) -> Result<Files, VoiceError> {
    fs::create_dir_all(data).map_err(|e| file_error(data, &e))?;
    let authority = Authority::ensure(data, now)?;
    let mut names = vec![host.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()];
    names.sort();
    names.dedup();
    let files = Files { chain: data.join(format!("{name}.pem")), key: data.join(format!("{name}-key.pem")) };
    let note = data.join(format!("{name}.certificate"));
    let wanted = format!("{}\n{}\n", authority.fingerprint(), names.join("\n"));
    let is_current =
        Note::read(&note).is_some_and(|note| note.about == wanted && note.outlasts(now, LEAF_REMAINING_MIN));
    if !is_current || !files.chain.exists() || !files.key.exists() {
        let (chain, key) = authority.sign_leaf(name, names, now)?;
        write_private(&files.key, &key)?;
        write(&files.chain, &chain)?;
        Note { expires_at: seconds(now + LEAF_LIFETIME), about: wanted }.write(&note)?;
        tracing::info!(certificate = %files.chain.display(), "a certificate was made");
    }
    Ok(files)
}

/// A TLS configuration from PEM files.
pub fn server_config(files: &Files) -> Result<Arc<ServerConfig>, VoiceError> {
    let wrong = |path: &Path, error: String| VoiceError::Certificate { path: path.to_owned(), error };
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| wrong(&files.chain, e.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| wrong(&files.key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| wrong(&files.chain, e.to_string()))?;
    // Voice connections live for hours: tickets for the next one are bytes that nobody uses.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn ensure(data: &Path, now: SystemTime) -> Result<Self, VoiceError> {
        let (pem_file, key_file, note) =
            (data.join("ca.pem"), data.join("ca-key.pem"), data.join("ca.certificate"));
        let lasting = Note::read(&note).is_some_and(|note| note.outlasts(now, CA_REMAINING_MIN));
        if lasting && pem_file.exists() && key_file.exists() {
            let key = read_key(&key_file)?;
            let pem = fs::read_to_string(&pem_file).map_err(|e| file_error(&pem_file, &e))?;
            return Ok(Self { pem, issuer: Issuer::new(Self::params(now), key) });
        }
        // A key that is there already was given, perhaps to many machines, or has signed what clients hold.
        let key = if key_file.exists() {
            read_key(&key_file)?
        } else {
            let key = KeyPair::generate().map_err(made)?;
            write_private(&key_file, &key.serialize_pem())?;
            key
        };
        let params = Self::params(now);
        let pem = params.self_signed(&key).map_err(made)?.pem();
        write(&pem_file, &pem)?;
        Note { expires_at: seconds(now + CA_LIFETIME), about: String::new() }.write(&note)?;
        tracing::info!(ca = %pem_file.display(), "a certificate authority was made");
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// The same name at every start, because leaves refer to it.
    fn params(now: SystemTime) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Guildhall local authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now, CA_LIFETIME);
        params
    }

    fn fingerprint(&self) -> String {
        hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.pem.as_bytes()))
    }

    fn sign_leaf(
        &self,
        name: &str,
        names: Vec<String>,
        now: SystemTime,
    ) -> Result<(String, String), VoiceError> {
        let key = KeyPair::generate().map_err(made)?;
        let mut params = CertificateParams::new(names).map_err(made)?;
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, LEAF_LIFETIME);
        let leaf = params.signed_by(&key, &self.issuer).map_err(made)?;
        Ok((leaf.pem(), key.serialize_pem()))
    }
}

fn read_key(file: &Path) -> Result<KeyPair, VoiceError> {
    let key = fs::read_to_string(file).map_err(|e| file_error(file, &e))?;
    KeyPair::from_pem(&key)
        .map_err(|e| VoiceError::Certificate { path: file.to_owned(), error: e.to_string() })
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_validity(params: &mut CertificateParams, now: SystemTime, lifetime: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(seconds(now - BACKDATED));
    params.not_after = epoch + Duration::from_secs(seconds(now + lifetime));
}

/// What a certificate was made for and until when it is valid, kept beside it so that nothing here has to read certificates.
struct Note {
    expires_at: u64,
    about: String,
}

impl Note {
    fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (first, about) = text.split_once('\n')?;
        Some(Self { expires_at: first.parse().ok()?, about: about.to_owned() })
    }

    fn write(&self, path: &Path) -> Result<(), VoiceError> {
        write(path, &format!("{}\n{}", self.expires_at, self.about))
    }

    fn outlasts(&self, now: SystemTime, by: Duration) -> bool {
        self.expires_at > seconds(now + by)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn made(error: rcgen::Error) -> VoiceError {
    VoiceError::Certificate { path: PathBuf::new(), error: error.to_string() }
}

fn file_error(path: &Path, error: &std::io::Error) -> VoiceError {
    VoiceError::Certificate { path: path.to_owned(), error: error.to_string() }
}

fn write(path: &Path, text: &str) -> Result<(), VoiceError> {
    write_with_mode(path, text, 0o644)
}

fn write_private(path: &Path, text: &str) -> Result<(), VoiceError> {
    write_with_mode(path, text, 0o600)
}

/// Whole or not at all: a half-written key would stop every later start.
fn write_with_mode(path: &Path, text: &str, mode: u32) -> Result<(), VoiceError> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let write = || {
        let _ = fs::remove_file(&part);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|e| file_error(path, &e))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn certificates_are_kept_and_made_anew_only_for_a_reason() {
        let data = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let make = |host: &str, now| {
            let files = ensure(data.path(), "voice-1", host, now).unwrap();
            server_config(&files).unwrap();
            (read(&data.path().join("ca.pem")), read(&files.chain))
        };
        let first = make("127.0.0.1", now);
        assert_eq!(make("127.0.0.1", now), first);
        let named = make("voice.example.org", now);
        assert_eq!(named.0, first.0, "the authority stays");
        assert_ne!(named.1, first.1, "another name is another leaf");
        assert_eq!(make("voice.example.org", now + LEAF_LIFETIME - LEAF_REMAINING_MIN - DAY), named);
        let renewed = make("voice.example.org", now + LEAF_LIFETIME - LEAF_REMAINING_MIN + DAY);
        assert_eq!(renewed.0, named.0);
        assert_ne!(renewed.1, named.1, "about to expire");
        let late = make("voice.example.org", now + CA_LIFETIME - CA_REMAINING_MIN + DAY);
        assert_ne!(late.0, first.0, "an authority outlives what it signs");
        assert_ne!(late.1, renewed.1);
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        let data = tempfile::tempdir().unwrap();
        let files = ensure(data.path(), "voice-1", "localhost", SystemTime::now()).unwrap();
        for key in [files.key, data.path().join("ca-key.pem")] {
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "{}", key.display());
        }
    }

    #[test]
    fn a_broken_file_is_named() {
        let data = tempfile::tempdir().unwrap();
        let files = ensure(data.path(), "voice-1", "localhost", SystemTime::now()).unwrap();
        fs::write(&files.chain, "nothing").unwrap();
        let error = server_config(&files).unwrap_err().to_string();
        assert!(error.contains("voice-1.pem"), "{error}");
    }
}

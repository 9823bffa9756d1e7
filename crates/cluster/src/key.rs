//! The cluster's key: one secret of which everything else comes that nodes must agree on.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::hkdf;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

const SECRET_BYTES: usize = 32;

/// Whoever has it is a node.
#[derive(Clone)]
pub struct ClusterKey([u8; SECRET_BYTES]);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the cluster's key {path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, io::Error),
    #[error("the cluster's key {path} is not 64 hexadecimal digits", path = .0.display())]
    Form(PathBuf),
    #[error("the cluster's key {path} can be read by others than its owner: chmod 600 it", path = .0.display())]
    Exposed(PathBuf),
}

impl ClusterKey {
    pub fn generate() -> Self {
        let mut secret = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut secret).expect("the system has randomness, or nothing is safe");
        Self(secret)
    }

    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let file_error = |error| KeyError::File(path.to_owned(), error);
        let text = fs::read_to_string(path).map_err(file_error)?;
        if fs::metadata(path).map_err(file_error)?.permissions().mode() & 0o077 != 0 {
            return Err(KeyError::Exposed(path.to_owned()));
        }
        let mut secret = [0; SECRET_BYTES];
        hex::decode_to_slice(text.trim(), &mut secret).map_err(|_| KeyError::Form(path.to_owned()))?;
        Ok(Self(secret))
    }

    /// Readable by its owner alone. A file that is there stays as it is, and is an error.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        let file_error = |error| KeyError::File(path.to_owned(), error);
        let options = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = options.map_err(file_error)?;
        writeln!(file, "{}", hex::encode(self.0)).map_err(file_error)
    }

    /// A secret of its own for each purpose (HKDF-SHA-256, RFC 5869): knowing one tells nothing of another.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"guildhall cluster key 1").extract(&self.0);
        let mut secret = [0; 32];
        root.expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut secret))
            .expect("32 bytes are what SHA-256 gives");
        secret
    }

    /// The key of the authority whose certificates clients are shown where the operator gives none: PEM, ECDSA P-256, which every client knows.
    pub fn authority_pem(&self) -> String {
        // PKCS #8 (RFC 5208) around the private number alone (RFC 5915); the public key follows from it.
        let head = "304102010030130607 2a8648ce3d0201 0608 2a8648ce3d030107 0427 302502010104 20";
        let mut der = hex::decode(head.replace(' ', "")).expect("hexadecimal digits");
        der.extend_from_slice(&self.derive("clients' authority"));
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der)
            .expect("all but one in 2^32 secrets are keys of this curve");
        let der = pair.to_pkcs8v1().expect("a key can be written down");
        let pair = rcgen::KeyPair::try_from(der.as_ref()).expect("what was just written can be read");
        pair.serialize_pem()
    }

    /// The operator's key in this cluster.
    pub fn operator_key(&self) -> String {
        hex::encode(self.derive("operator"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_never_overwritten() {
        let folder = std::env::temp_dir().join(format!("guildhall-key-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("cluster.key");
        let _ = fs::remove_file(&path);
        let key = ClusterKey::generate();
        key.write_new(&path).unwrap();
        assert_eq!(ClusterKey::read(&path).unwrap().operator_key(), key.operator_key());
        assert!(matches!(ClusterKey::generate().write_new(&path), Err(KeyError::File(..))));
        assert_ne!(key.derive("a"), key.derive("b"));
        assert_ne!(key.derive("a"), ClusterKey::generate().derive("a"));

        assert_eq!(key.authority_pem(), key.authority_pem());
        assert!(rcgen::KeyPair::from_pem(&key.authority_pem()).is_ok());

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(ClusterKey::read(&path), Err(KeyError::Exposed(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "no key").unwrap();
        assert!(matches!(ClusterKey::read(&path), Err(KeyError::Form(_))));
        fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(ClusterKey::read(&path), Err(KeyError::File(..))));
    }
}

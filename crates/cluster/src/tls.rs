//! Certificates that nodes show each other: of an authority that each node makes for itself from the cluster's key, and that is the same everywhere.

use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::ClusterKey;
use crate::limits::HELLO_WITHIN;

/// The name in every node's certificate: nodes are known by the authority, not by where they are.
const NAME: &str = "node.guildhall.internal";

/// One process's certificate, and what it believes.
#[derive(Clone)]
pub struct Credentials {
    identity: Identity,
    authority: Certificate,
}

impl Credentials {
    /// Valid at any time: a clock that jumps must not stop a cluster, and the key is what can be taken back.
    pub fn new(key: &ClusterKey) -> Self {
        let made = "a certificate of our own form can be made";
        let seed = key.derive("authority");
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed has 32 bytes");
        let der = pair.to_pkcs8().expect("a key can be written down");
        let pair = KeyPair::try_from(der.as_ref()).expect("what was just written can be read");
        let authority = authority_params().self_signed(&pair).expect(made);
        let issuer = Issuer::new(authority_params(), pair);

        let own = KeyPair::generate().expect("the system has randomness, or nothing is safe");
        let mut params = params(NAME);
        params.subject_alt_names =
            vec![rcgen::SanType::DnsName(NAME.try_into().expect("the name is plain ASCII"))];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&own, &issuer).expect(made);
        Self {
            identity: Identity::from_pem(leaf.pem(), own.serialize_pem()),
            authority: Certificate::from_pem(authority.pem()),
        }
    }

    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity.clone())
            .client_ca_root(self.authority.clone())
            .timeout(HELLO_WITHIN)
    }

    pub fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.identity.clone())
            .ca_certificate(self.authority.clone())
            .domain_name(NAME)
    }
}

fn authority_params() -> CertificateParams {
    let mut params = params("Guildhall cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2200, 1, 1);
    params
}

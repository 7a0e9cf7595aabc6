//! How a connection to PostgreSQL is encrypted, and which server it trusts.
//!
//! Called once, when the origin is opened, with what the URL says; reads the certificates then and
//! never again. Channel binding, which ties a SCRAM login to this encryption, is done by
//! `tokio-postgres-rustls`.

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_native_certs::CertificateResult;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::{Root, SslMode, Tls};

/// The authorities that should vouch for the server cannot be had. The operator's to correct.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// `sslrootcert` cannot be read.
    #[error("cannot read sslrootcert {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `sslrootcert` has other things in it, or is in another format.
    #[error("sslrootcert {} has no certificate in PEM form", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// `sslrootcert` is damaged. Not skipped: what is missing would show only as a server that is
    /// not believed.
    #[error("certificate {number} of sslrootcert {} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The machine has no certificate authorities, as is common in a small container image.
    #[error("this machine has no certificate authorities, name a file as sslrootcert: {reason}")]
    NoSystemRoots {
        /// Where was looked, as far as that failed.
        reason: String,
    },
}

/// Returns what makes connections encrypted as `tls` demands, with TLS 1.2 or later.
///
/// `Disable`, `Prefer` and `Require` without a root believe every server. `VerifyCa`, and `Require`
/// with a root, demand a chain of valid certificates up to an authority of the root. `VerifyFull`
/// also demands the URL's host among the subject's alternative names, be it a DNS name or an IP
/// address; the common name does not count. It is the driver that insists on or forgoes encryption.
///
/// Reads files: not to be called on a thread that others wait for.
///
/// # Errors
/// [`TlsError`], if the root cannot be had.
pub(super) fn connector(tls: &Tls) -> Result<MakeRustlsConnect, TlsError> {
    let roots = match (tls.mode, &tls.root) {
        (_, Some(Root::File(path))) => Some(read_roots(path)?),
        (SslMode::Disable | SslMode::Prefer | SslMode::Require, None) => None,
        (_, Some(Root::System)) | (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
            Some(system_roots(rustls_native_certs::load_native_certs())?)
        }
    };
    // Named, for the process's default panics where two crates enable different ones.
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3");
    let config = match (tls.mode, roots) {
        (SslMode::VerifyFull, Some(roots)) => builder.with_root_certificates(roots),
        (_, roots) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyName::new(roots, &provider))),
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let pem = std::fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let number = roots.len() + 1;
        let malformed = |reason: String| TlsError::Malformed {
            path: path.to_owned(),
            number,
            reason,
        };
        let certificate = certificate.map_err(|error| malformed(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| malformed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(roots)
}

/// Here a certificate that cannot be used is passed over: nobody chose this set one by one.
fn system_roots(found: CertificateResult) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (_used, unusable) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let reason = match errors.as_slice() {
            [] => format!("{unusable} certificates found that are of no use"),
            _ => errors.join(", "),
        };
        return Err(TlsError::NoSystemRoots { reason });
    }
    Ok(roots)
}

/// Believes a server whatever its name: any server, or one that an authority vouches for.
///
/// Either way the server must prove that it has the key of the certificate it shows, which is what
/// ties the certificate to this very handshake, and channel binding to the certificate.
#[derive(Debug)]
struct AnyName {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyName {
    fn new(roots: Option<RootCertStore>, provider: &CryptoProvider) -> Self {
        Self {
            roots,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

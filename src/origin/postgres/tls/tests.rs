//! Which certificates each mode accepts, end to end against a fake server.

use std::error::Error as _;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use tempfile::NamedTempFile;

use super::super::url;
use super::*;

/// The code that stands for a protocol version in libpq's request for TLS.
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// "You are who you say", and "I am ready".
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

/// Parameters that do not speak of TLS.
const SILENT: &str = "connect_timeout=10";

struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
        Self {
            certificate: params.self_signed(&key).unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An authority that this one vouches for.
    fn below(&self, name: &str) -> Self {
        let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
        Self {
            certificate: params.signed_by(&key, &self.issuer).unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    fn certify(&self, names: &[&str], expired: bool) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        Identity {
            chain: vec![params.signed_by(&key, &self.issuer).unwrap().into()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        }
    }

    fn file(&self) -> NamedTempFile {
        file(&self.certificate.pem())
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// What a server shows, and the key it has, which should be that of the first certificate.
#[derive(Debug)]
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Shows a certificate without asking whether the key fits it, which rustls itself would refuse.
#[derive(Debug)]
struct Show(Arc<CertifiedKey>);

impl ResolvesServerCert for Show {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl Identity {
    fn config(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        let provider = crypto::ring::default_provider();
        let key = provider
            .key_provider
            .load_private_key(self.key.clone_key())
            .unwrap();
        let shown = Show(Arc::new(CertifiedKey::new(self.chain.clone(), key)));
        let config = ServerConfig::builder_with_provider(provider.into())
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        Arc::new(config)
    }
}

/// A PostgreSQL server for one connection, which it welcomes without a password. `None` has no TLS.
fn serve(listener: &TcpListener, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let first = read_packet(&mut stream)?;
    if first != SSL_REQUEST {
        return stream.write_all(WELCOME);
    }
    let Some(config) = tls else {
        stream.write_all(b"N")?;
        read_packet(&mut stream)?;
        return stream.write_all(WELCOME);
    };
    stream.write_all(b"S")?;
    welcome_encrypted(&mut stream, config)
}

fn welcome_encrypted(stream: &mut TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut encrypted = rustls::Stream::new(&mut session, stream);
    read_packet(&mut encrypted)?;
    encrypted.write_all(WELCOME)?;
    encrypted.flush()
}

fn read_packet(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut packet = vec![0; u32::from_be_bytes(length) as usize - length.len()];
    stream.read_exact(&mut packet)?;
    Ok(packet)
}

/// Connects to a server with this TLS as `host`, with these parameters. The error has its causes.
async fn connect(tls: Option<Arc<ServerConfig>>, host: &str, query: &str) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || serve(&listener, tls));
    let url = format!("postgres://u@{host}:{port}/d?hostaddr=127.0.0.1&{query}");
    let address = url::parse(&url).unwrap();
    let connector = connector(&address.tls).unwrap();
    let outcome = match address.config.connect(connector).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            Err(format!("{error}: {}", cause.unwrap_or_default()))
        }
    };
    // What a refused server makes of it is of no interest.
    let _served = server.join().unwrap();
    outcome
}

#[tokio::test]
async fn each_mode_accepts_and_refuses_the_servers_that_it_should() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let root = ours.file();
    let root = format!("sslrootcert={}", root.path().display());
    let between = ours.below("between");
    let mut chained = between.certify(&["db.test"], false);
    chained.chain.push(between.certificate.der().clone());
    let servers = [
        ("good", ours.certify(&["db.test", "127.0.0.1"], false)),
        ("chained", chained),
        ("misnamed", ours.certify(&["other.test"], false)),
        ("foreign", theirs.certify(&["db.test", "127.0.0.1"], false)),
        ("expired", ours.certify(&["db.test", "127.0.0.1"], true)),
    ];
    let everybody = "good chained misnamed foreign expired";
    let chain = "good chained misnamed";
    for (host, query, accepted) in [
        ("db.test", "sslmode=disable".to_owned(), everybody),
        ("db.test", SILENT.to_owned(), everybody),
        ("db.test", "sslmode=prefer".to_owned(), everybody),
        ("db.test", "sslmode=require".to_owned(), everybody),
        ("db.test", format!("sslmode=require&{root}"), chain),
        ("db.test", format!("sslmode=verify-ca&{root}"), chain),
        (
            "db.test",
            format!("sslmode=verify-full&{root}"),
            "good chained",
        ),
        ("127.0.0.1", format!("sslmode=verify-full&{root}"), "good"),
    ] {
        for (name, server) in &servers {
            let config = server.config(rustls::ALL_VERSIONS);
            let outcome = connect(Some(config), host, &query).await;
            let expected = accepted.split(' ').any(|accepted| accepted == *name);
            assert_eq!(
                outcome.is_ok(),
                expected,
                "{host} {query} {name}: {outcome:?}"
            );
            if let Err(error) = outcome {
                assert!(
                    error.contains("invalid peer certificate"),
                    "{query}: {error}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_systems_authorities_do_not_vouch_for_ours() {
    let server = Authority::new("ours").certify(&["db.test"], false);
    for mode in ["verify-ca", "verify-full"] {
        let tls = url::parse(&format!("postgres://h?sslmode={mode}"))
            .unwrap()
            .tls;
        // A machine without authorities has nothing to show here.
        if connector(&tls).is_err() {
            continue;
        }
        let config = server.config(rustls::ALL_VERSIONS);
        let error = connect(Some(config), "db.test", &format!("sslmode={mode}"))
            .await
            .unwrap_err();
        assert!(error.contains("UnknownIssuer"), "{error}");
    }
}

#[tokio::test]
async fn only_prefer_goes_on_with_a_server_that_has_no_tls() {
    let root = Authority::new("ours").file();
    let root = root.path().display();
    for query in ["sslmode=disable", "sslmode=prefer", SILENT] {
        connect(None, "db.test", query).await.unwrap();
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}&sslrootcert={root}");
        let error = connect(None, "db.test", &query).await.unwrap_err();
        assert!(error.contains("does not support TLS"), "{mode}: {error}");
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused_even_where_any_certificate_will_do() {
    let authority = Authority::new("ours");
    let mut thief = authority.certify(&["db.test"], false);
    thief.key = authority.certify(&["db.test"], false).key;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for mode in ["prefer", "require"] {
            let config = Some(thief.config(&[version]));
            let error = connect(config, "db.test", &format!("sslmode={mode}"))
                .await
                .unwrap_err();
            assert!(
                error.contains("BadSignature"),
                "{mode} {version:?}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn any_authority_of_a_bundle_vouches() {
    let authorities: Vec<_> = (0..120)
        .map(|number| Authority::new(&number.to_string()))
        .collect();
    let mut bundle = "text that openssl puts in front\n".to_owned();
    for authority in &authorities {
        bundle += &authority.certificate.pem();
    }
    let bundle = file(&bundle);
    let query = format!(
        "sslmode=verify-full&sslrootcert={}",
        bundle.path().display()
    );
    for authority in [&authorities[0], &authorities[119]] {
        let server = authority.certify(&["db.test"], false);
        let config = server.config(rustls::ALL_VERSIONS);
        connect(Some(config), "db.test", &query).await.unwrap();
    }
}

fn failure(path: &Path) -> TlsError {
    let tls = Tls {
        mode: SslMode::VerifyFull,
        root: Some(Root::File(path.to_owned())),
    };
    let error = connector(&tls).err().expect("a bad root was accepted");
    assert!(error.to_string().contains(&*path.to_string_lossy()));
    error
}

#[test]
fn a_root_that_is_no_root_is_named() {
    let good = Authority::new("ours").certificate.pem();
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), &folder.path().join("absent.pem")] {
        assert!(matches!(failure(path), TlsError::Unreadable { .. }));
    }
    let key = KeyPair::generate().unwrap().serialize_pem();
    for text in ["", "neither", &key] {
        let error = failure(file(text).path());
        assert!(
            matches!(error, TlsError::NoCertificate { .. }),
            "{text}: {error}"
        );
    }
    let cut = &good[..good.len() / 2];
    let garbled = good.replacen("MI", "??", 1);
    let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for bad in [cut, &garbled, other] {
        let error = failure(file(&format!("{good}{bad}")).path());
        assert!(
            matches!(error, TlsError::Malformed { number: 2, .. }),
            "{bad}: {error}"
        );
    }
}

#[test]
fn a_machine_without_authorities_is_an_error() {
    let error = system_roots(CertificateResult::default()).unwrap_err();
    assert!(matches!(error, TlsError::NoSystemRoots { .. }), "{error}");
    let mut found = CertificateResult::default();
    found.certs = vec![
        CertificateDer::from(vec![0]),
        Authority::new("ours").certificate.der().clone(),
    ];
    assert_eq!(system_roots(found).unwrap().len(), 1);
}

//! TLS (RFC 8446, and RFC 5246 where it is not switched off): certificates that are read again when their files change, and
//! certificates that clients must show.
//!
//! The files are looked at when a connection begins, at most once a second. What they hold then is for that connection and later
//! ones; those that are open stay as they are. Files that can't be used, such as one that is only half written, change nothing but the log.

use crate::config::Tls;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme, version};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What a server speaks TLS with.
///
/// # Errors
/// Says which file can't be used, and why.
pub(super) fn config(settings: &Tls) -> std::io::Result<Option<ServerConfig>> {
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else { return Ok(None) };
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let files = Files { certificate: certificate.clone(), key: key.clone(), client_ca: settings.client_ca.clone() };
    let material = files.read(&crypto).map_err(std::io::Error::other)?;
    let names = material.clients.as_ref().map(|clients| clients.root_hint_subjects().to_vec());
    let live = Live { look: Mutex::new(Look { at: Instant::now(), stamps: files.stamps(), material }), files, crypto };
    let live = Arc::new(live);
    let versions: &[_] = if settings.tls12 { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS13] };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&live.crypto)).with_protocol_versions(versions);
    let builder = builder.map_err(std::io::Error::other)?;
    let builder = match names {
        Some(names) => builder.with_client_cert_verifier(Arc::new(Clients { live: Arc::clone(&live), names })),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(live);
    if settings.client_ca.is_some() {
        // Who comes back by a ticket shows no certificate: one that is good no more would go on for as long as the ticket does.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Some(config))
}

/// Where certificates and keys are.
#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// By what a changed file is told from the one before: when it was written, and its length.
type Stamp = Option<(SystemTime, u64)>;

/// What the files held.
#[derive(Debug, Clone)]
struct Material {
    own: Arc<CertifiedKey>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Files {
    fn stamps(&self) -> [Stamp; 3] {
        let stamp = |path: &Path| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        };
        [stamp(&self.certificate), stamp(&self.key), self.client_ca.as_deref().and_then(stamp)]
    }

    fn read(&self, crypto: &Arc<CryptoProvider>) -> Result<Material, String> {
        let chain = certificates(&self.certificate, "tls.certificate")?;
        let unusable = |why: &dyn std::fmt::Display| format!("tls.key: {}: {why}", self.key.display());
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unusable(&error))?;
        let own = CertifiedKey::from_der(chain, key, crypto).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => unusable(&"it is not the key of tls.certificate"),
            error => unusable(&error),
        })?;
        let clients = self.client_ca.as_deref().map(|path| verifier(path, crypto)).transpose()?;
        Ok(Material { own: Arc::new(own), clients })
    }
}

fn certificates(path: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let unusable = |why: &dyn std::fmt::Display| format!("{setting}: {}: {why}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| unusable(&error))?;
    if found.is_empty() { Err(unusable(&"there is no certificate in it")) } else { Ok(found) }
}

fn verifier(path: &Path, crypto: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let unusable = |why: &dyn std::fmt::Display| format!("tls.client_ca: {}: {why}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, "tls.client_ca")? {
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(crypto)).build();
    built.map_err(|error| unusable(&error))
}

#[derive(Debug)]
struct Look {
    at: Instant,
    stamps: [Stamp; 3],
    material: Material,
}

/// What the files hold now.
#[derive(Debug)]
struct Live {
    files: Files,
    crypto: Arc<CryptoProvider>,
    look: Mutex<Look>,
}

impl Live {
    fn material(&self) -> Material {
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        if look.at.elapsed() >= LOOK {
            look.at = Instant::now();
            let stamps = self.files.stamps();
            if stamps != look.stamps {
                match self.files.read(&self.crypto) {
                    Ok(material) => {
                        look.material = material;
                        tracing::info!("certificates were read again");
                    }
                    Err(why) => tracing::error!(why, "changed certificates can't be used; the ones before stay"),
                }
                look.stamps = stamps;
            }
        }
        look.material.clone()
    }
}

impl ResolvesServerCert for Live {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.material().own)
    }
}

/// Asks each client for a certificate of an authority that is in the file now.
#[derive(Debug)]
struct Clients {
    live: Arc<Live>,
    /// The authorities' names at the start, for clients that have several certificates to choose from.
    names: Vec<DistinguishedName>,
}

impl Clients {
    fn now(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        self.live.material().clients.ok_or_else(|| rustls::Error::General("no authorities for clients".into()))
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.now()?.verify_client_cert(own, others, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.now()?.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.now()?.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.live.crypto.signature_verification_algorithms.supported_schemes()
    }
}

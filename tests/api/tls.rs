//! TLS: versions, certificates that change under a running server, and certificates that clients must show.

use crate::support::{Process, Server, free_address};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned, SupportedProtocolVersion, version,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ALL: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for 127.0.0.1 and its key, in PEM.
    fn sign(&self) -> (String, String) {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// The files of a server.
struct Files {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new("servers") };
        files.renew();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts another certificate and its key into the files, and gives the certificate.
    fn renew(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.authority.sign();
        replace(&self.path("cert.pem"), &certificate);
        replace(&self.path("key.pem"), &key);
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
    }

    fn serve(&self, change: impl FnOnce(&mut pharos::config::Tls)) -> Server {
        Server::with(|config| {
            config.tls.certificate = Some(self.path("cert.pem"));
            config.tls.key = Some(self.path("key.pem"));
            change(&mut config.tls);
        })
    }

    /// A client that trusts the servers' authority, and shows a certificate where it has one.
    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<(String, String)>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(crypto).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        })
    }
}

/// As tools that renew certificates do: the new file in the place of the old one.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(server: &Server, client: &Arc<ClientConfig>) -> Tls {
    connect_to(server.app().config.listen, client)
}

fn connect_to(address: SocketAddr, client: &Arc<ClientConfig>) -> Tls {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(client), name).unwrap(), stream)
}

/// One request on a connection that stays open: the head of the answer.
fn ask(connection: &mut Tls) -> std::io::Result<String> {
    connection.write_all(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut body = [0; 5];
    reader.read_exact(&mut body)?;
    assert_eq!(&body, b"live\n");
    Ok(head)
}

/// The certificate that a client is shown which has never been there: one that comes back by a ticket is shown none.
fn shown(server: &Server, files: &Files) -> CertificateDer<'static> {
    let mut connection = connect(server, &files.client(ALL, None));
    ask(&mut connection).unwrap();
    connection.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn both_versions_are_spoken_and_browsers_told_to_come_by_https_only() {
    let files = Files::new();
    let server = files.serve(|_| {});
    for (only, spoken) in [(&version::TLS13, ProtocolVersion::TLSv1_3), (&version::TLS12, ProtocolVersion::TLSv1_2)] {
        let mut connection = connect(&server, &files.client(&[only], None));
        let head = ask(&mut connection).unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("strict-transport-security: max-age=31536000\r\n"),
            "{head}"
        );
        assert_eq!(connection.conn.protocol_version(), Some(spoken));
    }
}

#[test]
fn version_1_2_can_be_switched_off() {
    let files = Files::new();
    let server = files.serve(|tls| tls.tls12 = false);
    let mut refused = connect(&server, &files.client(&[&version::TLS12], None));
    let error = ask(&mut refused).unwrap_err().to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
    ask(&mut connect(&server, &files.client(ALL, None))).unwrap();
}

#[test]
fn a_renewed_certificate_is_shown_and_open_connections_stay() {
    let files = Files::new();
    let server = files.serve(|_| {});
    let mut open = connect(&server, &files.client(ALL, None));
    ask(&mut open).unwrap();
    let before = shown(&server, &files);
    std::fs::write(files.path("key.pem"), "half a fi").unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(shown(&server, &files), before, "what can't be read changes nothing");
    let renewed = files.renew();
    assert_ne!(before, renewed);
    let deadline = Instant::now() + Duration::from_secs(20);
    while shown(&server, &files) != renewed {
        assert!(Instant::now() < deadline, "the old certificate is still shown");
        std::thread::sleep(Duration::from_millis(50));
    }
    ask(&mut open).unwrap();
}

#[test]
fn clients_show_a_certificate_of_an_authority_where_one_is_set() {
    let files = Files::new();
    let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    std::fs::write(files.path("ca.pem"), &clients.pem).unwrap();
    let server = files.serve(|tls| tls.client_ca = Some(files.path("ca.pem")));
    for version in ALL {
        let with = |own| ask(&mut connect(&server, &files.client(&[version], own)));
        with(Some(clients.sign())).unwrap();
        assert!(with(None).is_err() && with(Some(strangers.sign())).is_err());
    }
    // Authorities change as certificates do, and who was let in before must show what is good now.
    let client = files.client(ALL, Some(clients.sign()));
    ask(&mut connect(&server, &client)).unwrap();
    replace(&files.path("ca.pem"), &strangers.pem);
    std::thread::sleep(Duration::from_millis(1100));
    assert!(ask(&mut connect(&server, &client)).is_err());
    ask(&mut connect(&server, &files.client(ALL, Some(strangers.sign())))).unwrap();
}

#[test]
fn what_can_not_be_used_is_told_at_the_start() {
    let files = Files::new();
    let (other, _) = files.authority.sign();
    std::fs::write(files.path("other.pem"), other).unwrap();
    std::fs::write(files.path("empty.pem"), "").unwrap();
    for (certificate, key, said) in [
        ("cert.pem", "absent.pem", "tls.key: "),
        ("absent.pem", "key.pem", "tls.certificate: "),
        ("empty.pem", "key.pem", "there is no certificate in it"),
        ("other.pem", "key.pem", "it is not the key of tls.certificate"),
        ("cert.pem", "cert.pem", "tls.key: "),
    ] {
        let text = format!("[tls]\ncertificate = {:?}\nkey = {:?}\n", files.path(certificate), files.path(key));
        std::fs::write(files.path("pharos.toml"), text).unwrap();
        let (settings, store) = (files.path("pharos.toml"), format!("file:{}", files.path("data").display()));
        let listen = free_address().to_string();
        let process =
            Process::start(["serve", "--config", settings.to_str().unwrap(), "--store", &store, "--listen", &listen]);
        assert!(!process.wait().success());
        process.lines_until(said);
    }
}

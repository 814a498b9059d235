//! TLS servers.

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, IsCa, KeyPair};
use tempfile::TempDir;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::PrivateKeyDer,
        server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    },
    server::TlsStream,
};

use crate::support::serve_with;

/// A listener that performs the TLS handshake.
struct TlsListener {
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
    /// The number of the connection, from 0, whose handshake never completes.
    stalled: Option<usize>,
    accepted: usize,
    /// Keeps connections with a failed handshake open. If they closed, their clients could miss the reason.
    open: Vec<tokio::net::TcpStream>,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, peer) = self.listener.accept().await.unwrap();
            let number = self.accepted;
            self.accepted += 1;
            if self.stalled == Some(number) {
                self.open.push(stream);
                continue;
            }
            match self.acceptor.accept(stream).into_fallible().await {
                Ok(stream) => return (stream, peer),
                Err((_, stream)) => self.open.push(stream),
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves `router` with TLS and a self-signed certificate for `name`. Returns the address and the certificate as PEM.
pub(crate) fn serve_tls(router: Router, name: &str) -> (SocketAddr, String) {
    serve_tls_with_protocols(router, name, &[b"h2", b"http/1.1"], None)
}

/// A server that requires a client certificate, and the files of its clients.
pub(crate) struct Bank {
    pub(crate) url: String,
    folder: TempDir,
}

impl Bank {
    /// Opens the server. Writes `NAME.crt` and `NAME.key` for two clients that its authority certifies, `alice` and
    /// `bob`, and for `mallory`, whom another authority certifies.
    pub(crate) fn open(router: Router) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trusted = authority();
        for (name, authority) in [("alice", &trusted), ("bob", &trusted), ("mallory", &authority())] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, authority).unwrap();
            let file = |ending: &str| folder.path().join(format!("{name}.{ending}"));
            std::fs::write(file("crt"), certificate.pem()).unwrap();
            std::fs::write(file("key"), key.serialize_pem()).unwrap();
        }
        let mut roots = RootCertStore::empty();
        roots.add(trusted.as_ref().der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let address = serve_tls_to(router, "bank.example", verifier.build().unwrap());
        Self {
            url: format!("https://{address}/"),
            folder,
        }
    }

    /// Returns the path of a file.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn serve_tls_to(router: Router, name: &str, clients: Arc<dyn ClientCertVerifier>) -> SocketAddr {
    serve_tls_with(router, name, &[b"h2", b"http/1.1"], None, clients).0
}

/// Serves `router` with TLS, but never completes the handshake of one connection. Connections are counted from 0.
pub(crate) fn serve_tls_with_stalled_handshake(router: Router, stalled: usize) -> SocketAddr {
    serve_tls_with_protocols(router, "shop.example", &[b"h2", b"http/1.1"], Some(stalled)).0
}

/// Starts a TLS server that does not support HTTP/2 and returns its address.
pub(crate) fn serve_tls_http1(name: &str) -> SocketAddr {
    serve_tls_with_protocols(Router::new(), name, &[], None).0
}

fn serve_tls_with_protocols(
    router: Router,
    name: &str,
    protocols: &[&[u8]],
    stalled: Option<usize>,
) -> (SocketAddr, String) {
    serve_tls_with(
        router,
        name,
        protocols,
        stalled,
        WebPkiClientVerifier::no_client_auth(),
    )
}

fn serve_tls_with(
    router: Router,
    name: &str,
    protocols: &[&[u8]],
    stalled: Option<usize>,
    clients: Arc<dyn ClientCertVerifier>,
) -> (SocketAddr, String) {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = serve_with(move |listener| {
        let listener = TlsListener {
            listener,
            acceptor,
            stalled,
            accepted: 0,
            open: Vec::new(),
        };
        axum::serve(listener, router.into_make_service()).into_future()
    });
    (address, cert.pem())
}

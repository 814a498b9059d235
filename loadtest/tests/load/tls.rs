//! TLS servers.

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use rcgen::CertifiedKey;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
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
    /// Keeps the stalled connection open.
    open: Option<tokio::net::TcpStream>,
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
                self.open = Some(stream);
            } else if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
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
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
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
            open: None,
        };
        axum::serve(listener, router.into_make_service()).into_future()
    });
    (address, cert.pem())
}

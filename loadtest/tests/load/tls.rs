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
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, peer) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
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
    serve_tls_with_protocols(router, name, &[b"h2", b"http/1.1"])
}

/// Starts a TLS server that does not support HTTP/2 and returns its address.
pub(crate) fn serve_tls_http1(name: &str) -> SocketAddr {
    serve_tls_with_protocols(Router::new(), name, &[]).0
}

fn serve_tls_with_protocols(router: Router, name: &str, protocols: &[&[u8]]) -> (SocketAddr, String) {
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
        axum::serve(TlsListener { listener, acceptor }, router.into_make_service()).into_future()
    });
    (address, cert.pem())
}

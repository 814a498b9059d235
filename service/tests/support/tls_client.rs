//! A certificate authority, and clients that verify certificates. The tests of `service` and `app_a` include this file.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// The name in the certificates.
pub(crate) const NAME: &str = "app.test";

/// A year in which certificates have expired.
pub(crate) const PAST: i32 = 2001;

/// A year until which certificates are valid.
pub(crate) const FUTURE: i32 = 2099;

/// The first second of the year [`FUTURE`], since 1970.
pub(crate) const FUTURE_SECONDS: f64 = 4_070_908_800.0;

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Issued {
    /// Returns the files of a mounted Secret.
    pub(crate) fn files(&self) -> [(&str, &str); 2] {
        [("tls.crt", &self.certificate), ("tls.key", &self.key)]
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "the authority of the test");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap())
    }

    /// Issues a certificate for [`NAME`] that expires at the start of a year.
    pub(crate) fn issue(&self, until: i32) -> Issued {
        let mut certificate = CertificateParams::new([NAME.to_owned()]).unwrap();
        certificate.not_before = date_time_ymd(2000, 1, 1);
        certificate.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        Issued {
            certificate: certificate.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Returns a client that trusts this authority alone.
    pub(crate) fn client(&self) -> Client {
        Client::trusting(&[self], &[&TLS12, &TLS13], &[b"h2", b"http/1.1"])
    }
}

/// A client that verifies certificates.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) ClientConfig);

impl Client {
    /// Returns a client with these authorities, these versions of TLS, and these protocols in ALPN.
    pub(crate) fn trusting(
        authorities: &[&Authority],
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.0.der().clone()).unwrap();
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Self(config)
    }

    /// Opens a connection. Expects a certificate for [`NAME`].
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.handshake(NAME, TcpStream::connect(address).await?).await
    }

    /// Starts TLS. Expects a certificate for this name.
    pub(crate) async fn handshake(
        &self,
        name: &'static str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name).unwrap();
        TlsConnector::from(Arc::new(self.0.clone()))
            .connect(name, stream)
            .await
    }

    /// Opens a connection for requests.
    pub(crate) async fn open(&self, address: SocketAddr) -> io::Result<Connection> {
        Ok(Connection::on(self.connect(address).await?).await)
    }
}

/// An open connection, with the protocol that ALPN has selected.
pub(crate) enum Connection {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

/// A response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) version: Version,
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Connection {
    /// Starts HTTP.
    pub(crate) async fn on(stream: TlsStream<TcpStream>) -> Self {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        if is_http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            Self::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            Self::Http1(sender)
        }
    }

    /// Sends a request with a token, and returns the response.
    pub(crate) async fn send(&mut self, method: &str, path: &str) -> hyper::Result<Reply> {
        let request = Request::builder().method(method).header(AUTHORIZATION, "mytoken");
        let response = match self {
            Self::Http1(sender) => {
                let request = request.uri(path).header(HOST, NAME);
                sender.ready().await?;
                sender.send_request(request.body(Empty::new()).unwrap()).await?
            }
            Self::Http2(sender) => {
                let request = request.uri(format!("https://{NAME}{path}"));
                sender.ready().await?;
                sender.send_request(request.body(Empty::new()).unwrap()).await?
            }
        };
        let (version, status) = (response.version(), response.status().as_u16());
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Reply {
            version,
            status,
            body: String::from_utf8(body.to_vec()).unwrap(),
        })
    }
}

//! The settings of the TLS listener. It is off without an address.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::report::Invalid;
use super::{ServiceConfig, values};

/// The settings of the TLS listener.
#[derive(Debug, Clone, Args)]
pub struct TlsConfig {
    /// Address and port of the public listener with TLS; without it, the service does not terminate TLS
    #[arg(long = "tls-listen", env = "TLS_LISTEN", id = "tls_listen", value_name = "ADDRESS:PORT",
          value_parser = values::address)]
    pub listen: Option<SocketAddr>,

    /// File of the certificate and its intermediate certificates, in PEM format; changes apply without a restart
    #[arg(long = "tls-cert-file", env = "TLS_CERT_FILE", id = "tls_cert_file", value_name = "PATH",
          value_parser = values::path)]
    pub certificate_file: Option<PathBuf>,

    /// File of the private key of the certificate, in PEM format
    #[arg(long = "tls-key-file", env = "TLS_KEY_FILE", id = "tls_key_file", value_name = "PATH",
          value_parser = values::path)]
    pub key_file: Option<PathBuf>,

    /// Use a self-signed certificate, which no client can verify, while the two files do not exist
    #[arg(long = "tls-self-signed", env = "TLS_SELF_SIGNED", id = "tls_self_signed", value_name = "BOOL",
          value_parser = values::boolean, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true")]
    pub self_signed: bool,
}

impl TlsConfig {
    /// Checks the values against each other and against the other listeners.
    ///
    /// # Errors
    /// Names the variables to change.
    pub fn check(&self, service: &ServiceConfig) -> Result<(), Invalid> {
        if self.certificate_file.is_some() != self.key_file.is_some() {
            return Err(Invalid::because(
                "TLS_CERT_FILE and TLS_KEY_FILE belong together: set both or none",
            ));
        }
        let has_certificate = self.certificate_file.is_some() || self.self_signed;
        let Some(listen) = self.listen else {
            return if has_certificate {
                Err(Invalid::because(
                    "TLS_CERT_FILE, TLS_KEY_FILE and TLS_SELF_SIGNED have no effect without TLS_LISTEN: set it to the \
                     address of the TLS listener, such as 0.0.0.0:5443",
                ))
            } else {
                Ok(())
            };
        };
        if !has_certificate {
            return Err(Invalid::because(
                "TLS_LISTEN is set, and there is no certificate: set TLS_CERT_FILE and TLS_KEY_FILE to files in PEM format, \
                 or TLS_SELF_SIGNED=true for a certificate that no client can verify",
            ));
        }
        if listen.port() != 0 && [service.listen, service.admin_listen].contains(&listen) {
            return Err(Invalid::new(
                "TLS_LISTEN",
                "an address or a port different from LISTEN and ADMIN_LISTEN",
            ));
        }
        Ok(())
    }
}

//! The command `healthcheck`: requests `/readyz` of a running service. The images are built from scratch and contain no
//! curl, so the program runs the health check of the container engine itself.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::console;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Requests `/readyz` of the admin listener at `admin`. Prints the reason to standard error if the status is not 200.
#[must_use]
pub fn run(admin: SocketAddr) -> ExitCode {
    match request(reachable(admin)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::error(format_args!("not ready: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The address to connect to. A listener on the unspecified address is reachable on loopback.
fn reachable(mut admin: SocketAddr) -> SocketAddr {
    match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    admin
}

fn request(admin: SocketAddr) -> Result<()> {
    let mut stream =
        TcpStream::connect_timeout(&admin, TIMEOUT).with_context(|| format!("cannot connect to {admin}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET /readyz HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n"
    )?;
    let mut response = Vec::new();
    stream
        .take(4096)
        .read_to_end(&mut response)
        .with_context(|| format!("cannot read from {admin}"))?;
    let response = String::from_utf8_lossy(&response);
    let status = response.lines().next().unwrap_or_default();
    ensure!(
        status.starts_with("HTTP/1.1 200 "),
        "{admin} responded {status:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unspecified_address_is_probed_on_loopback() {
        let cases = [
            ("0.0.0.0:9000", "127.0.0.1:9000"),
            ("[::]:9000", "[::1]:9000"),
            ("10.0.0.7:9000", "10.0.0.7:9000"),
        ];
        for (listen, probed) in cases {
            assert_eq!(reachable(listen.parse().unwrap()), probed.parse().unwrap());
        }
    }
}

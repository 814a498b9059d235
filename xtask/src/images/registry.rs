//! The registry that the images are pushed to.

use anyhow::{Result, ensure};
use clap::Args;

use super::image::Image;

/// The options of a push.
#[derive(Args)]
pub(super) struct Destination {
    /// Also push the images to a registry, with the credentials of `docker login`. Writes their digests to pushed.json, beside the
    /// archives
    #[arg(long, value_name = "REGISTRY", conflicts_with = "tags_only")]
    push: Option<String>,
    /// Allow a connection without verified TLS to the registry. To loopback it is always allowed
    #[arg(long, requires = "push")]
    insecure: bool,
    /// Sign the pushed images, and attach the lists of their crates (SBOM), with this private key of cosign: a file, or the address of
    /// a key management service. The variable `COSIGN_PASSWORD` has the password of a file
    #[arg(long, value_name = "KEY", requires = "push")]
    sign: Option<String>,
}

impl Destination {
    /// The registry, if there is a push.
    pub(super) fn registry(&self) -> Option<Registry<'_>> {
        self.push.as_deref().map(|address| Registry {
            address,
            insecure: self.insecure,
            key: self.sign.as_deref(),
        })
    }
}

/// Where the images are pushed to.
#[derive(Clone, Copy)]
pub(crate) struct Registry<'a> {
    /// The registry, and possibly a folder in it: `registry.example.com/team`.
    pub(crate) address: &'a str,
    /// Whether connections without verified TLS are allowed. To loopback they always are.
    pub(crate) insecure: bool,
    /// The private key that signs the images: a file, or the address of a key management service.
    pub(crate) key: Option<&'a str>,
}

impl Registry<'_> {
    /// Rejects an address that a reference cannot contain.
    ///
    /// # Errors
    /// When it is one.
    pub(crate) fn check(self) -> Result<()> {
        let address = self.address;
        let is_host = |host: &str| host.contains(['.', ':']);
        ensure!(
            !address.contains("://")
                && !address.ends_with('/')
                && address.split('/').next().is_some_and(is_host),
            "{address:?} is not the address of a registry: expected HOST, HOST:PORT or HOST/FOLDER, without https://"
        );
        Ok(())
    }

    /// The reference of an image of this registry by its digest.
    pub(super) fn by_digest(self, image: &Image, digest: &str) -> String {
        format!("{}/{}@{digest}", self.address, image.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str) -> Result<()> {
        Registry {
            address,
            insecure: false,
            key: None,
        }
        .check()
    }

    #[test]
    fn an_address_is_a_host_and_possibly_a_folder() {
        for address in [
            "registry.example.com",
            "127.0.0.1:5005",
            "localhost:5000/team",
            "r.io/a/b",
        ] {
            check(address).unwrap();
        }
        // Without a host, the images would go to Docker Hub.
        for address in [
            "https://registry.example.com",
            "registry.example.com/",
            "localhost/team",
            "",
        ] {
            assert!(check(address).is_err(), "{address}");
        }
    }
}

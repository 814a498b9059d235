//! The only layer of an image: a tar archive without a time, a user of this machine, or anything random.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The content of one path of the image.
#[derive(Clone, Debug)]
pub enum Content {
    /// A copy of a file on this machine.
    File(PathBuf),
    /// A small file with this text.
    Text(String),
    /// A symbolic link to this path in the image.
    Link(String),
    /// A folder. The folders above a file need no entry of their own.
    Directory,
}

/// One path in the only layer of the image.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The absolute path in the image.
    pub path: String,
    /// The content of the path.
    pub content: Content,
    /// The permission bits.
    pub mode: u32,
    /// The user ID of the owner. The group ID is the same number.
    pub user: u64,
    /// Whether every user may listen on ports below 1024 with the program (`setcap cap_net_bind_service=+ep`).
    pub binds_low_ports: bool,
}

/// The value of the attribute `security.capability` for `cap_net_bind_service=+ep` (linux/capability.h, revision 2):
/// the revision with the flag "effective", then the low and high words of "permitted" and "inheritable".
const BINDS_LOW_PORTS: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl Entry {
    /// A program of root that every user may run.
    pub fn program(path: impl Into<String>, source: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            content: Content::File(source.into()),
            mode: 0o755,
            user: 0,
            binds_low_ports: false,
        }
    }

    /// A folder of `user`.
    pub fn directory(path: impl Into<String>, mode: u32, user: u64) -> Self {
        Self {
            path: path.into(),
            content: Content::Directory,
            mode,
            user,
            binds_low_ports: false,
        }
    }
}

/// Writes the layer with `entries` to `file`.
pub(super) fn write(file: &File, entries: &[Entry]) -> Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    for entry in entries {
        let path = entry.path.trim_start_matches('/');
        match &entry.content {
            Content::File(source) => {
                let content = File::open(source).with_context(|| source.display().to_string())?;
                if entry.binds_low_ports {
                    let attribute = ("SCHILY.xattr.security.capability", BINDS_LOW_PORTS.as_slice());
                    tar.append_pax_extensions([attribute])?;
                }
                let mut header = header(entry.mode, entry.user, content.metadata()?.len());
                tar.append_data(&mut header, path, content)?;
            }
            Content::Text(text) => append(&mut tar, path, entry.mode, entry.user, text.as_bytes())?,
            Content::Link(target) => {
                let mut header = header(0o777, entry.user, 0);
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, target)?;
            }
            Content::Directory => {
                let mut header = header(entry.mode, entry.user, 0);
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
        }
    }
    tar.finish()?;
    Ok(())
}

/// Adds a small file to an archive.
pub(super) fn append<W: io::Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    mode: u32,
    user: u64,
    data: &[u8],
) -> io::Result<()> {
    tar.append_data(&mut header(mode, user, data.len() as u64), path, data)
}

/// The header of a file, with the start of the epoch as its time.
pub(super) fn header(mode: u32, user: u64, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(user);
    header.set_gid(user);
    header.set_size(size);
    header.set_mtime(0);
    header
}

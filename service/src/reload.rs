//! Files whose changes apply without a restart: how they are read, and the loop that applies each change.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus::IntGauge;

/// The time between two reads. The content is compared, not the time of the last change: a mounted Secret changes through
/// a symbolic link, and the files are small.
const PERIOD: Duration = Duration::from_secs(1);

/// The largest accepted file, in bytes: the limit of a Secret.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads a regular file of at most 1 MiB.
///
/// # Errors
/// When the file cannot be read, or is something else.
pub async fn read(path: &Path) -> io::Result<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read_now(&path))
        .await
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

fn read_now(path: &PathBuf) -> io::Result<String> {
    // Opening a named pipe would block.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    let bytes = File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if bytes as u64 > MAX_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// What follows its files.
pub trait Follow: Send {
    /// Reads the files, and applies them if they changed.
    fn apply(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Applies each change of the files that `what` names. Never completes.
///
/// `is_current` is 0 while the last version cannot be applied, and 1 otherwise. A fault counts at the second failure in a row,
/// because a read between the changes of two files finds an old and a new one. It is logged when it differs from the last one.
pub async fn follow(what: &str, is_current: IntGauge, mut follower: impl Follow) {
    let (mut has_failed, mut reported) = (false, None);
    let mut interval = tokio::time::interval(PERIOD);
    loop {
        interval.tick().await;
        match follower.apply().await {
            Ok(()) => {
                is_current.set(1);
                has_failed = false;
                if reported.take().is_some() {
                    tracing::info!("the {what} can be applied again");
                }
            }
            Err(_) if !has_failed => has_failed = true,
            Err(error) => {
                is_current.set(0);
                let error = format!("{error:#}");
                if reported.as_ref() != Some(&error) {
                    tracing::warn!(
                        error,
                        "the {what} cannot be applied: the last version stays in use"
                    );
                    reported = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_limited_size_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let read = |path: &Path| read_now(&path.to_owned());
        assert_eq!(
            read(directory.path()).unwrap_err().to_string(),
            "it is not a regular file"
        );
        let file = directory.path().join("file");
        fs::write(&file, "#".repeat(1024 * 1024)).unwrap();
        assert!(read(&file).is_ok());
        fs::write(&file, "#".repeat(1024 * 1024 + 1)).unwrap();
        assert_eq!(read(&file).unwrap_err().to_string(), "it is larger than 1 MiB");
    }

    /// Finds the next one of these faults with each read. The empty one is none.
    struct Faults {
        next: std::vec::IntoIter<&'static str>,
        is_current: IntGauge,
        seen: Vec<i64>,
    }

    impl Follow for &mut Faults {
        async fn apply(&mut self) -> anyhow::Result<()> {
            self.seen.push(self.is_current.get());
            match self.next.next() {
                Some("") => Ok(()),
                Some(fault) => anyhow::bail!(fault),
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_counts_at_the_second_failure_in_a_row() {
        let cases = [
            (
                vec!["old key", "", "bad", "bad", "bad", "worse", ""],
                vec![1, 1, 1, 1, 0, 0, 0, 1],
            ),
            (vec!["one", "other", "one", ""], vec![1, 1, 0, 0, 1]),
        ];
        for (found, seen) in cases {
            let is_current = IntGauge::new("current", "help").unwrap();
            is_current.set(1);
            let mut faults = Faults {
                next: found.into_iter(),
                is_current: is_current.clone(),
                seen: Vec::new(),
            };
            tokio::time::timeout(Duration::from_mins(1), follow("files", is_current, &mut faults))
                .await
                .expect_err("never completes");
            assert_eq!(faults.seen, seen);
        }
    }
}

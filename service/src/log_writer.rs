//! The writer of the log: a bounded queue, and a thread that writes to standard output.
//!
//! Logging never blocks, delays or stops the process. A line that cannot be written is dropped and counted: the queue is
//! full because the reader of the log is too slow, or the reader has closed its end.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;

/// The size of the queue, in lines. Most lines are shorter than 1 KiB.
const QUEUE_LINES: usize = 1024;

/// Lines of the log that were dropped because standard output was full or closed
pub(crate) static DROPPED_LINES: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Lines of the log that were dropped because standard output was full or closed";
    IntCounter::new("log_lines_dropped_total", help).expect("the name of the metric is valid")
});

/// A writer to standard output. Each call of `write` is one line.
#[derive(Debug)]
pub(crate) struct LogWriter {
    queue: SyncSender<Vec<u8>>,
    /// Lines that entered the queue.
    queued: AtomicU64,
    done: Arc<Done>,
}

/// The number of lines that left the queue.
#[derive(Debug, Default)]
struct Done {
    lines: Mutex<u64>,
    changed: Condvar,
}

impl LogWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(crate) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE_LINES);
        let done = Arc::new(Done::default());
        let thread_done = Arc::clone(&done);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&lines, output, &thread_done))?;
        Ok(Self {
            queue,
            queued: AtomicU64::new(0),
            done,
        })
    }

    /// Waits until all earlier lines are written or dropped, for at most `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let queued = self.queued.load(Ordering::Relaxed);
        let lines = self.done.lines.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.done
                .changed
                .wait_timeout_while(lines, limit, |lines| *lines < queued),
        );
    }
}

impl Write for &LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.queue.try_send(line.to_vec()) {
            Ok(()) => drop(self.queued.fetch_add(1, Ordering::Relaxed)),
            Err(_full) => DROPPED_LINES.inc(),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, mut output: impl Write, done: &Done) {
    for line in lines {
        if output.write_all(&line).and_then(|()| output.flush()).is_err() {
            DROPPED_LINES.inc();
        }
        *done.lines.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        done.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    /// An output that blocks until the test drops the sender.
    struct Blocked(Receiver<()>);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_reading_blocks_neither_a_line_nor_the_flush() {
        let (release, blocked) = mpsc::channel();
        let writer = LogWriter::start(Blocked(blocked)).unwrap();
        let before = DROPPED_LINES.get();
        // One line is in the thread, and the queue holds the others.
        for _ in 0..QUEUE_LINES + 11 {
            (&writer).write_all(b"line\n").unwrap();
        }
        let dropped = DROPPED_LINES.get() - before;
        assert!((10..=11).contains(&dropped), "{dropped} lines were dropped");
        let start = Instant::now();
        writer.flush(Duration::from_millis(50));
        assert!(start.elapsed() < Duration::from_secs(10));
        drop(release);
        writer.flush(Duration::from_secs(10));
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the released lines are written"
        );
    }
}

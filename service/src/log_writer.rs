//! The writer of the log: a bounded queue, and a thread that writes to standard output.
//!
//! Logging never blocks, delays or stops the process. A line that cannot be written is dropped and counted: the queue is
//! full because the reader of the log is too slow, or the reader has closed its end.

use std::io::{self, Write};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

/// The size of the queue, in lines. Most lines are shorter than 1 KiB.
const QUEUE_LINES: usize = 1024;

/// Lines of the log that were dropped because standard output was full or closed
pub(crate) static DROPPED_LINES: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Lines of the log that were dropped because standard output was full or closed";
    IntCounter::new("log_lines_dropped_total", help).expect("the name of the metric is valid")
});

enum Message {
    Line(Vec<u8>),
    /// The thread responds once all earlier lines are written.
    Flush(SyncSender<()>),
}

/// A writer to standard output. Each call of `write` is one line.
#[derive(Debug)]
pub(crate) struct LogWriter {
    queue: SyncSender<Message>,
}

impl LogWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(crate) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE_LINES);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&messages, output))?;
        Ok(Self { queue })
    }

    /// Waits until all earlier lines are written or dropped, for at most `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        const PAUSE: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + limit;
        let (written, done) = sync_channel(1);
        let mut message = Message::Flush(written);
        while let Err(TrySendError::Full(unsent)) = self.queue.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = unsent;
            thread::sleep(PAUSE);
        }
        done.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .ok();
    }
}

impl Write for &LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            DROPPED_LINES.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(messages: &Receiver<Message>, mut output: impl Write) {
    for message in messages {
        match message {
            Message::Line(line) => {
                if output.write_all(&line).and_then(|()| output.flush()).is_err() {
                    DROPPED_LINES.inc();
                }
            }
            Message::Flush(written) => {
                written.try_send(()).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

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
    }
}

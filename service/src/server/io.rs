//! A stream that records when bytes arrive and when writes block, and that closes in two steps.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

/// The stream of one connection.
#[derive(Debug)]
pub(super) struct WatchedStream<S> {
    stream: TokioIo<S>,
    activity: Arc<Activity>,
}

impl<S> WatchedStream<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self {
            stream: TokioIo::new(stream),
            activity,
        }
    }
}

impl<S: AsyncRead + Unpin> Read for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if outcome.is_ready() {
            self.activity.bytes_arrived();
        }
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.set_write_blocked(outcome.is_pending());
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        // TLS has a buffer of its own. A TCP stream never blocks here.
        self.activity.set_write_blocked(outcome.is_pending());
        outcome
    }

    /// Closes the sending side, then reads until the client has closed its side too. Closing both sides at once would
    /// reset the connection if the client is still sending (a body that is too large, a pipelined request), and a reset
    /// can discard a response that the client has not read yet. The clock of the connection limits the wait.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.activity.is_lingering() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.activity.linger();
        }
        if self.activity.linger_is_over() {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = Pin::new(self.stream.inner_mut()).poll_read(context, &mut buffer);
            if ready!(read).is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.activity.set_write_blocked(outcome.is_pending());
        outcome
    }
}

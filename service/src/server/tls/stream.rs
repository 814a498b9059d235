//! The stream of a TLS connection. The first read performs the handshake, so the limits of a connection and the shutdown
//! apply to a handshake as they apply to the head of a request.

use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor, server};

use super::Terminator;
use crate::server::activity::{Activity, Phase};

/// The first byte of a TLS connection: a record of type handshake (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 0x16;

/// The response to a client that does not start TLS.
const NOT_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nThis port needs TLS: use https\n";

/// The stream of a TLS connection.
pub(in crate::server) struct TlsStream {
    state: State,
    terminator: Terminator,
    activity: Arc<Activity>,
}

enum State {
    /// No byte has arrived.
    New(TcpStream),
    Handshake(Accept<TcpStream>),
    Open(server::TlsStream<TcpStream>),
    /// The handshake failed.
    Failed,
}

impl TlsStream {
    /// A stream that starts with a handshake.
    pub(in crate::server) fn new(stream: TcpStream, terminator: Terminator, activity: Arc<Activity>) -> Self {
        Self {
            state: State::New(stream),
            terminator,
            activity,
        }
    }

    /// Completes when the connection is open.
    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !matches!(self.state, State::Open(_)) {
            self.state = match mem::replace(&mut self.state, State::Failed) {
                State::New(stream) => match poll_first_byte(&stream, context) {
                    Poll::Pending => {
                        self.state = State::New(stream);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(HANDSHAKE_RECORD)) => {
                        let config = self.terminator.config.borrow().clone();
                        State::Handshake(TlsAcceptor::from(config).accept(stream))
                    }
                    Poll::Ready(Ok(_)) => {
                        refuse(&stream);
                        return Poll::Ready(Err(io::Error::other("the client did not start TLS")));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                },
                State::Handshake(mut handshake) => match Pin::new(&mut handshake).poll(context) {
                    Poll::Pending => {
                        self.state = State::Handshake(handshake);
                        return Poll::Pending;
                    }
                    Poll::Ready(outcome) => {
                        let stream = outcome?;
                        self.terminator
                            .metrics
                            .completed(stream.get_ref().1.protocol_version());
                        self.activity.handshake_completed();
                        State::Open(stream)
                    }
                },
                State::Open(_) | State::Failed => return Poll::Ready(Err(ErrorKind::NotConnected.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Returns the stream after the handshake.
    fn open(&mut self) -> io::Result<Pin<&mut server::TlsStream<TcpStream>>> {
        match &mut self.state {
            State::Open(stream) => Ok(Pin::new(stream)),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }
}

/// Completes with the first byte that the client sends, and leaves it in the socket.
fn poll_first_byte(stream: &TcpStream, context: &mut Context<'_>) -> Poll<io::Result<u8>> {
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    let arrived = ready!(stream.poll_peek(context, &mut buffer))?;
    Poll::Ready(if arrived == 0 {
        Err(ErrorKind::UnexpectedEof.into())
    } else {
        Ok(byte[0])
    })
}

/// Whether the client closed or reset the connection.
fn has_left(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// Tells a client that speaks HTTP what is wrong. What has arrived is read first: with unread bytes, closing would reset
/// the connection, and the client might not get the response.
fn refuse(stream: &TcpStream) {
    stream.try_read(&mut [0; 4096]).ok();
    stream.try_write(NOT_TLS).ok();
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(self.poll_handshake(context)) {
            Ok(()) => self.open()?.poll_read(context, buffer),
            // The client left during the handshake: no more bytes follow.
            Err(error) if has_left(&error) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.open()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Before the handshake has completed, nothing has been written.
        self.open()
            .map_or(Poll::Ready(Ok(())), |stream| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open()
            .map_or(Poll::Ready(Ok(())), |stream| stream.poll_shutdown(context))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.open()?.poll_write_vectored(context, buffers)
    }
}

impl Drop for TlsStream {
    /// Announces the end of an idle connection (RFC 9112, 9.8), without waiting. After a part of a response it must not: the
    /// client would take the part for the whole.
    fn drop(&mut self) {
        if let State::Open(stream) = &mut self.state
            && matches!(self.activity.phase(), Phase::ReadingHead | Phase::Idle)
        {
            let (socket, session) = stream.get_mut();
            session.send_close_notify();
            session.write_tls(&mut TryWrite(socket)).ok();
        }
    }
}

/// Writes what the kernel accepts at once.
struct TryWrite<'stream>(&'stream TcpStream);

impl io::Write for TryWrite<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

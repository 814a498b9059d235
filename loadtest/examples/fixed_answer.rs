//! The server under load in `cargo xtask bench`.
//!
//! One thread sends a fixed response with minimal work per request, so that the benchmark measures the generator.
//!
//! `fixed_answer ADDRESS` responds immediately. `fixed_answer ADDRESS bimodal` responds after 20 ms, and after 80 ms to
//! every fifth request.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task, time,
};

/// A response with the same body as the response of `app_a` to `/hello`.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 11\r\n\r\nHello there";

/// The end of the request headers. Requests to this server have no body.
const END: &[u8] = b"\r\n\r\n";

const QUICK: Duration = Duration::from_millis(20);
const SLOW: Duration = Duration::from_millis(80);

/// Every fifth request is slow.
const SLOW_EVERY: u64 = 5;

/// The delay of each response.
#[derive(Clone)]
enum Delay {
    None,
    Bimodal(Rc<Cell<u64>>),
}

impl Delay {
    async fn wait(&self) {
        if let Self::Bimodal(requests) = self {
            requests.set(requests.get() + 1);
            let is_slow = requests.get().is_multiple_of(SLOW_EVERY);
            time::sleep(if is_slow { SLOW } else { QUICK }).await;
        }
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:5090".to_owned());
    let delay = match arguments.next().as_deref() {
        None => Delay::None,
        Some("bimodal") => Delay::Bimodal(Rc::default()),
        Some(other) => anyhow::bail!("`{other}`: write `bimodal` or omit it"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let delay = delay.clone();
            // An error ends this connection only.
            task::spawn_local(async move { drop(serve(stream, &delay).await) });
        }
    })
}

async fn serve(mut stream: TcpStream, delay: &Delay) -> std::io::Result<()> {
    let mut received = Vec::with_capacity(4096);
    while stream.read_buf(&mut received).await? > 0 {
        while let Some(end) = received.windows(END.len()).position(|window| window == END) {
            received.drain(..end + END.len());
            delay.wait().await;
            stream.write_all(ANSWER).await?;
        }
    }
    Ok(())
}

//! A bare axum server with default features. `cargo xtask bench` compares `/hello` of `app_a` with it.

use axum::Router;
use axum::routing::get;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:5080".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    let routes = Router::new().route("/hello", get(async || "Hello there"));
    axum::serve(listener, routes).await?;
    Ok(())
}

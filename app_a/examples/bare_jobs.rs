//! A bare frontend of axum and reqwest with their defaults. `cargo xtask bench` compares `/jobs` of the pair with this program
//! and the example `bare_auth` of `app_b`.

use axum::Router;
use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::put;
use reqwest::Client;

#[derive(Clone)]
struct Backend {
    client: Client,
    auth: String,
}

async fn jobs(State(backend): State<Backend>, headers: HeaderMap) -> Result<&'static str, StatusCode> {
    let token = headers.get(AUTHORIZATION).and_then(|token| token.to_str().ok());
    let token = token.ok_or(StatusCode::UNAUTHORIZED)?;
    let call = backend.client.post(&backend.auth).form(&[("token", token)]);
    let response = call.send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    if response.status() != StatusCode::OK {
        return Err(StatusCode::UNAUTHORIZED);
    }
    response.text().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok("Jobs:\nTitle: Devops\nDescription: Awesome\n")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (address, backend) = (next("127.0.0.1:5080"), next("127.0.0.1:5081"));
    let backend = Backend {
        client: Client::new(),
        auth: format!("http://{backend}/auth"),
    };
    let routes = Router::new().route("/jobs", put(jobs)).with_state(backend);
    axum::serve(tokio::net::TcpListener::bind(address).await?, routes).await?;
    Ok(())
}

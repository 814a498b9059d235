//! A bare backend of axum and sqlx, with the lookup of `app_b` in an existing database. `cargo xtask bench` compares `/jobs` of
//! the pair with this program and the example `bare_jobs` of `app_a`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Form, Router};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

#[derive(Deserialize)]
struct Credentials {
    token: String,
}

async fn auth(State(pool): State<SqlitePool>, Form(form): Form<Credentials>) -> Result<String, StatusCode> {
    let hash = Sha256::digest(form.token);
    let name: Option<String> = sqlx::query_scalar("SELECT username FROM users WHERE token_hash = ?")
        .bind(hash.as_slice())
        .fetch_optional(&pool)
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    name.ok_or(StatusCode::UNAUTHORIZED)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (address, database) = (next("127.0.0.1:5081"), next("app_b.db"));
    // As many connections as the pool of app_b, because each has a thread.
    let pool = SqlitePoolOptions::new().max_connections(4);
    let pool = pool
        .connect_with(SqliteConnectOptions::new().filename(database))
        .await?;
    let routes = Router::new().route("/auth", post(auth)).with_state(pool);
    axum::serve(tokio::net::TcpListener::bind(address).await?, routes).await?;
    Ok(())
}

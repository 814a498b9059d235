//! Databases to start from.

use std::path::Path;

use app_b::store::{self, database_url};
use reqwest::Client;
use tokio::sync::OnceCell;

/// Every seeded user and its token.
pub(crate) const SEED: [(&str, &str); 5] = [
    ("density", "mytoken"),
    ("ada", "adas-token"),
    ("edsger", "edsgers-token"),
    ("grace", "graces-token"),
    ("margaret", "margarets-token"),
];

pub(crate) fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Puts a seeded database at `path`. It is made once for all tests: hashing passwords takes its time, as it should.
pub(crate) async fn seeded(path: &Path) {
    static SEEDED: OnceCell<Vec<u8>> = OnceCell::const_new();
    let database = SEEDED
        .get_or_init(async || {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("app_b.db");
            let store = store::open(&database_url(&url(&path)).unwrap()).await.unwrap();
            store.close().await;
            std::fs::read(&path).unwrap()
        })
        .await;
    std::fs::write(path, database).unwrap();
}

/// The status and body of `POST /auth` for this token.
pub(crate) async fn auth(service: &str, token: &str) -> (u16, String) {
    let answer = Client::new()
        .post(format!("{service}/auth"))
        .form(&[("token", token)])
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Every seeded user is there.
pub(crate) async fn assert_full_seed(service: &str) {
    for (user, token) in SEED {
        assert_eq!(auth(service, token).await, (200, user.to_owned()));
    }
}

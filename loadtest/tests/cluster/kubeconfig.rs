//! Serves a fake cluster over HTTP and writes kubeconfigs.

use axum::Router;
use http::Uri;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::fake_cluster::FakeCluster;

impl FakeCluster {
    /// Serves the cluster over HTTP and returns a kubeconfig with the context `fake`.
    pub(crate) async fn serve(&self) -> NamedTempFile {
        let api = self.api.clone();
        let answer = move |uri: Uri| api.clone().respond(uri);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        kubeconfig(&server, None)
    }
}

/// Writes a kubeconfig for a server, with the context `fake`.
pub(crate) fn kubeconfig(server: &str, namespace: Option<&str>) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    let content = json!({"apiVersion": "v1", "kind": "Config", "current-context": "fake", "users": [],
        "clusters": [{"name": "fake", "cluster": {"server": server}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "", "namespace": namespace}}]});
    std::fs::write(file.path(), content.to_string()).unwrap();
    file
}

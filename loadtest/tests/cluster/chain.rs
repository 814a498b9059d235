//! `loadtest chain` as a process.

use crate::{fake_cluster::FakeCluster, schema};

#[tokio::test]
async fn a_broken_chain_exits_with_1_and_a_warning_with_0() {
    let cluster = FakeCluster::with(|_| {});
    let kubeconfig = cluster.serve().await;
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_loadtest"));
        command
            .arg("chain")
            .args(arguments)
            .env("KUBECONFIG", kubeconfig.path())
            .output()
            .await
            .unwrap()
    };
    let whole = run(&["--wait", "0s", "--context", "fake"]).await;
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    cluster.change(|state| state.insecure = true);
    let warned = run(&["--wait", "0s"]).await;
    assert_eq!(warned.status.code(), Some(0), "{warned:?}");
    assert!(
        String::from_utf8_lossy(&warned.stdout)
            .contains("WARN   apiservice         the APIService has insecureSkipTLSVerify"),
        "{warned:?}"
    );
    let json = schema::report(&run(&["--wait", "0s", "--json"]).await.stdout);
    assert_eq!(
        (&json["whole"], &json["chains"][0]["links"][4]["state"]),
        (&true.into(), &"ok".into())
    );
    assert_eq!(
        json["chains"][0]["links"][4]["warnings"]
            .as_array()
            .unwrap()
            .len(),
        1,
        "{json}"
    );
    cluster.change(|state| (state.insecure, state.targets) = (false, 0));
    let broken = run(&["--wait", "2s"]).await;
    let (text, waiting) = (
        String::from_utf8_lossy(&broken.stdout),
        String::from_utf8_lossy(&broken.stderr),
    );
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    assert!(
        text.contains("BROKEN prometheus-scrape") && text.contains("first broken link: prometheus-scrape"),
        "{text}"
    );
    assert_eq!(
        waiting.matches("waiting for prometheus-scrape").count(),
        1,
        "the command must print each missing link once: {waiting}"
    );
    let json = schema::report(&run(&["--wait", "0s", "--json"]).await.stdout);
    assert_eq!(
        (&json["schema"], &json["whole"]),
        (&"loadtest.chain/v1".into(), &false.into())
    );
    assert_eq!(
        json["chains"][0]["links"][2],
        serde_json::json!({"link": "prometheus-scrape", "state": "broken",
        "detail": json["chains"][0]["links"][2]["detail"], "look_at": json["chains"][0]["links"][2]["look_at"]})
    );
}

//! The tests of `loadtest verify` that send requests to the pair.

use futures_util::future::join_all;

use crate::delivery::{Delivery, PairFault};

#[tokio::test]
async fn a_wrong_answer_to_hello_is_reported_with_what_was_seen() {
    let cases = [
        (
            PairFault::Hello,
            "the body is not \"Hello there\"",
            "Welcome to nginx!",
        ),
        (
            PairFault::HelloOfOnePod,
            "expected responses, the body is not \"Hello there\"",
            "Welcome to nginx!",
        ),
        (
            PairFault::ContentType,
            "the header content-type is not",
            "200, text/plain",
        ),
        (PairFault::Redirect, "the status is not 200", "301"),
    ];
    // At the same time: each waits for its deadline.
    let all = cases.map(async |(fault, reason, seen)| {
        let verified = Delivery::new(fault)
            .verify("local", &["--only", "hello-http"])
            .await;
        verified.assert_failed_only("hello-http", &format!("GET {}", "http://127.0.0.1"), seen);
        verified.assert_failed_only("hello-http", reason, seen);
    });
    join_all(all).await;
}

#[tokio::test]
async fn a_port_that_is_closed_is_reported_at_the_deadline() {
    let mut delivery = Delivery::new(PairFault::None);
    delivery.https = "https://127.0.0.1:1".to_owned();
    let verified = delivery.verify("local", &[]).await;
    verified.assert_failed_only(
        "jobs-https",
        "/jobs with the token: there is no response",
        "no connection to 127.0.0.1:1",
    );
}

#[tokio::test]
async fn jobs_needs_put_and_a_certificate_that_is_trusted() {
    let only = ["--only", "jobs-https"];
    let (no_put, delivery) = (Delivery::new(PairFault::NoPut), Delivery::new(PairFault::None));
    let other = Delivery::new(PairFault::None);
    std::fs::copy(other.path("ca.pem"), delivery.path("ca.pem")).unwrap();
    // At the same time: each waits for its deadline.
    let (refused, untrusted) = tokio::join!(no_put.verify("local", &only), delivery.verify("local", &only));
    refused.assert_failed_only("jobs-https", "the status is not 200", "405");
    untrusted.assert_failed_only("jobs-https", "there is no response", "invalid peer certificate");
    let verified = delivery
        .verify("local", &["--only", "jobs-https", "--insecure"])
        .await;
    assert_eq!(verified.code, 0, "{}", verified.text);
    assert_eq!(verified.report["config"]["certificates"], "none");
    for text in [&verified.text, &verified.page, &verified.junit] {
        assert!(text.contains("NOT verified (--insecure)"), "{text}");
    }
}

#[tokio::test]
async fn in_dev_a_load_balancer_may_redirect_hello_to_https_but_not_elsewhere() {
    let only = ["--only", "hello-http"];
    let verified = Delivery::new(PairFault::Redirect).verify("dev", &only).await;
    assert_eq!(verified.code, 0, "{}", verified.text);
    assert!(
        verified.text.contains("redirected to https://127.0.0.1:"),
        "{}",
        verified.text
    );
    let verified = Delivery::new(PairFault::WrongRedirect).verify("dev", &only).await;
    verified.assert_failed_only("hello-http", "the status is not 200", "301");
}

#[tokio::test]
async fn urls_checks_the_wire_contract_and_names_each_difference() {
    let only = ["--only", "urls"];
    let verified = Delivery::new(PairFault::None).verify("prod", &only).await;
    assert_eq!(verified.code, 0, "{}", verified.text);
    for part in [
        "POST https://",
        "/jobs with a wrong token: 401",
        "GET https://",
        "/not-a-path: 404",
    ] {
        assert!(
            verified.text.contains(part),
            "{part:?} is missing in {}",
            verified.text
        );
    }
    // At the same time: each waits for its deadline.
    let [accepting, legacy] = [PairFault::AnyToken, PairFault::Legacy].map(Delivery::new);
    let (accepting, legacy) = tokio::join!(accepting.verify("prod", &only), legacy.verify("prod", &only));
    accepting.assert_failed_only(
        "urls",
        "1 of 7 requests: PUT https://",
        "/jobs with a wrong token: the status is not 401: 200",
    );
    // The body contains the token; the reports must not.
    legacy.assert_failed_only("urls", "2 of 7 requests", "fail, not (token)");
}

#[tokio::test]
async fn urls_of_the_user_replace_the_wire_contract() {
    let delivery = Delivery::new(PairFault::None);
    let check = |path: &str| format!("{}{path}", delivery.https);
    let checks = [
        format!("GET {} Hello", check("/hello 200")),
        format!("token PUT {} Awesome", check("/jobs 200")),
    ];
    let flags = ["--only", "urls", "--check", &checks[0], "--check", &checks[1]];
    assert_eq!(delivery.verify("prod", &flags).await.code, 0);
    let wrong = format!("GET {} Goodbye", check("/hello 200"));
    let verified = delivery
        .verify("prod", &["--only", "urls", "--check", &wrong])
        .await;
    verified.assert_failed_only("urls", "1 of 1 requests", "the body does not contain \"Goodbye\"");
}

//! Answers in a handler's place when the time for the request is over.
//!
//! The timer is made when an answer does not come at once: most do, and making one for each request has all threads
//! compete for what they share. That is why this is not the layer of tower-http, which asks its timer first.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// Waits for `answer` until `timeout` from now has passed; then the answer is `status`, without a body.
pub(super) fn within<F>(answer: F, timeout: Duration, status: StatusCode) -> Within<F> {
    Within {
        answer,
        deadline: Instant::now() + timeout,
        timer: None,
        status,
    }
}

pin_project! {
    pub(super) struct Within<F> {
        #[pin]
        answer: F,
        deadline: Instant,
        timer: Option<Pin<Box<Sleep>>>,
        status: StatusCode,
    }
}

impl<F: Future<Output = Result<Response<Body>, E>>, E, Body: Default> Future for Within<F> {
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(answer) = this.answer.poll(context) {
            return Poll::Ready(answer);
        }
        let deadline = *this.deadline;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(context).map(|()| {
            let mut response = Response::new(Body::default());
            *response.status_mut() = *this.status;
            Ok(response)
        })
    }
}

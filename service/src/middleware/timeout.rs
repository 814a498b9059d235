//! Responds in place of the handler when the request timeout expires.
//!
//! The timer is created only if the response is not ready at once, which is rare. With a timer for each request, all
//! threads would contend for the shared timers of the runtime. The timeout layer of tower-http
//! polls its timer first, so it cannot replace this module.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// Waits for `response` for at most `timeout` from now, and then responds with `status` and an empty body.
pub(super) fn within<F>(response: F, timeout: Duration, status: StatusCode) -> TimeoutFuture<F> {
    TimeoutFuture {
        inner: response,
        deadline: Instant::now() + timeout,
        timer: None,
        status,
    }
}

pin_project! {
    pub(super) struct TimeoutFuture<F> {
        #[pin]
        inner: F,
        deadline: Instant,
        timer: Option<Pin<Box<Sleep>>>,
        status: StatusCode,
    }
}

impl<F: Future<Output = Result<Response<Body>, E>>, E, Body: Default> Future for TimeoutFuture<F> {
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(response) = this.inner.poll(context) {
            return Poll::Ready(response);
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

//! The routes of `app_a`, as its metrics name them.

use service::metrics::KnownRoute;

/// Each route with the methods that it answers with 200. Their metrics exist before the first request.
pub const ROUTES: [KnownRoute; 2] = [
    KnownRoute {
        path: "/hello",
        methods: &["GET", "HEAD"],
    },
    KnownRoute {
        path: "/jobs",
        methods: &["POST", "PUT"],
    },
];

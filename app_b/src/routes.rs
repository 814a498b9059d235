//! The routes of `app_b`, as its metrics name them.

use service::metrics::KnownRoute;

/// Each route with the methods that it answers with 200. Their metrics exist before the first request.
pub const ROUTES: [KnownRoute; 1] = [KnownRoute {
    path: "/auth",
    methods: &["POST"],
}];

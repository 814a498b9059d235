//! The static check of manifests as users have them: each fault is named at its link, and a link whose objects are missing is
//! not checked.

mod annotated;
mod external;
mod fixture;
mod operator;
mod partial;
mod policies;
mod resource;
mod two_jobs;

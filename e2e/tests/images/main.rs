//! The images on their way to a cluster: pushed to a real registry, signed, and the same from every folder.

mod push;
mod registry;
mod reproducible;
mod signature;
mod start;

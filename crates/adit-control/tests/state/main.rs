//! The state on SQLite, the service above it, and how both grow. No root, no network.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod conformance;
mod growth;
mod service;
mod sqlite;
mod world;

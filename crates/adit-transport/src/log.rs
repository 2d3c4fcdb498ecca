//! For whoever sets up the log: which libraries below this crate say things above `debug` because a stranger made them.
//!
//! Not here: what this crate says itself; nothing that a stranger causes is above `debug`.

/// Directives for a filter (as `EnvFilter` of tracing-subscriber reads them) that silence those libraries. What they find
/// comes back to this crate as an error, so nothing is lost. Put before a person's own directives, which thus win.
pub const SILENT: &str = "h2=off,hyper=off,hyper_util=off,rustls=off,tokio_rustls=off,tower_http=off";

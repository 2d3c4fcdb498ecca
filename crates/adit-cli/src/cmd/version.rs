//! `adit version`.

use serde::Serialize;

use crate::args::JsonArgs;
use crate::exit::Exit;
use crate::render;
use crate::{report, rpc};

/// What versions there are.
#[derive(Serialize)]
struct Version {
    version: &'static str,
    protocol: u32,
    status_schema: u32,
}

/// Shows it.
pub(super) fn run(args: &JsonArgs) -> Exit {
    let version =
        Version { version: env!("CARGO_PKG_VERSION"), protocol: rpc::PROTOCOL, status_schema: report::SCHEMA };
    if args.json {
        render::json(&version);
    } else {
        render::line(&format!("adit {}", version.version));
    }
    Exit::Done
}

//! Loads and unloads nftables tables, each in one transaction, by the program `nft`.
//!
//! Not here: what is in them (`firewall`).

use std::path::Path;

use crate::error::HostError;
use crate::firewall::Ruleset;
use crate::hooks::run_program;

/// Has exactly this table loaded, whatever was there.
pub(crate) async fn load(ruleset: &Ruleset) -> Result<(), HostError> {
    let what = format!("load nftables {}", ruleset.table);
    nft(&ruleset.load_text(), what).await
}

/// Has no such table. A machine without `nft` never had it.
pub(crate) async fn unload(ruleset: &Ruleset) -> Result<(), HostError> {
    let what = format!("remove nftables {}", ruleset.table);
    match nft(&ruleset.unload_text(), what).await {
        Err(HostError::NoProgram { .. }) => Ok(()),
        other => other,
    }
}

async fn nft(text: &str, what: String) -> Result<(), HostError> {
    run_program(Path::new("nft"), &["-f", "-"], text, what, "install the package nftables").await
}

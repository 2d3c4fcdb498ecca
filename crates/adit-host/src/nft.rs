//! Loads and unloads nftables tables, each in one transaction, and rules in others' chains, by the program `nft`.
//!
//! Not here: what is in them (`firewall`, `gateway`).

use std::path::Path;

use crate::error::HostError;
use crate::firewall::Ruleset;
use crate::gateway::{GatewayTable, Pass, SeenChain, seen_chains};
use crate::hooks::{ask_program, run_program};

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

/// Has exactly this table loaded, whatever was there.
pub(crate) async fn load_gateway(table: &GatewayTable) -> Result<(), HostError> {
    let what = format!("load nftables {}", table.table);
    nft(&table.load_text(), what).await
}

/// Has no such table.
pub(crate) async fn unload_gateway(table: &GatewayTable) -> Result<(), HostError> {
    let what = format!("remove nftables {}", table.table);
    match nft(&table.unload_text(), what).await {
        Err(HostError::NoProgram { .. }) => Ok(()),
        other => other,
    }
}

/// All chains of all tables.
pub(crate) async fn chains() -> Result<Vec<SeenChain>, HostError> {
    Ok(seen_chains(&ask(&["-j", "list", "chains"], "list nftables chains".into()).await?))
}

/// All tables with all that is in them, as JSON.
pub(crate) async fn ruleset() -> Result<String, HostError> {
    ask(&["-j", "list", "ruleset"], "list the rules of nftables".into()).await
}

/// Whether the rules are in the other program's chain; one that is gone needs none.
pub(crate) async fn has(pass: &Pass) -> Result<bool, HostError> {
    Ok(handles(pass).await?.is_none_or(|handles| !handles.is_empty()))
}

/// Has the two rules in the other program's chain, once, and if it is still there.
pub(crate) async fn insert(pass: &Pass) -> Result<(), HostError> {
    match handles(pass).await?.as_deref() {
        Some([]) => nft(&pass.insert_text(), pass.to_string()).await,
        Some(_) | None => Ok(()),
    }
}

/// Has no rule of ours in the other program's chain.
pub(crate) async fn remove(pass: &Pass) -> Result<(), HostError> {
    match handles(pass).await {
        Ok(Some(handles)) if !handles.is_empty() => nft(&pass.delete_text(&handles), format!("undo: {pass}")).await,
        Ok(_) | Err(HostError::NoProgram { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The handles of our rules there; `None` if there is no such chain.
async fn handles(pass: &Pass) -> Result<Option<Vec<u64>>, HostError> {
    let there = |seen: &SeenChain| (&seen.family, &seen.table, &seen.chain) == (&pass.family, &pass.table, &pass.chain);
    if !chains().await?.iter().any(there) {
        return Ok(None);
    }
    let question = ["-j", "-a", "list", "chain", &pass.family, &pass.table, &pass.chain];
    let json = ask(&question, format!("list nftables {} {} {}", pass.family, pass.table, pass.chain)).await?;
    Ok(Some(pass.handles(&json)))
}

async fn nft(text: &str, what: String) -> Result<(), HostError> {
    run_program(Path::new("nft"), &["-f", "-"], text, what, HINT).await
}

async fn ask(question: &[&str], what: String) -> Result<String, HostError> {
    ask_program(Path::new("nft"), question, "", what, HINT).await
}

const HINT: &str = "install the package nftables";

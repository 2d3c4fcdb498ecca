//! `adit down NAME`.

use crate::args::NameArgs;
use crate::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::name::tunnel_name;
use crate::places::Places;
use crate::rpc::{Done, Method};
use crate::{render, tunnel};

/// Takes it down, or removes what a killed daemon left of it.
pub(super) fn run(args: &NameArgs) -> Result<Exit> {
    let name = tunnel_name(&args.name)?;
    let places = Places::of_this_process();
    let done = match Client::connect(&places)? {
        Some(mut client) => client.call::<Done>(Method::Down { name: name.clone() })?,
        None => clean_up(&places, &name)?,
    };
    if args.json {
        render::json(&done);
    } else {
        render::line(&format!("{name} is down"));
        done.notes.iter().for_each(|note| render::line(note));
    }
    Ok(Exit::Done)
}

/// Without a daemon: what a killed one left is undone here.
fn clean_up(places: &Places, name: &str) -> Result<Done> {
    let not_up =
        || Failure::not_connected(format!("{name} is not up: no daemon runs, and nothing is left of an earlier run"));
    if !places.directory.exists() {
        return Err(not_up());
    }
    super::needs_net_admin("removing what a killed daemon left")?;
    let Some(_lock) = places.try_lock()? else {
        return Err(Failure::failed("a daemon is just starting or ending").hint("try again in a moment"));
    };
    let removed = super::block_on(tunnel::recover(places, Some(name)))??;
    if removed.is_empty() {
        return Err(not_up());
    }
    let mut notes =
        vec!["The daemon that brought it up had ended without cleaning up; its traces are removed:".to_owned()];
    notes.extend(removed.into_iter().map(|what| format!("  {what}")));
    Ok(Done { notes })
}

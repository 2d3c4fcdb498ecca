//! `adit reload NAME`.

use crate::args::NameArgs;
use crate::client::Client;
use crate::exit::{Exit, Result};
use crate::name::tunnel_name;
use crate::places::Places;
use crate::render;
use crate::rpc::{Done, Method};

/// Has the daemon read the file again.
pub(super) fn run(args: &NameArgs) -> Result<Exit> {
    let name = tunnel_name(&args.name)?;
    let Some(mut client) = Client::connect(&Places::of_this_process())? else {
        return Err(super::no_daemon(&name));
    };
    let done: Done = client.call(Method::Reload { name: name.clone() })?;
    if args.json {
        render::json(&done);
    } else {
        render::line(&format!("{name} is reloaded"));
        done.notes.iter().for_each(|note| render::line(note));
    }
    Ok(Exit::Done)
}

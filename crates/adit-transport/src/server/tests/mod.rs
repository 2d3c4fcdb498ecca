//! Stories with a whole server on loopback. Hostile ones are in `hostile` and `malformed`, the site's answers in `site`.

mod behind;
mod certificates;
mod hostile;
mod log;
mod malformed;
mod proxy;
mod raw;
mod site;
mod tunnel;
mod world;

pub(super) use world::{HOST, client_config, server_config};

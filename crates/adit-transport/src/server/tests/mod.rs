//! Stories with a whole server on loopback. Hostile ones are in `hostile`, the site's answers in `site`.

mod behind;
mod hostile;
mod proxy;
mod site;
mod tunnel;
mod world;

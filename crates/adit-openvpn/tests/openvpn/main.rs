//! Clients and a server of ours on a network that loses, repeats and reorders, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its world has failed")]

mod admission;
mod certificates;
mod hostile;
mod papers;
mod sizes;
mod stories;
mod weather;
mod world;

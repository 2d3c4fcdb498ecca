//! Profiles: what a person writes about a tunnel, as typed values.
//!
//! Here: the wg-quick format ([`wg_quick`]), reading files ([`mod@file`]), what a profile asks of a device ([`device`]).
//! Not here: making a tunnel of it.

pub mod device;
pub mod file;
pub mod wg_quick;

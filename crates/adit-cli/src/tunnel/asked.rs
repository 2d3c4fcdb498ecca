//! What a tunnel is asked to be: a profile from a file, or from a process that decides about a network's peers.
//!
//! Not here: making it so (`running`).

use std::path::{Path, PathBuf};

use adit::profile::file::{self, Loaded};
use adit::profile::wg_quick::{self, Profile};
use adit_host::Gateway;
use adit_wireguard::PrivateKey;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure, Result};
use crate::rpc::{Limit, Served};

/// What a tunnel is asked to be.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Keys, peers, addresses.
    pub(super) profile: Profile,
    /// What else it does for its peers, if it is a gateway.
    pub(super) gateway: Option<Gateway>,
    /// How fast some of its peers may be.
    pub(super) limits: Vec<Limit>,
    /// What a person should hear of it.
    pub(super) notes: Vec<String>,
    /// Where `SaveConfig` writes to.
    pub(super) file: Option<PathBuf>,
}

impl Asked {
    /// By a file; one that is wrong says so.
    pub(crate) fn of_file(file: &Path) -> Result<Self> {
        let loaded = file::load(file).map_err(|e| {
            let denied = matches!(e, file::LoadError::Denied { .. });
            Failure::new(if denied { Exit::Privilege } else { Exit::Usage }, e)
        })?;
        Ok(Self::of_loaded(loaded))
    }

    /// By a file that was read.
    pub(crate) fn of_loaded(loaded: Loaded) -> Self {
        let notes = notes(&loaded);
        Self { profile: loaded.profile, gateway: None, limits: Vec::new(), notes, file: Some(loaded.file) }
    }

    /// By the process that decides about the peers. It may not bring commands along: it has fewer rights than we have.
    pub(crate) fn of_served(served: Served) -> Result<Self> {
        let key = key(&served.key)?;
        Self::of_network(served, &key)
    }

    /// As [`of_served`](Self::of_served) before there is a key: enough to say what it would change.
    pub(crate) fn of_plan(served: Served) -> Result<Self> {
        Self::of_network(served, &PrivateKey::new([1; 32]))
    }

    fn of_network(served: Served, key: &PrivateKey) -> Result<Self> {
        let key = Zeroizing::new(format!("[Interface]\nPrivateKey = {}\n", &*Zeroizing::new(key.to_base64())));
        let text = Zeroizing::new(served.profile.replacen("[Interface]\n", &key, 1));
        let (profile, _) = wg_quick::parse(&text)
            .strict(Path::new("network"))
            .map_err(|e| Failure::usage(format!("the network's peers cannot be read: {e}")))?;
        let interface = &profile.interface;
        let commands = [&interface.pre_up, &interface.post_up, &interface.pre_down, &interface.post_down];
        if interface.save_config || commands.iter().any(|commands| !commands.is_empty()) {
            return Err(Failure::usage("a network may not bring commands or SaveConfig along"));
        }
        Ok(Self { profile, gateway: served.gateway, limits: served.limits, notes: Vec::new(), file: None })
    }
}

fn key(file: &Path) -> Result<PrivateKey> {
    let (text, _) = file::read(file).map_err(Failure::failed)?;
    PrivateKey::from_base64(text.trim())
        .map_err(|e| Failure::failed(format!("{}: no private key: {e}", file.display())))
}

/// What a person should hear of a file that is taken.
fn notes(loaded: &Loaded) -> Vec<String> {
    let trouble = loaded.findings.iter().filter(|f| f.is_trouble()).map(|f| f.in_file(&loaded.file).to_string());
    trouble.chain(loaded.exposed.as_ref().map(ToString::to_string)).collect()
}

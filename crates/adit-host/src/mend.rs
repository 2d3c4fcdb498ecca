//! Making again what was made for an interface and somebody else has since taken away: another program reloads its packet
//! filter, a person turns forwarding off.
//!
//! Only what the journal has already, so that it is undone at the end as before. Not here: other plans (`apply`).

use crate::apply::{Applied, Host};
use crate::backend::{Backend as _, Linux};
use crate::change::Change;
use crate::error::HostError;
use crate::nft;
use crate::plan::Observed;

impl Host {
    /// Makes again what of this plan is gone: forwarding, the gateway's packet filter, and its way through those of others.
    /// Gives what was made.
    ///
    /// # Errors
    /// As [`Host::update`]. What was made until then stays, and is undone at the end.
    pub async fn mend(&self, applied: &mut Applied) -> Result<Vec<Change>, HostError> {
        let plan = applied.plan().clone();
        let ours = applied.changes()?;
        let mut mended = lost(&Linux.observe(&plan).await?, &ours);
        for change in &mended {
            if matches!(change, Change::Sysctl { .. }) {
                Linux.apply(change).await?;
            }
        }
        for change in ours {
            if let Change::Pass(pass) = &change
                && !nft::has(pass).await?
            {
                mended.push(change);
            }
        }
        // Makes the tables and ways through that are gone, and those that a chain needs which came since.
        mended.extend(self.update(applied, &plan).await?);
        Ok(mended)
    }
}

/// Those of our changes that are seen to be gone.
fn lost(observed: &Observed, ours: &[Change]) -> Vec<Change> {
    let is_lost = |change: &&Change| {
        if let Change::Sysctl { key, value, .. } = change {
            return observed.sysctls.get(key).is_some_and(|now| now != value);
        }
        matches!(change, Change::Gateway(_)) && observed.may_have_lost(change)
    };
    ours.iter().filter(is_lost).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{Gateway, GatewayTable, SeenChain};
    use crate::plan::FORWARD_V4;

    #[test]
    fn what_somebody_took_away_is_seen_and_what_is_there_is_left_alone() {
        let table = GatewayTable::new("wg0", &[], &Gateway::default());
        let sysctl = Change::Sysctl { key: FORWARD_V4.into(), value: "1".into(), was: "0".into() };
        let up = Change::Up { link: "wg0".into() };
        let ours = [Change::Gateway(table.clone()), sysctl, up];
        let mut observed = Observed::default();
        observed.sysctls.insert(FORWARD_V4.into(), "0".into());
        assert_eq!(lost(&observed, &ours), ours[..2]);
        observed.sysctls.insert(FORWARD_V4.into(), "1".into());
        observed.chains.push(SeenChain::forward("inet", &table.table, "forward", true));
        assert_eq!(lost(&observed, &ours), []);
    }
}
